"""Start a server as the images do, and say when it is ready: `python -m scripts.serve [oip]`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
PORTS = {
    "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": "9000",
    "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": "5000",
    "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": "6000",
}
OIP_PORTS = {
    "MLSERVER_HTTP_PORT": "8080",
    "MLSERVER_GRPC_PORT": "8081",
    "MLSERVER_METRICS_PORT": "8082",
}
OIP_MODEL = "oip_node/sentiment"


def image_environment(source: Path = ROOT) -> dict[str, str]:
    """The variables that s2i puts into the image of a source tree."""
    lines = (source / ".s2i" / "environment").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def microservice(environment: Mapping[str, str], python: str | Path = sys.executable) -> list[str]:
    """The command that the image runs.

    Args:
        environment: of the image, with MODEL_NAME and SERVICE_TYPE.
        python: of the environment that holds the wrapper.
    """
    program = str(Path(python).with_name("seldon-core-microservice"))
    return [program, environment["MODEL_NAME"], "--service-type", environment["SERVICE_TYPE"]]


def main() -> int:
    """Run until the server ends; return its exit code."""
    arguments = sys.argv[1:]
    if arguments == ["oip"]:
        return _run_oip()
    environment = {**image_environment(), **PORTS, **os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        str(Path(sys.executable).with_name("seldon-core-microservice")),
        environment["MODEL_NAME"],
        "--service-type",
        environment["SERVICE_TYPE"],
        *arguments,
    ]
    http, grpc, metrics = (environment[name] for name in PORTS)
    hint = (
        f"ready: REST on {http}, gRPC on {grpc}, metrics on {metrics}. Try\n\n"
        f"curl -s localhost:{http}/api/v1.0/predictions -H 'Content-Type: application/json' "
        '-d \'{"data":{"ndarray":["This film is so good","This film is so bad"]}}\''
    )
    return _run(command, environment, f"http://localhost:{http}/health/status", hint)


def _run_oip() -> int:
    """The same for the Open Inference Protocol, by MLServer."""
    environment = {**image_environment(), **OIP_PORTS, **os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).with_name("mlserver")), "start", OIP_MODEL]
    http, grpc, metrics = (environment[name] for name in OIP_PORTS)
    shown = f"{Path(command[0]).relative_to(ROOT, walk_up=True)} start {OIP_MODEL}"
    print(f"starting: {shown}", flush=True)
    hint = (
        f"ready: REST on {http}, gRPC on {grpc}, metrics on {metrics}. Try\n\n"
        f"curl -s localhost:{http}/v2/models/sentiment/infer -H 'Content-Type: application/json' "
        '-d \'{"inputs":[{"name":"text","shape":[2],"datatype":"BYTES",'
        '"data":["This film is so good","This film is so bad"]}]}\''
    )
    return _run(command, environment, f"http://localhost:{http}/v2/models/sentiment/ready", hint)


def _run(command: list[str], environment: dict[str, str], health: str, hint: str) -> int:
    process = subprocess.Popen(command, env=environment, cwd=ROOT)

    def forward(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to the server too
    threading.Thread(target=_announce, args=(process, health, hint), daemon=True).start()
    return process.wait()


def _announce(process: subprocess.Popen[bytes], health: str, hint: str) -> None:
    while process.poll() is None and not _is_ready(health):
        time.sleep(0.05)
    if process.poll() is None:
        print(f"\n{hint}\n", flush=True)


def _is_ready(health: str) -> bool:
    try:
        with urllib.request.urlopen(health, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
