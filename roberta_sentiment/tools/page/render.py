"""Pages from templates."""

from __future__ import annotations

from pathlib import Path

from roberta_sentiment.tools.extras import need


def render_page(template: Path, **values: object) -> str:
    """The page of a template, which extends `layout.html.jinja`.

    Args:
        template: its file.
        values: its variables; a missing one is an error.

    Raises:
        StartError: jinja2 is not installed.
    """
    jinja2 = need("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    page: str = environment.get_template(template.name).render(values)
    return page
