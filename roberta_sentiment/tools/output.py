"""Files for people and programs: JSON, pages from templates, and pictures for them.

Each is one file without a reference to another, the same for the same figures.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.extras import need

_STYLE = {"svg.fonttype": "none", "text.parse_math": False}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def require_directories(*files: Path | None) -> None:
    """Make sure, before any work, that files can be written.

    Raises:
        DataError: the directory of one does not exist.
    """
    for file in files:
        if file and not file.parent.is_dir():
            raise DataError(f"the directory of {file} does not exist")


def write_file(path: Path, content: str) -> None:
    """Write a file whole or not at all.

    Raises:
        DataError: it can't be written.
    """
    scratch = path.with_name(f".{path.name}.new")
    try:
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for a program, whole or not at all.

    Raises:
        DataError: it can't be written.
    """
    write_file(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def render_page(template: Path, *folders: Path, **values: object) -> str:
    """The page of a template.

    Args:
        template: its file.
        folders: of the templates that it includes.
        values: its variables; a missing one is an error.

    Raises:
        StartError: jinja2 is not installed.
    """
    jinja2 = need("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, *folders]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    page: str = environment.get_template(template.name).render(values)
    return page


def draw_svg(
    name: str,
    draw: Callable[[Any], None],
    size: tuple[float, float],
    style: Mapping[str, Any],
) -> str:
    """A picture as an `<svg>` element.

    Args:
        name: keeps its inner ids apart from those of other pictures in a page.
        draw: draws on a matplotlib Figure.
        size: in inches.
        style: parameters of matplotlib.

    Raises:
        StartError: matplotlib is not installed.
    """
    matplotlib, figures = need("matplotlib"), need("matplotlib.figure")
    with matplotlib.rc_context({**_STYLE, **style, "svg.hashsalt": name}):
        figure = figures.Figure(figsize=size, layout="constrained")
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=_NO_METADATA)
    content = text.getvalue()
    return content[content.index("<svg") :]
