"""What a container may use: its own limits, not those of the node."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from roberta_sentiment import container
from roberta_sentiment.container import (
    available_cpus,
    available_memory,
    features,
    memory_kills,
    memory_limit,
    process_limit,
    processor,
)


def cgroup(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        pytest.param({}, 64, id="none"),
        pytest.param({"cpu.max": "200000 100000\n"}, 2, id="v2"),
        pytest.param({"cpu.max": "150000 100000\n"}, 2, id="v2 rounded up"),
        pytest.param({"cpu.max": "10000 100000\n"}, 1, id="v2 a tenth"),
        pytest.param({"cpu.max": "max 100000\n"}, 64, id="v2 unlimited"),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3, id="v1"
        ),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64,
            id="v1 unlimited",
        ),
    ],
)  # fmt: skip
def test_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int
) -> None:
    """64 threads in a container of 2 CPUs are throttled to a crawl."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert cpus == available_cpus(cgroup(tmp_path, files))


def test_affinity_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pinned process can't use more CPUs than it is pinned to."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert available_cpus(cgroup(tmp_path, {"cpu.max": "400000 100000"})) == 1


@pytest.mark.parametrize(
    ("flags", "real", "found"),
    [
        pytest.param(
            "fpu avx avx2 avx512f avx512_vnni avx_vnni amx_int8",
            {"AVX": True, "AVX2": True, "AVX512F": True, "AVX512VNNI": True},
            ["amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "avx_vnni"],
            id="as listed",
        ),
        pytest.param(
            "fpu avx avx2 avx512f avx512_vnni avx_vnni amx_int8",
            {"AVX": True, "AVX2": True, "AVX512F": False, "AVX512VNNI": False},
            ["avx", "avx2"],
            id="emulated",
        ),
        pytest.param("", {"AVX": True, "AVX2": True}, ["avx", "avx2"], id="no list"),
        pytest.param("asimddp i8mm", {"ASIMDDP": True}, ["asimddp", "i8mm"], id="ARM"),
    ],
)
def test_features_are_those_of_the_cpu_that_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    real: dict[str, bool],
    found: list[str],
) -> None:
    """An optimised file made for the machine's CPU must not be read by an emulated one."""
    monkeypatch.setattr(container, "__cpu_features__", real)
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert found == list(features(tmp_path / "cpuinfo")[1:])


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param("processor\t: 0\nmodel name\t: AMD EPYC 9B45\n", "AMD EPYC 9B45", id="named"),
        pytest.param("processor\t: 0\n", platform.machine(), id="unnamed"),
        pytest.param(None, platform.machine(), id="no file"),
    ],
)
def test_the_processor_is_named(tmp_path: Path, content: str | None, name: str) -> None:
    """ARM kernels give no name; the architecture is better than nothing."""
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert name == processor(tmp_path / "cpuinfo")


LIMITS = [
    pytest.param({}, None, id="none"),
    pytest.param({"{}.max": "100\n"}, 100, id="v2"),
    pytest.param({"{}.max": "max\n"}, None, id="v2 unlimited"),
    pytest.param({"{}.max": "\u00e9"}, None, id="v2 unreadable"),
]


@pytest.mark.parametrize(
    ("files", "limit"),
    [*LIMITS, pytest.param({"memory/memory.limit_in_bytes": "200\n"}, 200, id="v1")],
)
def test_the_limit_of_memory(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    """Over it the kernel kills the container."""
    named = {name.format("memory"): content for name, content in files.items()}
    assert limit == memory_limit(cgroup(tmp_path, named))


@pytest.mark.parametrize(
    ("files", "limit"), [*LIMITS, pytest.param({"pids/pids.max": "200\n"}, 200, id="v1")]
)
def test_the_limit_of_processes(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    """Threads count, too."""
    named = {name.format("pids"): content for name, content in files.items()}
    assert limit == process_limit(cgroup(tmp_path, named))


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        pytest.param({}, 0, id="none"),
        pytest.param({"memory.events": "oom 5\noom_kill 3\n"}, 3, id="v2"),
        pytest.param({"memory/memory.oom_control": "under_oom 0\noom_kill 2\n"}, 2, id="v1"),
        pytest.param({"memory.events": "oom_kill x\n"}, 0, id="no number"),
        pytest.param(
            {"memory.events": "oom 5\n", "memory/memory.oom_control": "oom_kill 1\n"}, 1, id="both"
        ),
    ],
)
def test_processes_killed_for_memory(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    """An old kernel does not say it."""
    assert kills == memory_kills(cgroup(tmp_path, files))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 4_096_000, id="node"),
        pytest.param({"memory.max": "max\n"}, 4_096_000, id="no-limit"),
        pytest.param(
            {"memory.max": "3000\n", "memory.current": "1000\n"}, 2_000, id="v2"
        ),
        pytest.param(
            {
                "memory.max": "3000\n", "memory.current": "1000\n",
                "memory.stat": "anon 300\ninactive_file 400\n",
            }, 2_400, id="v2-file-pages",
        ),
        pytest.param(
            {
                "memory/memory.limit_in_bytes": "3000\n",
                "memory/memory.usage_in_bytes": "1000\n",
                "memory/memory.stat": "inactive_file 100\n",
            }, 2_100, id="v1",
        ),
        pytest.param({"memory.max": "3000\n", "memory.current": "9000\n"}, 0, id="over"),
        pytest.param({"memory.max": "9000000\n"}, 4_096_000, id="node-full"),
    ],
)  # fmt: skip
def test_memory_that_is_free(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """Less than the limit by what all processes of the container hold already."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    assert expected == available_memory(cgroup(tmp_path, files), meminfo)
