"""Options that several commands have, as settings."""

from __future__ import annotations

import pytest

from roberta_sentiment.errors import SettingsError
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.options import read_settings


def test_options_are_settings() -> None:
    """What a command does not ask for keeps its default, whatever the environment says."""
    expected = Settings(
        truncation="windows", head="sigmoid", max_tokens=64, window_overlap=8, threads=2
    )
    assert expected == read_settings("windows", "sigmoid", 64, 8, 2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("truncation", ("cut", "auto", 0, 128, 0)),
        ("head", ("end", "tail", 0, 128, 0)),
        ("max_tokens", ("end", "auto", -1, 128, 0)),
        ("window_overlap", ("end", "auto", 0, -1, 0)),
        ("threads", ("end", "auto", 0, 128, -1)),
    ],
)
def test_a_wrong_option_is_named(name: str, arguments: tuple[str, str, int, int, int]) -> None:
    """A server refuses the same values."""
    with pytest.raises(SettingsError, match=name):
        read_settings(*arguments)
