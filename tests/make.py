"""The make targets that start a server, as a newcomer types them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping

from tests import ROOT


def is_up_to_date(target: str) -> bool:
    """Whether make would do nothing for a target."""
    done = subprocess.run(["make", "--question", target], cwd=ROOT, capture_output=True)
    return done.returncode == 0


@contextlib.contextmanager
def serving(target: str, variables: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """What a target prints until it is ready, and the answer to the curl that it prints last.

    Ctrl-C ends it.

    Args:
        target: of make.
        variables: beside those of this process.
    """
    with subprocess.Popen(
        ["make", target], cwd=ROOT, env={**os.environ, **variables}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            output = ""
            for line in process.stdout:
                output += line
                if line.startswith("curl"):
                    break
            answer = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
            yield output, answer
        finally:
            os.killpg(process.pid, signal.SIGINT)
        process.stdout.close()
        process.wait(30)
