"""Start, failure, recovery and end of the real service."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from roberta_sentiment.model.artifact import DEFAULT_MODEL
from seldon_node.preflight import PORTS
from tests import toy
from tests.nodes.flaky import SWITCH
from tests.nodes.slow import BEGUN
from tests.service import Service, free_ports
from tests.wire import to_proto

GOOD = {"strData": "This film is so good"}


def grpc_answers(service: Service) -> bool:
    try:
        service.predict(to_proto(GOOD))
    except grpc.RpcError:
        return False
    return True


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii")


def children(pid: int) -> list[int]:
    """Pids of the child processes, oldest first."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return sorted(map(int, listed.split()))


def listening_on(port: int) -> list[int]:
    """Pids that hold a listening socket on a port."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(pid for pid in pids if inodes & set(open_files(pid)))


def open_files(pid: int) -> Iterator[str]:
    """What the descriptors of a process lead to; those closed meanwhile are left out."""
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield os.readlink(link)  # noqa: PTH115


@pytest.fixture(scope="module")
def toy_service_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(tmp_path_factory.mktemp("toy") / "toy", positions=514)


@pytest.fixture
def toy_service(toy_service_path: Path) -> Iterator[Service]:
    """A fresh service with a tiny model, to be harmed."""
    with Service(MODEL_URI=str(toy_service_path)).start() as running:
        running.wait_for(lambda: grpc_answers(running), "gRPC")
        yield running


def truncate(directory: Path) -> str:
    path = directory / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1000])
    return "truncated"


def corrupt(directory: Path) -> str:
    path = directory / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    return "damaged"


def remove(directory: Path) -> str:
    (directory / "model.onnx").unlink()
    return "missing"


@pytest.mark.parametrize("damage", [truncate, corrupt, remove])
def test_a_damaged_model_aborts_startup(tmp_path: Path, damage: Callable[[Path], str]) -> None:
    """One sentence that names the file and what is wrong, no stack trace, exit code not zero."""
    directory = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    words = damage(directory)
    with Service(MODEL_URI=str(directory)).launch() as service:
        assert 0 != service.process.wait(60)
        sentences = [line for line in service.log().splitlines() if "cannot start" in line]
        assert 1 == len(sentences), service.log()
        assert str(directory / "model.onnx") in sentences[0]
        assert words in sentences[0]
        assert "Traceback" not in service.log()


def test_a_graph_that_does_not_load_aborts_startup(tmp_path: Path) -> None:
    """Without a manifest the damage shows only when the file is read."""
    directory = toy.write(tmp_path / "toy")
    (directory / "model.onnx").write_bytes(b"\x08\x07nonsense")
    with Service(MODEL_URI=str(directory), SENTIMENT_WINDOW_OVERLAP="8").launch() as service:
        assert 0 != service.process.wait(60)
        line = service.log().splitlines()[-1]
        assert line.startswith("cannot start: model.onnx is not an ONNX graph")
        assert "Traceback" not in service.log()


def test_the_log_ends_with_a_sentence_whichever_process_fails(toy_service_path: Path) -> None:
    """Kubernetes shows the end of the log as the reason of a failed start."""
    environment = {"MODEL_URI": str(toy_service_path)}
    with Service("tests.nodes.unloadable.Unloadable", **environment).launch() as service:
        assert 3 == service.process.wait(60)
        assert service.log().splitlines()[-1].startswith("cannot start: a server failed")
        assert "the test took the model away" in service.log()
        assert "Traceback" not in service.log()


def test_an_unknown_parameter_aborts_startup() -> None:
    """A typo in the manifest must not serve with a default in its place."""
    parameters = '[{"name":"truncatoin","value":"end","type":"STRING"}]'
    with Service(PREDICTIVE_UNIT_PARAMETERS=parameters).launch() as service:
        assert 0 != service.process.wait(60)
        assert "unknown parameter 'truncatoin'; did you mean truncation?" in service.log()
        assert "Traceback" not in service.log()


@pytest.mark.parametrize("server", PORTS)
def test_a_port_in_use_aborts_startup(toy_service: Service, server: str) -> None:
    """A gRPC port could be shared, and callers would meet the one and the other in turns."""
    taken = {"REST": toy_service.http, "gRPC": toy_service.grpc, "metrics": toy_service.metrics}
    with Service(**{PORTS[server]: str(taken[server])}).launch() as second:
        assert 1 == second.process.wait(60)
        line = second.log().splitlines()[-1]
        assert line.startswith(f"cannot start: the {server} port {taken[server]} can't be opened")
        assert PORTS[server] in line
        assert "Traceback" not in second.log()
        assert [] == second.processes()


def test_one_port_for_two_servers_aborts_startup() -> None:
    """It is not taken until the first of them has it."""
    (port,) = free_ports(1)
    with Service(**dict.fromkeys(PORTS.values(), str(port))).launch() as service:
        assert 1 == service.process.wait(60)
        assert service.log().splitlines()[-1].startswith(f"cannot start: the metrics port {port} ")


def test_the_workers_of_a_service_share_its_grpc_port(toy_service_path: Path) -> None:
    """And a new worker joins them."""
    environment = {"MODEL_URI": str(toy_service_path), "GRPC_WORKERS": "2"}
    with Service(**environment).start() as service:
        service.wait_for(lambda: len(listening_on(service.grpc)) == 2, "both workers")
        os.kill(listening_on(service.grpc)[0], signal.SIGKILL)
        service.wait_for(lambda: len(listening_on(service.grpc)) == 2, "a new worker")
        service.wait_for(lambda: service.health() == 200, "recovery")
        assert grpc_answers(service)


def test_a_private_socket_that_is_taken_ends_no_worker(toy_service_path: Path) -> None:
    """Health then asks the shared port, and still knows a worker that hangs."""
    with Service("tests.nodes.crowded.Crowded", MODEL_URI=str(toy_service_path)).start() as service:
        assert grpc_answers(service)
        assert "gRPC worker 0 has no private socket" in service.log()
        (worker,) = listening_on(service.grpc)
        os.kill(worker, signal.SIGSTOP)
        service.wait_for(lambda: service.health() == 503, "red health")
        os.kill(worker, signal.SIGCONT)
        service.wait_for(lambda: service.health() == 200, "recovery")


def test_no_name_rests_on_a_pid(toy_service: Service) -> None:
    """The containers of a pod share abstract sockets, and the next one has the same pids."""
    inodes = {
        link[len("socket:[") : -1]
        for pid in toy_service.processes()
        for link in open_files(pid)
        if link.startswith("socket:[")
    }
    lines = Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:]
    names = {f[7] for f in (line.split() for line in lines) if f[6] in inodes and len(f) > 7}
    shared = {name for name in names if name.startswith("@")}
    assert 1 == len(shared)
    pids = set(map(str, toy_service.processes()))
    assert set() == pids & {word for name in shared for word in re.findall(r"\w+", name)}


@pytest.mark.parametrize("interface", ["Model", "baselines.lexicon.Lexicon.Lexicon"])
def test_a_misspelt_variable_is_named_once(interface: str, toy_service_path: Path) -> None:
    """Not by each worker; and what Kubernetes says of Services is no misspelling."""
    environment = {
        "SENTIMENT_MAX_TEXT": "5", "SENTIMENT_X_SERVICE_HOST": "1", "GUNICORN_WORKERS": "2",
        "SENTIMENT_THREADS_PORT": "tcp://10.0.0.1:80", "GRPC_WORKERS": "2",
    }  # fmt: skip
    if interface == "Model":
        environment["MODEL_URI"] = str(toy_service_path)
    with Service(interface, **environment).start() as service:
        warnings = [line for line in service.log().splitlines() if "SENTIMENT_" in line]
        assert 1 == len(warnings), warnings
        assert warnings[0].endswith(
            "the variable SENTIMENT_MAX_TEXT is not read; did you mean SENTIMENT_MAX_TEXTS?"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process(toy_service: Service, number: int) -> None:
    """Exit code 0 and no orphan, with REST and gRPC both on, within the pod's patience."""
    assert len(toy_service.processes()) > 4
    start = time.monotonic()
    toy_service.process.send_signal(number)
    assert 0 == toy_service.process.wait(10)
    assert time.monotonic() - start < 5
    assert [] == toy_service.processes()


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda pid: os.kill(pid, signal.SIGTERM), id="SIGTERM"),
        pytest.param(lambda pid: os.killpg(pid, signal.SIGINT), id="Ctrl-C"),
    ],
)
def test_running_requests_are_answered_before_the_end(
    toy_service_path: Path, end: Callable[[int], None]
) -> None:
    """A rolling update must not cost an answer, on either protocol; nor Ctrl-C."""
    with Service("tests.nodes.slow.Slow", MODEL_URI=str(toy_service_path)).start() as service:
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        slowly = {"strData": "slowly good"}
        answers: dict[str, object] = {}
        threads = [
            threading.Thread(target=lambda: answers.update(rest=service.post(slowly).status_code)),
            threading.Thread(
                target=lambda: answers.update(grpc=service.predict(to_proto(slowly)).data.names)
            ),
        ]
        for thread in threads:
            thread.start()
        service.wait_for(lambda: service.log().count(BEGUN) == 2, "both requests to arrive")
        end(service.process.pid)
        for thread in threads:
            thread.join()
        assert 0 == service.process.wait(10)
        assert 200 == answers["rest"]
        assert ["negative", "positive"] == list(answers["grpc"])  # type: ignore[call-overload]
        assert [] == service.processes()


