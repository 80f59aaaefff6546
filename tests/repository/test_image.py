"""make image, and the Dockerfile: an image like s2i's, for those without it."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from roberta_sentiment.version import __version__
from scripts.sbom import read_requirements
from scripts.serve import image_environment
from tests import ROOT
from tests.manifests.node import HEALTH
from tests.rehearsal import builder
from tests.rehearsal.cluster import containers, production
from tests.service import Service

IMAGE = f"roberta-sentiment:{__version__}"
STAGES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").split("\nFROM ")
OIP = [stage for stage in STAGES if re.match(r"\S+ AS oip", stage)]
GPU = [stage for stage in STAGES if re.match(r"\S+ AS gpu", stage)]
SPARK = (ROOT / "deploy/batch/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
DOCKERFILE = "\nFROM ".join(stage for stage in STAGES if stage not in (*OIP, *GPU))
"""Of the image for the Seldon protocol; `OIP` and `GPU` are the stages of the others alone."""
TOOLS = ("bash", "sed", "git", "dirname", "env")


def values(instruction: str) -> list[str]:
    """What stands behind each instruction of a name in the Dockerfile."""
    return re.findall(rf"^{instruction} +(.+)$", DOCKERFILE, flags=re.MULTILINE)


def fake(folder: Path, name: str, line: str = 'echo "$0 $@"') -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{line}\n", encoding="ascii")
    path.chmod(0o755)


def make_image(folder: Path, *builders: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`make image` where nothing but the tools it needs and fake builders can be found."""
    for tool in TOOLS:
        (folder / tool).symlink_to(str(shutil.which(tool)))
    for name in builders:
        fake(folder, name, f'echo "{name} $@"')
    command = [str(shutil.which("make")), "image", *(f"{k}={v}" for k, v in variables.items())]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": str(folder)}, capture_output=True, text=True
    )


@pytest.mark.parametrize("builders", [("s2i",), ("s2i", "docker")], ids=" and ".join)
def test_s2i_comes_first(tmp_path: Path, builders: tuple[str, ...]) -> None:
    """It is what the cluster's owner knows, and its builder is of the wrapper's own release."""
    done = make_image(tmp_path, *builders)
    seldon = re.search(r"^seldon-core==(\S+)", (ROOT / "requirements.in").read_text(), re.M)
    assert seldon
    expected = f"s2i build . seldonio/seldon-core-s2i-python312:{seldon[1]} {IMAGE}\n"
    assert (0, expected) == (done.returncode, done.stdout)


def test_docker_comes_second(tmp_path: Path) -> None:
    """Without s2i the Dockerfile gives the same."""
    done = make_image(tmp_path, "docker")
    assert (0, f"docker build --tag {IMAGE} .\n") == (done.returncode, done.stdout)


def test_the_image_can_be_named(tmp_path: Path) -> None:
    """A registry's address goes before the name."""
    done = make_image(tmp_path, "docker", IMAGE="registry.example/reviews:2")
    assert "docker build --tag registry.example/reviews:2 .\n" == done.stdout


def test_neither_gets_one_sentence(tmp_path: Path) -> None:
    """It says what to install."""
    done = make_image(tmp_path)
    assert 0 != done.returncode
    assert done.stderr.startswith("neither s2i nor docker is installed; get s2i from https://")


@pytest.mark.skipif(not builder.is_git(), reason="s2i clones a git repository")
def test_docker_gets_what_s2i_gets(tmp_path: Path) -> None:
    """One list lets in, the other keeps out; both must mean the same files."""
    from_s2i = {path.name for path in builder.clone(tmp_path).iterdir()} - {".s2iignore"}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    from_docker = {line[1:].partition("/")[0] for line in lines if line.startswith("!")}
    assert "*" in lines
    requirements = {f"requirements-{name}.txt" for name in ("serving", "oip", "gpu")}
    of_docker = {"scripts", "oip_node", *requirements}
    assert from_s2i == from_docker - of_docker
    assert {"default"} == {path.name for path in (tmp_path / "models").iterdir()}


