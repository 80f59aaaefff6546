"""Every pod that the operator made of our manifests: its containers side by side.

One network, a process and a mount namespace for each container, the stand-in in the executor's
place, and the whole environment that the kubelet makes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from rehearsal import gateway
from tests import ROOT, toy
from tests.manifests.document import environment
from tests.manifests.node import PROBES
from tests.rehearsal import builder, pod
from tests.rehearsal.cluster import NAMES, Container, RenderedPod, rendered_pods
from tests.rehearsal.pod import Network, Pod

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not builder.is_git(), reason="the image is made from a git repository"),
    pytest.mark.skipif(bool(pod.obstacle()), reason=pod.obstacle() or "none"),
]

MESSAGE = {"data": {"ndarray": ["This film is so good", "This film is so bad"]}}
PREDICTIONS = "/api/v1.0/predictions"
CACHE = f"tmp/roberta-sentiment-{pod.USER}"
PODS = [(name, each) for name in NAMES for each in rendered_pods(name)]
WITH_TWO_NODES = "ab-test"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, builder.Image]:
    """Our images by the name that the manifests have for them."""
    return {
        "roberta-sentiment": builder.build(tmp_path_factory.mktemp("roberta")),
        "roberta-sentiment-lexicon": builder.build_baseline(
            "lexicon", tmp_path_factory.mktemp("lexicon")
        ),
    }


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a storage initializer leaves in /mnt/models."""
    return toy.write(tmp_path_factory.mktemp("mounted") / "model", positions=514)


@pytest.fixture(scope="module")
def used_tmp(tmp_path_factory: pytest.TempPathFactory, images: Mapping[str, builder.Image]) -> Path:
    """The model file in /tmp that a container made at its first start: the rest is quicker."""
    (container,) = rendered_pods("deployment")[0].containers
    first = Pod(tmp_path_factory.mktemp("first"), images["roberta-sentiment"], container)
    assert 0 == first.run("exec ./before-run").returncode
    return first.root / CACHE


@pytest.fixture(scope="module")
def start(images: Mapping[str, builder.Image], mounted: Path, used_tmp: Path) -> Starter:
    return Starter(images, mounted, used_tmp)


class Starter:
    """Starts the containers of a pod at the same time."""

    def __init__(self, images: Mapping[str, builder.Image], mounted: Path, used_tmp: Path) -> None:
        self._images = images
        self._mounted = mounted
        self._used_tmp = used_tmp

    def knows(self, container: Container) -> bool:
        """Whether its image is one of ours."""
        return container.spec["image"].partition(":")[0] in self._images

    @contextlib.contextmanager
    def __call__(self, folder: Path, rendered: RenderedPod) -> Iterator[list[Pod]]:
        """The containers whose images are ours, ready, in one network."""
        with contextlib.ExitStack() as stack:
            network = stack.enter_context(Network())
            started = []
            for container in filter(self.knows, rendered.containers):
                one = self._lay_out(folder / container.name, container, network)
                started.append(stack.enter_context(one.launch()))
            for one in started:
                one.wait_until_ready()
            yield started

    def _lay_out(self, folder: Path, container: Container, network: Network) -> Pod:
        folder.mkdir()
        mounts = {mount["mountPath"] for mount in container.spec["volumeMounts"]}
        mounted = self._mounted if "/mnt/models" in mounts else None
        image = self._images[container.spec["image"].partition(":")[0]]
        one = Pod(folder, image, container, network=network, mounted=mounted)
        if image is self._images["roberta-sentiment"]:
            shutil.copytree(self._used_tmp, one.root / CACHE)
            if os.geteuid() == 0:
                for path in (one.root / CACHE, *(one.root / CACHE).rglob("*")):
                    os.chown(path, pod.USER, pod.USER)
        return one


def answer_of(rendered: RenderedPod, first: Pod) -> dict[str, object]:
    """What a request to the pod's executor comes to; without executor, to its node."""
    port = first.container.ports.http
    if rendered.executor is not None:
        variables = {k: str(v) for k, v in environment(rendered.executor).items() if v is not None}
        first.network.run(gateway.__name__, *rendered.executor["args"], **variables)
        port = 8000
        while first.ask("connect", "127.0.0.1", port):
            pass
    return dict(first.ask("post", port, PREDICTIONS, MESSAGE))


@pytest.mark.parametrize(
    ("name", "rendered"), [pytest.param(*each, id=f"{each[0]}:{each[1].name}") for each in PODS]
)
def test_a_pod_starts_and_answers(
    tmp_path: Path, start: Starter, name: str, rendered: RenderedPod
) -> None:
    """All containers at once, in the environment of all Services of their manifest."""
    others = [each.name for each in rendered.containers if not start.knows(each)]
    assert others == (["eg-router"] if name == "bandit" else [])
    with start(tmp_path, rendered) as started:
        for one in started:
            assert {200} == {one.probe(probe) for probe in PROBES}
            assert not [line for line in one.log().splitlines() if "is not read" in line]
        if not others:
            answer = answer_of(rendered, started[0])
            assert 200 == answer["status"], answer
            assert 2 == len(json.loads(str(answer["text"]))["data"]["ndarray"])


def test_two_nodes_have_the_same_pids(tmp_path: Path, start: Starter) -> None:
    """As on a kubelet, where one of the two found its socket taken at each start."""
    (rendered,) = rendered_pods(WITH_TWO_NODES)
    with start(tmp_path, rendered) as started:
        assert 2 == len(started)
        assert {7} == {one.server()[1] for one in started}
        networks = {os.readlink(f"/proc/{one.server()[0]}/ns/net") for one in started}  # noqa: PTH115
        spaces = {os.readlink(f"/proc/{one.server()[0]}/ns/pid") for one in started}  # noqa: PTH115
        assert (1, 2) == (len(networks), len(spaces))
        for one in started:
            assert one.ask("predict", one.container.ports.grpc, MESSAGE)["data"]
            assert 0 == one.stop(), one.log()


