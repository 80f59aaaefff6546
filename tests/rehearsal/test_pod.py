"""The image in a pod: user 8888, read-only root, no network, and what the operator injects."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from roberta_sentiment.classifier import Classifier
from tests import ROOT, toy
from tests.manifests.document import deployments
from tests.manifests.node import PROBES
from tests.manifests.rendering import METRICS_PATH
from tests.rehearsal import builder, pod
from tests.rehearsal.cluster import Container, containers, production
from tests.rehearsal.pod import Pod

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not builder.is_git(), reason="the image is made from a git repository"),
    pytest.mark.skipif(bool(pod.obstacle()), reason=pod.obstacle() or "none"),
]

TEXTS = ["This film is so good", "This film is so bad"]
MESSAGE = {"data": {"ndarray": TEXTS}}
PREDICTIONS, FEEDBACK = "/api/v1.0/predictions", "/api/v1.0/feedback"
SOMEWHERE_ELSE = "192.0.2.1"
OPEN_TO_WRITE = ("/tmp", "/proc", "/dev/")  # noqa: S108


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> builder.Image:
    return builder.build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ask for it where a test needs a root file system that can be written."""
    reason = pod.overlay_obstacle(tmp_path_factory.mktemp("overlay"))
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def container() -> Container:
    (found,) = containers(production())
    return found


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, image: builder.Image, container: Container
) -> Iterator[Pod]:
    """The pod of deployment.yaml."""
    with Pod(tmp_path_factory.mktemp("pod"), image, container).start() as started:
        yield started


@pytest.fixture(scope="module")
def prepared_scores(default_classifier: Classifier) -> list[list[float]]:
    scores: list[list[float]] = default_classifier.classify(TEXTS).probabilities.tolist()
    return scores


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.usefixtures("overlays")
def test_the_packages_install(tmp_path: Path, image: builder.Image, container: Container) -> None:
    """The line of assemble, hashes and all; offline pip finds every package there already."""
    done = Pod(tmp_path, image, container, writable=True, user=0).run(
        f"{builder.INSTALL} && pip check"
    )
    assert 0 == done.returncode, done.stderr
    assert "No broken requirements found." in done.stdout
    assert "Collecting" not in done.stdout


def test_it_answers_over_rest_and_grpc(
    running: Pod, container: Container, prepared_scores: list[list[float]]
) -> None:
    """The same numbers as outside, on the ports that the operator assigned."""
    rest = running.ask("post", container.ports.http, PREDICTIONS, MESSAGE)
    assert 200 == rest["status"]
    answer = json.loads(rest["text"])
    over_grpc = running.ask("predict", container.ports.grpc, MESSAGE)
    assert answer["data"]["ndarray"] == over_grpc["data"]["ndarray"]
    for expected, row in zip(prepared_scores, answer["data"]["ndarray"], strict=True):
        assert pytest.approx(expected, abs=1e-4) == row
    assert {"roberta": container.spec["image"]} == answer["meta"]["requestPath"]


@pytest.mark.parametrize("probe", PROBES)
def test_the_probes_pass(running: Pod, probe: str) -> None:
    """By the port's name, as the kubelet resolves it."""
    assert 200 == running.probe(probe)


def test_only_the_assigned_ports_are_open(running: Pod, container: Container) -> None:
    """A port more is a way in, a port less is traffic lost."""
    lines = Path(f"/proc/{running.main_process()}/net/tcp").read_text(encoding="ascii").splitlines()
    tables = [line.split() for line in lines[1:]]
    v6 = Path(f"/proc/{running.main_process()}/net/tcp6").read_text(encoding="ascii").splitlines()
    tables += [line.split() for line in v6[1:]]
    listening = {int(row[1].rpartition(":")[2], 16) for row in tables if row[3] == "0A"}
    ports = container.ports
    assert {ports.http, ports.grpc, ports.metrics} == listening


def test_prometheus_finds_the_metrics(running: Pod, container: Container) -> None:
    """Path and port as in the pod's annotations, labels from the injected variables."""
    running.ask("post", container.ports.http, PREDICTIONS, MESSAGE)
    page = running.ask("get", container.ports.metrics, METRICS_PATH)["text"]
    samples = [s for f in text_string_to_metric_families(page) for s in f.samples]
    labels = next(s.labels for s in samples if s.name == "sentiment_texts_total")
    expected = {
        "deployment_name": "sentiment", "predictor_name": "default", "predictor_version": "default",
        "model_name": "roberta", "model_image": "roberta-sentiment", "model_version": "0.1.0",
    }  # fmt: skip
    assert expected.items() <= labels.items()


def test_nobody_has_privileges(running: Pod) -> None:
    """User 8888 in every process, no capability, and no way to gain one."""
    found = [status_of(pid) for pid in running.processes()]
    assert len(found) > 4
    if os.geteuid() == 0:
        assert {"8888"} == {word for status in found for word in status["Uid"].split()}
    assert {0} == {int(status[name], 16) for status in found for name in ("CapEff", "CapBnd")}
    assert {"1"} == {status["NoNewPrivs"] for status in found}


def test_only_tmp_can_be_written(running: Pod) -> None:
    """Every mount but /tmp and the kernel's own is read-only."""
    path = Path(f"/proc/{running.main_process()}/mountinfo")
    mounts = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    writable = [m[4] for m in mounts if "rw" in m[5].split(",")]
    assert "/tmp" in writable  # noqa: S108
    assert [] == [where for where in writable if not where.startswith(OPEN_TO_WRITE)]