def test_the_base_is_slim_pinned_and_of_our_python() -> None:
    """One file says which Python; a tag can be moved to other content, a digest can't."""
    version = (ROOT / ".python-version").read_text(encoding="ascii").strip()
    (base,) = {base.split()[0] for base in values("FROM")} - {"base", "init"}
    assert re.fullmatch(rf"python:{version}\.\d+-slim-bookworm@sha256:[0-9a-f]{{64}}", base)


def test_what_debian_adds_is_pinned() -> None:
    """The same file builds the same image next year."""
    (install,) = [run for run in values("RUN") if "apt-get install" in run]
    packages = install.partition("apt-get install")[2].partition("&&")[0].split()
    assert all("=" in package for package in packages if not package.startswith("-"))


def test_the_user_is_the_pod_s() -> None:
    """The number of Seldon's own images, the same in every manifest."""
    (container,) = containers(production())
    assert [str(container.spec["securityContext"]["runAsUser"])] == values("USER")


def test_packages_are_hashed() -> None:
    """Nothing that anybody has changed since they were pinned, and nothing that is not listed."""
    (install,) = [line for line in values("RUN") if " install " in line and "pip" in line]
    assert {"--require-hashes", "--no-deps"} <= set(install.split())


def test_its_packages_are_those_of_s2i_less_transformers() -> None:
    """The same versions and checksums, so that both images give the same answers."""
    everything = {pin.name: pin for pin in read_requirements(ROOT / "requirements.txt")}
    (file,) = [arg.partition("=")[2] for arg in values("ARG") if arg.startswith("REQUIREMENTS=")]
    serving = {pin.name: pin for pin in read_requirements(ROOT / file)}
    assert serving.items() <= everything.items()
    left_out = everything.keys() - serving.keys()
    assert {"transformers", "huggingface-hub"} <= left_out
    assert {"seldon-core", "onnxruntime", "onnx", "tokenizers"} <= serving.keys()
    needed = {
        canonicalize_name(Requirement(line).name)
        for name in serving
        for line in requires(name) or []
        if (marker := Requirement(line).marker) is None or marker.evaluate({"extra": ""})
    }
    assert {"huggingface-hub"} == needed & left_out


ONLY = """
import sys
from importlib.metadata import packages_distributions
allowed = set(sys.argv[1:])
for module, packages in packages_distributions().items():
    if allowed.isdisjoint(package.lower().replace("_", "-") for package in packages):
        sys.modules[module] = None
assert sys.modules["transformers"] is None
"""
"""No package but the arguments can be imported."""

SERVES = """
from seldon_core import microservice
from seldon_node import grpc_server, prepare, rest_worker
from Model import Model
node = Model()
node.load()
print(node.predict(["This film is so good"], []).data)
"""

