"""A container of a manifest, run on this machine in namespaces of its own.

Mount and process namespaces, and a network and IPC namespace that the containers of a pod share;
the root file system is read-only but for /tmp, the user is 8888 without any capability, the network
is the loopback alone. Process 1 is an init process, and the server has the same pid in each.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from tests import ROOT
from tests.rehearsal import builder
from tests.rehearsal.cluster import Container

SCRIPT = Path(__file__).with_name("container.sh")
USER = 8888
PATH = f"{builder.ENVIRONMENT}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_LIMIT_S = 240
_TOOLS = ("unshare", "nsenter", "setpriv", "ip", "bash")
_OF_A_CONTAINER = ("--mount", "--pid", "--fork", "--kill-child")
_OF_A_POD = ("--ipc", "--net")
_LONGEST_S = 1800
"""Seconds after which a pod's namespaces go even if the tests were killed."""

INIT = """
trap 'kill -TERM $server' TERM
bash -ec "$1" & server=$!
wait $server; code=$?
while kill -0 $server 2>/dev/null; do wait $server; code=$?; done
exit $code
"""
"""What tini does in the image: pass on SIGTERM and the exit code."""


@cache
def obstacle() -> str:
    """Why no pod can be rehearsed here; empty if one can."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    spaces = _unshare(*_OF_A_POD, *_OF_A_CONTAINER)
    tried = subprocess.run([*spaces, "ip", "link", "set", "lo", "up"], capture_output=True)
    return "namespaces are not allowed here: " + tried.stderr.decode() if tried.returncode else ""


def overlay_obstacle(folder: Path) -> str:
    """Why no overlay for writes can be mounted in a folder; empty if one can."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir()
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    mount = ["mount", "-t", "overlay", "trial", "-o", options, str(folder / "merged")]
    tried = subprocess.run([*_unshare(*_OF_A_CONTAINER), *mount], capture_output=True, text=True)
    return f"overlays are not allowed here: {tried.stderr}" if tried.returncode else ""


