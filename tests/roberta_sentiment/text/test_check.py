"""Which texts can be scored, and how they are shown on a terminal."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from roberta_sentiment.__main__ import app
from roberta_sentiment.errors import TextError
from roberta_sentiment.text.check import check_text, printable
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
    """A review must not colour the terminal of its reader."""
    model = toy.write(tmp_path / "model")
    done = CliRunner().invoke(app, ["predict", text, "--model", str(model)])
    assert 0 == done.exit_code, done.output
    assert {"\x1b", "\x07", "\x9b"}.isdisjoint(done.output)
    assert "\\x" in done.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "text 3 is empty", id="empty"),
        pytest.param(" \t\n\u3000", "text 3 is empty", id="blanks"),
        pytest.param("good\0", "text 3 holds a NUL at character 4", id="nul at the end"),
        pytest.param("\0", "text 3 holds a NUL at character 0", id="nul alone"),
    ],
)
def test_a_text_without_content_is_refused(text: str, words: str) -> None:
    """No model was trained on it, so any score would be made up."""
    with pytest.raises(TextError, match=words):
        check_text(3, text)


@pytest.mark.parametrize("text", ["a", " a ", "\u200b", "\x1b[31m", "!"], ids=ascii)
def test_anything_else_is_scored(text: str) -> None:
    """It is the model's to judge."""
    check_text(0, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b[31mred", r"\x1b[31mred", id="colour"),
        pytest.param("a\rb\tc\x7f", r"a\rb\tc\x7f", id="line overwritten"),
        pytest.param("a\nb", "a\nb", id="line break"),
        pytest.param("\u00e9\u4e2d\U0001f600'\\", "\u00e9\u4e2d\U0001f600'\\", id="signs"),
        pytest.param("\x9b31m", r"\x9b31m", id="eight-bit control"),
    ],
)
def test_a_text_can_not_steer_a_terminal(text: str, shown: str) -> None:
    """It comes from anybody; all else is shown unchanged."""
    assert shown == printable(text)


def test_predict_refuses_what_the_server_refuses(tmp_path: Path) -> None:
    """The second text is named, and none is scored."""
    model = toy.write(tmp_path / "model")
    done = CliRunner().invoke(app, ["predict", "good", " ", "--model", str(model)])
    assert "text 1 is empty" in str(done.exception)
    assert "good" not in done.output
