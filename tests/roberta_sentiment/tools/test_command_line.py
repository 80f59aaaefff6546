"""How the command lines end: with one sentence, an exit code and no stack trace."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.command_line import (
    INTERRUPTED,
    interrupted,
    new_app,
    one_sentence,
    warn,
)
from roberta_sentiment.version import __version__


def test_an_app_knows_its_version_and_its_commands() -> None:
    """Without a command it shows its help."""
    app = new_app("tool", "What it does.")
    app.command("one")(lambda: None)
    runner = CliRunner()
    assert f"tool {__version__}\n" == runner.invoke(app, ["--version"], prog_name="tool").stdout
    assert "What it does." in runner.invoke(app, []).output


def test_an_error_of_ours_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own exit code, and nothing on standard output, which may be data."""
    with pytest.raises(SystemExit) as ended, one_sentence(code=3):
        raise DataError("a.csv can't be read")
    assert 3 == ended.value.code
    assert ("", "error: a.csv can't be read\n") == capsys.readouterr()


def test_another_kind_of_error_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Any other one is a fault, and is shown whole."""
    with pytest.raises(SystemExit), one_sentence(OSError):
        raise OSError("no space")
    assert "error: no space\n" == capsys.readouterr().err
    with pytest.raises(ValueError, match="fault"), one_sentence():
        raise ValueError("fault")


def test_a_library_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With the command that installs it; a missing module of ours is a fault."""
    with pytest.raises(SystemExit), one_sentence():
        raise ModuleNotFoundError(name="sklearn.metrics")
    assert "needs sklearn, which is not installed: pip install '.[tools]'" in (
        capsys.readouterr().err
    )
    with pytest.raises(ModuleNotFoundError), one_sentence():
        raise ModuleNotFoundError(name="roberta_sentiment.gone")


def test_messages_are_not_wrapped_and_control_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pipe gets one line; a file name may hold escape sequences and square brackets."""
    warn("[red]x\x1b[2J" + "y" * 200)
    text = capsys.readouterr().err
    assert 1 == text.count("\n")
    assert "[red]x" in text
    assert "\x1b[2J" not in text


def test_ctrl_c_has_the_shell_s_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence says what to do next."""
    end = interrupted("run it again to resume")
    assert isinstance(end, typer.Exit)
    assert INTERRUPTED == end.exit_code
    assert "interrupted; run it again to resume\n" == capsys.readouterr().err