@pytest.fixture(scope="module")
def docker_image(tmp_path_factory: pytest.TempPathFactory) -> builder.Image:
    """That of a checkout whose files only its owner can read."""
    if os.geteuid() != 0:
        pytest.skip("only root can own the files of the image")
    return builder.build_with_docker(tmp_path_factory.mktemp("docker"), umask=0o077)


def test_a_docker_image_of_a_closed_checkout_starts(
    tmp_path: Path, docker_image: builder.Image, images: Mapping[str, builder.Image]
) -> None:
    """The image's user can read it, and it answers like that of s2i, which has more packages."""
    (container,) = rendered_pods("rest-only")[0].containers
    texts = []
    for name, image in {"docker": docker_image, "s2i": images["roberta-sentiment"]}.items():
        (tmp_path / name).mkdir()
        with Pod(tmp_path / name, image, container).start() as started:
            answer = started.ask("post", container.ports.http, PREDICTIONS, MESSAGE)
            assert 200 == answer["status"]
            texts.append(answer["text"])
            assert 0 == started.stop()
    assert texts[0] == texts[1]


@pytest.mark.parametrize("package", ["transformers", "huggingface_hub", "pip"])
def test_the_docker_image_lacks_what_the_server_does_not_need(
    tmp_path: Path, docker_image: builder.Image, package: str
) -> None:
    """What is not there is neither downloaded, nor scanned, nor attacked."""
    (container,) = rendered_pods("rest-only")[0].containers
    done = Pod(tmp_path, docker_image, container).run(f"exec python -c 'import {package}'")
    assert f"No module named '{package}'" in done.stderr


def test_its_bytecode_is_made_of_modules_that_are_there(
    tmp_path: Path, docker_image: builder.Image
) -> None:
    """The build imports what the server imports; a module that moved would end it."""
    (container,) = rendered_pods("rest-only")[0].containers
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    *_, last_stage = re.split("^FROM ", dockerfile, flags=re.MULTILINE)
    (line,) = re.findall("^RUN (python -c .+)$", last_stage, flags=re.MULTILINE)
    done = Pod(tmp_path, docker_image, container).run(line)
    assert 0 == done.returncode, done.stderr


def test_a_model_without_tokenizer_json_needs_another_image(
    tmp_path: Path, docker_image: builder.Image
) -> None:
    """The start says which file is missing, how to make it, and which image can do without."""
    model = shutil.copytree(ROOT / "models" / "default", tmp_path / "model")
    Tokenizer.from_file(str(model / "tokenizer.json")).model.save(str(model))  # vocab.json, merges
    for name in ("tokenizer.json", "manifest.json"):
        (model / name).unlink()
    for path in (model, *model.rglob("*")):
        path.chmod(0o755)
    (container,) = rendered_pods("model-uri-s3")[0].containers
    (tmp_path / "pod").mkdir()
    done = Pod(tmp_path / "pod", docker_image, container, mounted=model).run(docker_image.run)
    for words in ("has no tokenizer.json", "save_pretrained(DIR)", "--build-arg REQUIREMENTS="):
        check_refusal(done, words)


def test_an_s2i_image_of_a_closed_checkout_can_be_read(tmp_path: Path) -> None:
    """assemble gives the files to the image's user, so that their modes do no harm."""
    image = builder.build(tmp_path, umask=0o077)
    assert 0o700 == image.microservice.joinpath("before-run").stat().st_mode & 0o777
    if os.geteuid() == 0:
        paths = (image.microservice, *image.microservice.rglob("*"))
        assert {pod.USER} == {path.stat().st_uid for path in paths}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param('seldon.io/rest-timeout="1s"', "seldon.io/rest-timeout is '1s'", id="rest"),
        pytest.param('seldon.io/grpc-max-message-size="1Mi"', "message-size is '1Mi'", id="grpc"),
    ],
)
def test_a_wrong_annotation_gets_a_sentence(
    tmp_path: Path, images: Mapping[str, builder.Image], line: str, words: str
) -> None:
    """The wrapper reads them when it is too late for a sentence."""
    (container,) = rendered_pods("deployment")[0].containers
    wrong = _with(container, annotations=f"{container.annotations}\n{line}")
    done = Pod(tmp_path, images["roberta-sentiment"], wrong).run(builder.RUN)
    check_refusal(done, words)


def test_a_wrong_parameter_gets_a_sentence(
    tmp_path: Path, images: Mapping[str, builder.Image]
) -> None:
    """In the image, whose user finds PYTHONPATH set."""
    parameter = '[{"name":"max_texts","value":"abc","type":"INT"}]'
    for name in ("roberta", "lexicon"):
        (container,) = (
            each for each in rendered_pods("ab-test")[0].containers if each.name == name
        )
        changed = {**container.environment, "PREDICTIVE_UNIT_PARAMETERS": parameter}
        (tmp_path / name).mkdir()
        image = images[container.spec["image"].partition(":")[0]]
        done = Pod(tmp_path / name, image, _with(container, environment=changed)).run(builder.RUN)
        check_refusal(done, "'max_texts' is 'abc', which is not of type INT")


def _with(container: Container, **changes: object) -> Container:
    return Container(**{**vars(container), **changes})


def check_refusal(done: subprocess.CompletedProcess[str], words: str) -> None:
    """The log's last line says it, and the exit code is that of a failure."""
    assert 0 < done.returncode
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("cannot start: ")
    assert words in last
