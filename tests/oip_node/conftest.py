"""Fixtures of the tests that run in MLServer's environment, without Seldon's packages.

`make test-oip` runs them without the fixtures of tests/conftest.py, which need the wrapper.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oip_node.server import Server


@pytest.fixture(scope="session")
def oip() -> Iterator[Server]:
    """The default model behind MLServer, as `mlserver start` starts it."""
    with Server().start() as running:
        yield running
