"""Pages from templates: one file each, without any reference to another."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(folder: Path, **values: object) -> str:
    """The page of `page.html.jinja` in a folder; `style.css.jinja` lies beside this module.

    Args:
        folder: of the template.
        values: its variables; a missing one is an error.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    return environment.get_template("page.html.jinja").render(values)