def test_ctrl_c_reaches_no_server(toy_service: Service) -> None:
    """A terminal sends it to a group of processes, of which a server must not be one.

    gunicorn's worker waits for a lock when it gets SIGINT; if it holds that lock, because it is
    just handing a request to its threads, it waits forever.
    """
    ports = toy_service.http, toy_service.grpc, toy_service.metrics
    servers = {pid for port in ports for pid in listening_on(port)}
    assert len(servers) >= len(ports)
    assert os.getpgid(toy_service.process.pid) not in set(map(os.getpgid, servers))


def test_a_killed_rest_worker_comes_back(toy_service: Service) -> None:
    """gunicorn replaces it; the service answers again without help."""
    holders = listening_on(toy_service.http)
    worker = holders[-1]
    os.kill(worker, signal.SIGKILL)
    toy_service.wait_for(lambda: worker not in toy_service.processes(), "its end")
    toy_service.wait_for(lambda: toy_service.health() == 200, "recovery")
    assert 200 == toy_service.post(GOOD).status_code


def test_a_killed_grpc_worker_turns_health_red_and_comes_back(toy_service: Service) -> None:
    """The wrapper never notices; here health says 503 until a new worker answers."""
    (worker,) = listening_on(toy_service.grpc)
    os.kill(worker, signal.SIGSTOP)
    toy_service.wait_for(lambda: toy_service.health() == 503, "red health")
    answer = requests.get(toy_service.url("/health/status"), timeout=10).json()
    assert "1 of 1 gRPC workers do not answer" in answer["status"]["info"]
    os.kill(worker, signal.SIGKILL)
    toy_service.wait_for(lambda: toy_service.health() == 200, "recovery")
    assert grpc_answers(toy_service)