def _unshare(*spaces: str) -> list[str]:
    return ["unshare", *spaces, *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


class Network:
    """The network and IPC namespaces of a pod, and who lives there beside its containers."""

    def __init__(self) -> None:
        self._others: list[subprocess.Popen[str]] = []
        self._holder = self._popen(
            [*_unshare(*_OF_A_POD), "bash", "-c",
             f"ip link set lo up && echo up && exec sleep {_LONGEST_S}"],
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert "up\n" == self._holder.stdout.readline()
        self._client: subprocess.Popen[str] | None = None

    def enter(self) -> list[str]:
        """The command before a command that shall run in these namespaces."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._holder.pid), "--net", "--ipc", *user]

    def run(self, module: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a Python module of this project as a process of this machine in these namespaces.

        It ends with them.
        """
        command = [*self.enter(), sys.executable, "-m", module, *arguments]
        return self._popen(command, env={**os.environ, **variables})

    def ask(self, call: str, *arguments: Any) -> Any:
        """Let a client in the pod's network do one of `tests.rehearsal.client.CALLS`."""
        if self._client is None:
            self._client = self.run("tests.rehearsal.client")
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps([call, arguments]) + "\n")
        self._client.stdin.flush()
        return json.loads(self._client.stdout.readline())

    def _popen(
        self, command: list[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._others.append(process)
        return process

    def close(self) -> None:
        """End all of them."""
        for process in reversed(self._others):
            process.kill()
            process.communicate()
        self._others.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Pod:
    """One container, by default alone in its pod.

    Args:
        folder: an empty folder to work in.
        image: what the builder made.
        container: of the manifest.
        network: of its pod.
        mounted: the model that the storage initializer copied to /mnt/models.
        writable: everything can be written, and `written` lists what was written.
        user: it runs as.
    """

    def __init__(
        self,
        folder: Path,
        image: builder.Image,
        container: Container,
        *,
        network: Network | None = None,
        mounted: Path | None = None,
        writable: bool = False,
        user: int = USER,
    ) -> None:
        self.container = container
        self.root = folder / "root"
        self._overlays = folder / "overlays" if writable else None
        self._user = user
        self._log = folder / "log"
        self._run = image.run
        self._environment = {
            "PATH": PATH, "HOME": "/",
            **image.environment, **container.kubelet, **container.environment,
        }  # fmt: skip
        self._shared = network
        self._binds = folder / "binds"
        _lay_out(self.root, container.annotations)
        binds = image.binds() | ({"/mnt/models": mounted} if mounted else {})
        self._bind(binds)
        self._untouched = _contents(self.root)
        self.network: Network
        self.process: subprocess.Popen[bytes]

    def _bind(self, binds: Mapping[str, Path]) -> None:
        lines = []
        for target, source in binds.items():
            (self.root / target[1:]).mkdir(parents=True, exist_ok=True)
            lines.append(f"{source} {target}\n")
        self._binds.write_text("".join(lines), encoding="utf-8")

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a bash script in the container to its end."""
        with Network() as network:
            return subprocess.run(
                self._command(script, network), env=self._environment,
                capture_output=True, text=True,
            )  # fmt: skip

    def launch(self) -> Self:
        """Do what the image runs, and do not wait for it."""
        self.network = self._shared or Network()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command(self._run, self.network), env=self._environment,
                stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def start(self) -> Self:
        """Do what the image runs, and wait until the startup probe passes."""
        return self.launch().wait_until_ready()

    def wait_until_ready(self) -> Self:
        """Wait until the startup probe passes."""
        deadline = time.monotonic() + START_LIMIT_S
        while self.probe("startupProbe") != 200:
            assert self.process.poll() is None, f"it ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"not ready in {START_LIMIT_S} s:\n{self.log()}"
            time.sleep(0.05)
        return self

    def _command(self, script: str, network: Network) -> list[str]:
        overlays = str(self._overlays or "-")
        inside = ["bash", str(SCRIPT), str(self.root), str(self._binds), overlays, str(self._user)]
        spaces = ["unshare", *_OF_A_CONTAINER]
        return [*network.enter(), *spaces, *inside, "bash", "-c", INIT, "bash", script]

    def ask(self, call: str, *arguments: Any) -> Any:
        """Let a client in the pod's network do one of `tests.rehearsal.client.CALLS`."""
        return self.network.ask(call, *arguments)

    def probe(self, name: str) -> int:
        """HTTP status of a probe of the manifest."""
        asked = self.container.spec[name]["httpGet"]
        port = getattr(self.container.ports, asked["port"])
        return int(self.ask("get", port, asked["path"])["status"])

    def main_process(self) -> int:
        """Pid, outside, of the process that is number 1 inside."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])

    def server(self) -> tuple[int, int]:
        """Pids of the server's main process, outside and inside."""
        init = self.main_process()
        listed = Path(f"/proc/{init}/task/{init}/children").read_text(encoding="ascii").split()
        status = Path(f"/proc/{listed[0]}/status").read_text(encoding="ascii")
        (pids,) = re.findall(r"^NSpid:\s+(.+)$", status, flags=re.MULTILINE)
        return int(listed[0]), int(pids.split()[-1])

    def processes(self) -> list[int]:
        """Pids, outside, of every process inside."""
        space = os.readlink(f"/proc/{self.main_process()}/ns/pid")  # noqa: PTH115
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if  # noqa: PTH208
                _pid_space(pid) == space]  # fmt: skip

    def stop(self) -> int:
        """SIGTERM as the kubelet sends it; return the exit code."""
        os.kill(self.main_process(), signal.SIGTERM)
        return self.process.wait(self.container.pod["terminationGracePeriodSeconds"])

    def written(self) -> list[str]:
        """Files and folders that were made or changed outside /tmp."""
        found = sorted(_contents(self.root) - self._untouched)
        for upper in sorted(self._overlays.glob("*/upper")) if self._overlays else []:
            found += sorted(f"{upper.parent.name}/{path}" for path in _contents(upper))
        return found

    def log(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            # Of the process, not of unshare: a change of user makes the kernel forget --kill-child.
            os.kill(self.main_process(), signal.SIGKILL)
            self.process.wait()
        if self._shared is None:
            self.network.close()


def _lay_out(root: Path, annotations: str) -> None:
    """The folders of a root file system, and the few files that Kubernetes puts there."""
    for name in ("proc", "sys", "dev", "etc/podinfo", "tmp", "usr"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(Path("/", name).readlink())
    for name in ("null", "zero", "full", "random", "urandom"):
        (root / "dev" / name).touch()
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n", encoding="ascii")
    podinfo = root / "etc" / "podinfo"
    (podinfo / "..2026").mkdir()
    (podinfo / "..2026" / "annotations").write_text(annotations, encoding="utf-8")
    (podinfo / "..data").symlink_to("..2026")
    (podinfo / "annotations").symlink_to("..data/annotations")
    if os.geteuid() == 0:
        os.chown(root / "tmp", 0, USER)
    (root / "tmp").chmod(0o2777)


def _contents(folder: Path) -> set[str]:
    """Paths below a folder, without what is in its /tmp."""
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in paths if path.parts[0] != "tmp"}


def _pid_space(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115
    except OSError:
        return ""
