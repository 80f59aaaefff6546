"""What an image's build and a kubelet do has nothing to do with the umask of who runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def usual_umask() -> Iterator[None]:
    """That of the programs whose place the rehearsal takes."""
    former = os.umask(0o022)
    yield
    os.umask(former)
