"""Texts on a terminal."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from roberta_sentiment.__main__ import app
from roberta_sentiment.texts import printable
from tests import toy


@given(text=st.text())
def test_nothing_commands_a_terminal(text: str) -> None:
    """Control characters are gone, and nothing else is touched."""
    shown = printable(text)
    assert {"Cc"}.isdisjoint(map(unicodedata.category, shown.replace("\n", "")))
    if not any(unicodedata.category(sign) == "Cc" for sign in text):
        assert text == shown


@pytest.mark.parametrize("text", ["good \x1b[31mfilm", "good\x1b]0;title\x07", "good\x9b2Jfilm"])
def test_predict_shows_escapes_as_such(tmp_path: Path, text: str) -> None:
    """A review must not paint the terminal of whoever looks at it."""
    model = toy.write(tmp_path / "model")
    done = CliRunner().invoke(app, ["predict", text, "--model", str(model)])
    assert 0 == done.exit_code, done.output
    assert {"\x1b", "\x07", "\x9b"}.isdisjoint(done.output)
    assert "\\x" in done.output