@pytest.mark.parametrize("which", ["arbiter", "worker"])
def test_a_killed_metrics_server_comes_back(toy_service: Service, which: str) -> None:
    """What was counted before is still there."""
    toy_service.post(GOOD)
    counted = toy_service.counter("sentiment_texts_total")
    assert counted > 0
    holders = listening_on(toy_service.metrics)
    ending = holders if which == "arbiter" else holders[-1:]
    os.kill(ending[0], signal.SIGKILL)
    toy_service.wait_for(lambda: not {*ending} & {*toy_service.processes()}, "their end")
    toy_service.wait_for(lambda: _scrapes(toy_service), "recovery")
    assert counted == toy_service.counter("sentiment_texts_total")


def _scrapes(service: Service) -> bool:
    try:
        return "sentiment_texts_total" in service.scrape()
    except requests.RequestException:
        return False


def test_a_killed_rest_arbiter_comes_back(toy_service: Service) -> None:
    """Its orphaned worker gives the port back, and a new pair takes it."""
    arbiter, worker = listening_on(toy_service.http)
    os.kill(arbiter, signal.SIGKILL)
    toy_service.wait_for(lambda: not {arbiter, worker} & {*toy_service.processes()}, "their end")
    toy_service.wait_for(lambda: toy_service.post_status(GOOD) == 200, "recovery")


def test_no_orphans_when_the_main_process_is_killed(toy_service: Service) -> None:
    """The container's runtime restarts the main process; old workers must not hold the ports."""
    os.kill(toy_service.process.pid, signal.SIGKILL)
    toy_service.process.wait(5)
    deadline = time.monotonic() + 20
    while toy_service.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [] == toy_service.processes()


def grpc_health(service: Service) -> bool:
    """What Kubernetes' own gRPC probe gets."""
    with grpc.insecure_channel(f"localhost:{service.grpc}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(), timeout=10).status
        watched = next(iter(health.Watch(health_pb2.HealthCheckRequest(), timeout=10))).status
    serving = health_pb2.HealthCheckResponse.SERVING
    return bool(status == watched == serving)


def test_health_is_red_while_the_model_fails(tmp_path: Path, toy_service_path: Path) -> None:
    """A failed inference turns health red; without any traffic it comes back by itself."""
    switch = tmp_path / "fails"
    environment = {SWITCH: str(switch), "MODEL_URI": str(toy_service_path)}
    with Service("tests.nodes.flaky.Flaky", **environment).start() as service:
        service.wait_for(lambda: grpc_answers(service), "gRPC")
        switch.touch()
        assert 500 == service.post(GOOD).status_code
        assert 503 == service.health()
        switch.unlink()
        service.wait_for(lambda: service.health() == 200, "recovery")
        switch.touch()
        with pytest.raises(grpc.RpcError) as caught:
            service.predict(to_proto(GOOD))
        assert grpc.StatusCode.INTERNAL == caught.value.code()
        assert "the test broke the model" == caught.value.details()
        assert 503 == service.health()
        service.wait_for(lambda: not grpc_health(service), "gRPC's own health to be red")
        switch.unlink()
        service.wait_for(lambda: service.health() == 200, "recovery of the gRPC worker")
        service.wait_for(lambda: grpc_health(service), "gRPC's own health to be green")
        assert 200 == service.post(GOOD).status_code
