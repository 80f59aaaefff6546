"""Replacing parts of a package: nothing is replaced that is not there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from roberta_sentiment.errors import StartError
from roberta_sentiment.serving import patching


def test_a_replacement_takes_the_place_of_the_original() -> None:
    """A second repair gets the first one's, and the record keeps what the package has brought."""
    owner = SimpleNamespace(__name__="upstream.module", serve="original")
    assert "original" == patching.patch(owner, "serve", "first")
    assert "first" == patching.patch(owner, "serve", "second")
    assert "second" == owner.serve
    assert "original" == patching.originals["upstream.module.serve"]


def test_what_is_not_there_is_not_replaced() -> None:
    """A repair that upstream has moved would do nothing, silently."""
    owner = SimpleNamespace(__name__="upstream.module")
    with pytest.raises(StartError, match=r"upstream\.module has no serve, which is to be replaced"):
        patching.patch(owner, "serve", "first")
    assert not hasattr(owner, "serve")
