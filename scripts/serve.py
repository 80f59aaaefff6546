"""Start the microservice as the image does, and say when it is ready."""

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
    """Run until the microservice ends; return its exit code."""
    environment = {**image_environment(), **PORTS, **os.environ, "PYTHONPATH": str(ROOT)}
    command = microservice(environment)
    process = subprocess.Popen([*command, *sys.argv[1:]], env=environment, cwd=ROOT)

    def forward(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to the microservice too
    threading.Thread(target=_announce, args=(process, environment), daemon=True).start()
    return process.wait()


def _announce(process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    http, grpc, metrics = (environment[name] for name in PORTS)
    while process.poll() is None and not _is_ready(http):
        time.sleep(0.05)
    if process.poll() is None:
        print(
            f"\nready: REST on {http}, gRPC on {grpc}, metrics on {metrics}. Try\n\n"
            f"curl -s localhost:{http}/api/v1.0/predictions -H 'Content-Type: application/json' "
            '-d \'{"data":{"ndarray":["This film is so good","This film is so bad"]}}\'\n',
            flush=True,
        )


def _is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/health/status", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    sys.exit(main())
