"""Pages from templates."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from roberta_sentiment.tools.page.render import render_page


def page(tmp_path: Path, content: str, **values: object) -> str:
    template = tmp_path / "page.html.jinja"
    template.write_text(content)
    return render_page(template, **values)


def test_values_are_text_and_not_markup(tmp_path: Path) -> None:
    """A review may hold a script; a large number gets its commas."""
    made = page(tmp_path, "{{ text }} {{ n|thousands }}", text="<script>", n=12345)
    assert "&lt;script&gt; 12,345" == made


def test_a_value_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """A report with a hole would look whole."""
    with pytest.raises(jinja2.UndefinedError, match="other"):
        page(tmp_path, "{{ other }}")


def test_a_page_extends_the_layout(tmp_path: Path) -> None:
    """It lies beside the module, not beside the template."""
    blocks = "{% block title %}A & B{% endblock %}{% block content %}<p>C</p>{% endblock %}"
    made = page(tmp_path, f'{{% extends "layout.html.jinja" %}}{blocks}')
    assert "<h1>A & B</h1>" in made
    assert "<p>C</p></main>" in made
