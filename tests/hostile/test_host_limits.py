"""A container that grants few processes and threads, or no room for files, for real."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from seldon_node.host_limits import tasks_needed
from tests import ROOT
from tests.hostile.groups import Group
from tests.served.test_lifecycle import grpc_answers, listening_on
from tests.service import Service
from tests.wire import to_proto

pytestmark = pytest.mark.long

THREADS = 40
SMALL = {"GUNICORN_THREADS": str(THREADS), "GRPC_THREADS": str(THREADS), "SENTIMENT_MAX_QUEUE": "8"}


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """A group that may have so many processes and threads."""
    try:
        made = Group("pids", request.param, ("pids.max", "pids.max"))
    except OSError as error:
        pytest.skip(f"control groups of processes are not allowed here: {error}")
    yield made
    made.remove()


def in_own_mounts(script: str, *arguments: str) -> list[str]:
    """A prefix that runs a shell script, in mounts of its own, before a command."""
    prefix = ["unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh", *arguments]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounts of one's own are not allowed here: {tried.stderr.strip()}")
    return prefix


class InOwnMounts(Service):
    """A service behind such a prefix."""

    def __init__(self, prefix: list[str], **environment: str) -> None:
        super().__init__(**environment)
        self._command = [*prefix, *self._command]


@pytest.mark.parametrize("group", [20, 60, 150], indirect=True)
def test_too_few_processes_and_threads(group: Group, hostile_toy_path: Path) -> None:
    """As a container sees its limit: the service ends with a sentence and starts no server."""
    own_view = in_own_mounts('mount --bind "$1" "$2"; shift 2', str(group.path), str(group.parent))
    with InOwnMounts(own_view, MODEL_URI=str(hostile_toy_path)).launch() as service:
        group.add(service.process.pid)
        assert 0 != service.process.wait(60)
        log = service.log()
    assert "processes and threads (pids.max), this service needs" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("group", [60], indirect=True)
def test_too_few_where_the_limit_is_hidden(group: Group, hostile_toy_path: Path) -> None:
    """As in some sandboxes: the service ends instead of waiting for threads that never start."""
    with Service(MODEL_URI=str(hostile_toy_path), **SMALL).launch() as service:
        group.add(service.process.pid)
        assert 0 != service.process.wait(60)
        assert "cannot start: " in service.log()


@pytest.mark.parametrize("group", [tasks_needed(1, THREADS, 1, THREADS)], indirect=True)
def test_as_many_as_needed(group: Group, hostile_toy_path: Path) -> None:
    """With twice as many clients as threads each one is answered, and so is the next."""
    with Service(MODEL_URI=str(hostile_toy_path), **SMALL).launch() as service:
        group.add(service.process.pid)
        service.wait_for(lambda: service.health() == 200, "readiness")
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        stub = service.stub()

        def ask(number: int) -> int | str:
            if number % 2:
                return service.post({"data": {"ndarray": ["good"] * 50}}).status_code
            try:
                stub.Predict(to_proto({"data": {"ndarray": ["good"] * 50}}), timeout=60)
            except grpc.RpcError as error:
                return str(error.code())
            return 200

        with ThreadPoolExecutor(4 * THREADS) as pool:
            answers = Counter(pool.map(ask, range(8 * THREADS)))
        assert {*answers} <= {200, 503, "StatusCode.UNAVAILABLE"}
        assert answers[200] > 0
        assert 200 == service.post_status({"strData": "good"})
        assert grpc_answers(service)
        assert "can't start new thread" not in service.log()


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory with room for 256 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(
    "tmp" in ROOT.parts, reason="this checkout lies in a folder that the test fills"
)
def test_no_room_for_temporary_files(hostile_toy_path: Path) -> None:
    """As in a container with a read-only root: the service ends with a sentence."""
    full = in_own_mounts(
        'mount --bind "$1" /mnt; mount --bind "$2" "$2"; mount -o remount,bind,ro "$2"; cd "$2"; '
        "for folder in /tmp /var/tmp; do mount -t tmpfs -o size=64k tmpfs $folder; "
        "cat /dev/zero > $folder/filler 2> /dev/null || true; done; shift 2",
        str(hostile_toy_path), str(ROOT),
    )  # fmt: skip
    with InOwnMounts(full, MODEL_URI="/mnt").launch() as service:
        assert 0 != service.process.wait(60)
        log = service.log()
    assert "cannot start: no file can be written to " in log
    assert "Traceback" not in log


def test_a_folder_that_fills_up_later(small_folder: Path, hostile_toy_path: Path) -> None:
    """A running service needs no room there: not for a request, nor to replace a worker."""
    environment = {"MODEL_URI": str(hostile_toy_path), "TMPDIR": str(small_folder)}
    with Service(**environment).start() as service:
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        with (
            (small_folder / "filler").open("wb", buffering=0) as file,
            contextlib.suppress(OSError),
        ):
            while True:
                file.write(bytes(512))
        body = {"jsonData": ["good " * 20_000] * 4}
        assert 200 == service.post_status(body)
        workers = {listening_on(port)[-1] for port in (service.http, service.grpc)}
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        service.wait_for(lambda: not workers & {*service.processes()}, "the end of the workers")
        service.wait_for(lambda: service.health() == 200, "recovery")
        service.wait_for(lambda: grpc_answers(service), "recovery of gRPC")
        assert 200 == service.post_status(body)
