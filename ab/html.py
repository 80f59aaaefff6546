"""Pages from templates: one file each, without any reference to another."""

from __future__ import annotations

from pathlib import Path

from roberta_sentiment.tools.output import render_page


def render(folder: Path, **values: object) -> str:
    """The page of `page.html.jinja` in a folder; `style.css.jinja` lies beside this module.

    Args:
        folder: of the template.
        values: its variables; a missing one is an error.
    """
    return render_page(folder / "page.html.jinja", Path(__file__).parent, **values)
