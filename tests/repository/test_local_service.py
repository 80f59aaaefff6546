"""The starter of local servers: ready or a sentence with the log, and nothing left behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from scripts.local_service import LocalServer, ServerError, free_ports

SERVER = """
import http.server, signal, subprocess, sys
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("child", child.pid, flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler
                       ).serve_forever()
"""


def server(code: str, *more: str) -> LocalServer:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", code, str(port), *more]
    return LocalServer(command, dict(os.environ), f"http://127.0.0.1:{port}/")


def is_alive(pid: int) -> bool:
    """Whether a process exists that is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False


def wait_for_the_end_of(*pids: int) -> None:
    """A killed process takes a moment to go."""
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, pids
        time.sleep(0.01)


def test_a_server_is_ready_when_it_answers_and_leaves_no_process_behind() -> None:
    """Also what it has started itself ends with it."""
    with server(SERVER) as running:
        assert running.wait_until_ready() > 0
        child = int(running.log().split()[1])
        assert {running.process.pid, child} == set(running.processes())
        assert is_alive(child)
    wait_for_the_end_of(child)


def test_a_server_that_ends_early_is_reported_with_its_log() -> None:
    """Its caller must not wait for nothing."""
    code = "import sys; sys.exit('no room')"
    with (
        server(code) as ended,
        pytest.raises(ServerError, match="ended before readiness:\nno room"),
    ):
        ended.wait_until_ready()


def test_a_server_that_never_answers_is_reported_with_its_log() -> None:
    """The limit is in the sentence."""
    code = "import signal; print('waiting', flush=True); signal.pause()"
    with server(code) as silent:
        silent.wait_for(lambda: "waiting" in silent.log(), "its line")
        with pytest.raises(ServerError, match=r"no readiness in 0.1 s:\nwaiting"):
            silent.wait_until_ready(0.1)


def test_a_server_that_ignores_sigterm_is_killed_and_reported() -> None:
    """It would never end."""
    with server(SERVER, "deaf") as deaf:
        deaf.wait_until_ready()
        with pytest.raises(ServerError, match=r"still runs 0.1 s after SIGTERM"):
            deaf.stop(0.1)
        deaf.process.kill()
        pids = deaf.processes()
    wait_for_the_end_of(*pids)