SCORES = """
import runpy
sys.argv = ["score.py", "-", "-", "--format", "text", "--output-format", "csv"]
runpy.run_path("deploy/batch/score.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [("serving", SERVES), ("spark", SCORES)],
    ids=["the server with its wrapper", "score on Spark's executors"],
)
def test_it_imports_only_what_the_image_has(name: str, code: str) -> None:
    """A package that only the tests' environment has would end it at its first import."""
    packages = [pin.name for pin in read_requirements(ROOT / f"requirements-{name}.txt")]
    done = subprocess.run(
        [sys.executable, "-c", ONLY + code, *packages, "pip"],  # which setuptools asks for
        cwd=ROOT, capture_output=True, text=True, input="This film is so good",
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert "0.9917" in done.stdout


def test_the_build_argument_of_a_message_exists() -> None:
    """The sentence for a model without tokenizer.json names it, and docs/deploy.md does."""
    name, _, file = "REQUIREMENTS=requirements.txt".partition("=")
    assert [name] == [arg.partition("=")[0] for arg in values("ARG")]
    assert (ROOT / file).is_file()
    for path in ("roberta_sentiment/text/tokenizer.py", "docs/deploy.md"):
        assert f"--build-arg {name}={file}" in (ROOT / path).read_text(encoding="utf-8")


def test_no_variable_is_repeated() -> None:
    """.s2i/environment is the one place for them; a second one would drift."""
    assert ["PATH"] == [line.partition("=")[0] for line in values("ENV")]
    assert [] == [name for name in image_environment() if re.search(rf"\b{name}\b", DOCKERFILE)]


def test_the_health_check_asks_the_model(service: Service) -> None:
    """Exit code 0 for a node that is ready, not 0 where nothing answers."""
    (line,) = values("HEALTHCHECK")
    command = json.loads(line.partition("CMD ")[2])
    assert HEALTH in command[-1]
    command[0] = sys.executable
    for port, healthy in ((service.http, True), (1, False)):
        variables = {**os.environ, "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port)}
        done = subprocess.run(command, env=variables, capture_output=True)
        assert healthy == (done.returncode == 0)


@pytest.fixture
def entrypoint(tmp_path: Path) -> Path:
    """The entry point in its folder, with a server that shows what it was given."""
    (line,) = values("ENTRYPOINT")
    script = str(json.loads(line)[-1])
    folder = tmp_path / "microservice"
    (folder / "scripts").mkdir(parents=True)
    shutil.copytree(ROOT / ".s2i", folder / ".s2i")
    shutil.copy2(ROOT / script, folder / script)
    fake(folder, "before-run", "echo prepared")
    fake(folder, "seldon-core-microservice", 'echo "$@"; env')
    return folder / script


def run(entrypoint: Path, *arguments: str, **variables: str) -> list[str]:
    folder = entrypoint.parent.parent
    environment = {"PATH": f"{folder}:/usr/bin:/bin", **variables}
    done = subprocess.run(
        [entrypoint, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_entry_point_does_what_run_does(entrypoint: Path) -> None:
    """The hook, the variables, then the server with the arguments of s2i's run."""
    hook, arguments, *variables = run(entrypoint)
    assert "prepared" == hook
    assert "Model --service-type MODEL --persistence 0" == arguments
    assert {f"{name}={value}" for name, value in image_environment().items()} <= set(variables)


def test_the_pod_s_variables_win(entrypoint: Path) -> None:
    """As with ENV in an image; HOME=/ is the runtime's word, not the pod's."""
    shown = run(entrypoint, GUNICORN_THREADS="7", HOME="/nowhere")
    assert "GUNICORN_THREADS=7" in shown
    assert f"HOME={image_environment()['HOME']}" in shown


def test_the_image_of_the_open_inference_protocol(entrypoint: Path) -> None:
    """The same user and checks; it starts MLServer on the shipped folder, or on the cluster's."""
    packages, image = OIP
    assert {"--require-hashes", "--no-deps", "requirements-oip.txt"} <= set(packages.split())
    assert "\nUSER 8888\n" in image
    line = next(line for line in image.splitlines() if line.startswith("ENTRYPOINT"))
    *_, script, door = json.loads(line.partition(" ")[2])
    assert f"scripts/{entrypoint.name}" == script
    fake(entrypoint.parent.parent, "mlserver", 'echo "$@"; env')
    shown = run(entrypoint, door)
    assert ["prepared", "start oip_node/sentiment"] == shown[:2]
    assert "PYTHONPATH=/microservice" in shown
    assert "start /mnt/models" == run(entrypoint, door, MLSERVER_MODELS_DIR="/mnt/models")[1]


def test_the_image_for_gpus_differs_in_its_packages_alone() -> None:
    """The same user, files and entry point; ONNX Runtime's build for CUDA, and its libraries."""
    packages, image = GPU
    assert {"--require-hashes", "--no-deps", "requirements-gpu.txt"} <= set(packages.split())
    last = STAGES[-1].replace("--from=packages", "--from=gpu-packages").splitlines()[1:]
    assert [line for line in last if not line.startswith(("#", "HEALTHCHECK"))] == [
        line for line in image.splitlines()[1:] if line
    ]
    serving, gpu = (
        {pin.name: pin for pin in read_requirements(ROOT / f"requirements-{name}.txt")}
        for name in ("serving", "gpu")
    )
    del serving["onnxruntime"]
    assert serving.items() <= gpu.items()
    added = gpu.keys() - serving.keys()
    assert {"onnxruntime-gpu", "nvidia-cudnn-cu13", "nvidia-cublas"} <= added
    assert all(name == "onnxruntime-gpu" or name.startswith("nvidia-") for name in added)


def test_the_image_for_spark_is_made_with_the_same_care() -> None:
    """The same base and user; packages hashed, in the versions of the server and of the tests."""
    (base,) = re.findall(r"^FROM (\S+) AS base$", SPARK, re.M)
    assert base in values("FROM")[0]
    assert ["8888"] == re.findall(r"^USER (.+)$", SPARK, re.M)
    (install,) = re.findall(r"^RUN (.+ install .+--require-hashes.+)$", SPARK, re.M)
    assert "--no-deps" in install.split()
    debian = re.findall(r"apt-get install(.+?)&&", SPARK)[0].split()
    assert all("=" in package for package in debian if not package.startswith("-"))
    pins = {pin.name: pin for pin in read_requirements(ROOT / "requirements-spark.txt")}
    for file in ("requirements.txt", "requirements-dev.txt"):
        known = {pin.name: pin for pin in read_requirements(ROOT / file)}
        assert {name: known[name] for name in pins.keys() & known} == {
            name: pins[name] for name in pins.keys() & known
        }
    assert {"pyspark", "pandas", "pyarrow", "onnxruntime", "tokenizers"} <= pins.keys()
    assert {"seldon-core", "transformers", "huggingface-hub"}.isdisjoint(pins)


def test_the_image_for_spark_gets_what_it_copies() -> None:
    """What its list of files lets in is there, and nothing else is."""
    lines = (ROOT / "deploy/batch/Dockerfile.dockerignore").read_text("utf-8").splitlines()
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert [
        "deploy/batch/*.py",
        "models/default",
        "requirements-spark.txt",
        "roberta_sentiment",
    ] == (let_in)
    assert all(list(ROOT.glob(pattern)) for pattern in let_in)
    assert {"score.py", "spark_run.py"} == {path.name for path in ROOT.glob("deploy/batch/*.py")}


EXECUTOR = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@driver.spark.svc:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "4",
    "SPARK_EXECUTOR_MEMORY": "2048m",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_CONF_DIR": "/opt/spark/conf",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
    "SPARK_EXECUTOR_POD_NAME": "sentiment-exec-3",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    **{f"SPARK_JAVA_OPT_{i}": f"-Doption={i}" for i in range(11)},
}
"""What Kubernetes gives the executor of Spark 4."""


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (
            ["driver", "--class", "org.apache.spark.deploy.PythonRunner", "local:///score.py"],
            {"SPARK_DRIVER_BIND_ADDRESS": "10.0.0.6"},
            "/spark/bin/spark-submit --deploy-mode client --conf spark.driver.bindAddress=10.0.0.6 "
            "--class org.apache.spark.deploy.PythonRunner local:///score.py",
        ),
        (
            ["executor"],
            EXECUTOR,
            f"java {' '.join(f'-Doption={i}' for i in range(11))} -Xms2048m -Xmx2048m "
            "-cp /opt/spark/conf:/spark/jars/* "
            "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend "
            "--driver-url spark://CoarseGrainedScheduler@driver.spark.svc:7078 --executor-id 3 "
            "--cores 4 --app-id spark-1 --hostname 10.0.0.7 --resourceProfileId 0 "
            "--podName sentiment-exec-3",
        ),
        (["bash", "-c", "ls"], {}, "bash -c ls"),
    ],
    ids=["driver", "executor", "other"],
)
def test_the_entry_point_for_spark(
    arguments: list[str], variables: dict[str, str], expected: str
) -> None:
    """Spark's arguments and variables become its own commands, options in their order."""
    command = runpy.run_path(str(ROOT / "deploy/batch/spark_run.py"))["command"]
    assert expected == " ".join(command(arguments, variables, Path("/spark")))
