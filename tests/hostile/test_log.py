"""A log pipe that nobody reads, and callers who would write into the log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests

from tests.hostile.good_client import GoodClient
from tests.service import Service

pytestmark = pytest.mark.long


def test_a_log_nobody_reads_stops_nothing(hostile_toy_path: Path) -> None:
    """Every request is logged, the pipe is full, and the good client is answered all the same."""
    reader, writer = os.pipe()
    service = Service(MODEL_URI=str(hostile_toy_path), GUNICORN_ACCESS_LOG="true")
    service._log.close()
    service._log = os.fdopen(writer, "wb")  # type: ignore[assignment]
    with service.start():
        path = "/" + "x" * 3000
        for _ in range(60):  # 180 kB, where a pipe holds 64
            assert 404 == requests.get(service.url(path), timeout=10).status_code
        with GoodClient(service) as good:
            good.wait_for_answers()
        good.check()
        assert 0 == service.stop()
    os.close(reader)


def test_no_caller_writes_a_line(hostile_toy_path: Path) -> None:
    """Line feeds and terminal codes of a path are escaped, in the access log and elsewhere."""
    service = Service(MODEL_URI=str(hostile_toy_path), GUNICORN_ACCESS_LOG="true")
    with service.start():
        requests.get(service.url("/%0aforged%1b[2J"), headers={"User-Agent": "a\tb"}, timeout=10)
        service.wait_for(lambda: "forged" in service.log(), "the entry")
        assert not [line for line in service.log().splitlines() if line.startswith("forged")]
        assert "\x1b" not in service.log()