def test_there_is_no_network(running: Pod) -> None:
    """The node must start and answer without one."""
    assert "ENETUNREACH" == running.ask("connect", SOMEWHERE_ELSE, 443)


def test_the_workers_share_the_prepared_file(running: Pod) -> None:
    """before-run made it in /tmp; if the servers do not map it, nothing was gained."""
    maps = []
    for pid in running.processes():
        with contextlib.suppress(OSError):
            maps.append(Path(f"/proc/{pid}/maps").read_text(encoding="utf-8"))
    assert 2 == sum("/optimized-" in text and "model.data" in text for text in maps)


def test_tmp_holds_nothing_unexpected(running: Pod) -> None:
    """Libraries like to leave ids and caches in the home directory."""
    names = {path.name for path in (running.root / "tmp").iterdir()}
    kept = {name for name in names if not name.startswith("wgunicorn-")}
    assert {f"roberta-sentiment-{pod.USER}"} == kept


def use_everything(started: Pod, container: Container) -> None:
    """Every way into the node once: both protocols, feedback, refusals, pages."""
    http = container.ports.http
    message: dict[str, Any] = {"request": MESSAGE, "truth": {"data": {"ndarray": ["positive"] * 2}}}
    assert 200 == started.ask("post", http, PREDICTIONS, MESSAGE)["status"]
    assert 400 == started.ask("post", http, PREDICTIONS, {"strData": 5})["status"]
    assert 200 == started.ask("post", http, FEEDBACK, message)["status"]
    assert started.ask("predict", container.ports.grpc, MESSAGE)["data"]
    for port, path in ((http, "/metadata"), (container.ports.metrics, METRICS_PATH)):
        assert 200 == started.ask("get", port, path)["status"]


@pytest.mark.usefixtures("overlays")
def test_nothing_is_written_outside_tmp(
    tmp_path: Path, image: builder.Image, container: Container
) -> None:
    """As root on a root that can be written: whatever was tried has left a trace."""
    with Pod(tmp_path, image, container, writable=True, user=0).start() as started:
        use_everything(started, container)
        assert 0 == started.stop()
        assert [] == started.written()


@pytest.mark.usefixtures("overlays")
@pytest.mark.parametrize("path", ["/microservice/x", "/usr/x", "/x", "/etc/x"])
def test_a_write_would_be_noticed(
    tmp_path: Path, image: builder.Image, container: Container, path: str
) -> None:
    """The check above can fail, and the read-only pod refuses the same."""
    for folder in ("open", "closed"):
        (tmp_path / folder).mkdir()
    opened = Pod(tmp_path / "open", image, container, writable=True, user=0)
    assert 0 == opened.run(f"touch {path}").returncode
    assert [Path(path).name] == [Path(found).name for found in opened.written()]
    closed = Pod(tmp_path / "closed", image, container, user=0).run(f"touch {path}")
    assert "Read-only file system" in closed.stderr


def test_sigterm_ends_it_cleanly(
    tmp_path: Path, image: builder.Image, container: Container
) -> None:
    """Exit code 0 within the grace of the manifest, and nothing in /tmp but what it keeps."""
    with Pod(tmp_path, image, container).start() as started:
        use_everything(started, container)
        inside = started.processes()
        assert 0 == started.stop()
        assert [] == [pid for pid in inside if Path(f"/proc/{pid}/ns").exists()]
        left = {path.name for path in (started.root / "tmp").iterdir()}
        assert {".gunicorn", f"roberta-sentiment-{pod.USER}"} >= left


def test_a_model_from_modeluri(tmp_path: Path, image: builder.Image) -> None:
    """The initializer's copy at /mnt/models is served, read-only, in the place of the embedded.

    A pod that is not stopped leaves no process behind, which would slow what is tested after it.
    """
    model = toy.write(tmp_path / "toy", positions=514)
    (document,) = deployments(ROOT / "deploy" / "model-uri-s3.yaml")
    (container,) = containers(document)
    (tmp_path / "pod").mkdir()
    with Pod(tmp_path / "pod", image, container, mounted=model).start() as started:
        metadata = json.loads(started.ask("get", container.ports.http, "/metadata")["text"])
        answer = started.ask("post", container.ports.http, PREDICTIONS, {"strData": "good"})
        assert "model_uri" == metadata["custom"]["source"]
        assert "models" == json.loads(answer["text"])["meta"]["tags"]["model_name"]
        assert [] == list(model.glob(".*"))
        inside = started.processes()
    assert [] == [pid for pid in inside if Path(f"/proc/{pid}/ns").exists()]


def test_rest_only_needs_one_process_less(tmp_path: Path, image: builder.Image) -> None:
    """GRPC_WORKERS=0 of rest-only.yaml: port 9500 stays shut, health stays green."""
    (document,) = deployments(ROOT / "deploy" / "rest-only.yaml")
    (container,) = containers(document)
    with Pod(tmp_path, image, container).start() as started:
        assert "ECONNREFUSED" == started.ask("connect", "127.0.0.1", container.ports.grpc)
        assert 200 == started.ask("post", container.ports.http, PREDICTIONS, MESSAGE)["status"]
        assert 0 == started.stop()
