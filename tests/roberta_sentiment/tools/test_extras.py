"""Libraries of an extra."""

from __future__ import annotations

import json

import pytest

from roberta_sentiment.errors import StartError
from roberta_sentiment.tools.extras import need


def test_a_module_that_is_installed_is_imported() -> None:
    """As `import` does it."""
    assert json is need("json")


def test_a_library_that_is_not_installed_is_one_sentence() -> None:
    """It names the package and the extra that has it."""
    with pytest.raises(StartError, match=r"needs no_such, .*pip install '\.\[batch\]'"):
        need("no_such.module", "batch")
