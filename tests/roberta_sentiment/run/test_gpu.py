"""Sessions on a GPU: planning, refusals and failures, on the CPU's kernels."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from roberta_sentiment.errors import DeviceError, InferenceError
from roberta_sentiment.run.gpu import (
    MOST_TOKENS,
    PROVIDER,
    GpuSession,
    _provider_options,
    largest_batch,
    open_gpu_session,
    refuse_cpu,
)
from tests import toy
from tests.gpu import GPU, ILLEGAL_ACCESS, open_on_cpu

GOOD = toy.vocabulary()["good"]
Node = namedtuple("Node", "op_type")


@pytest.fixture
def session(tmp_path: Path) -> GpuSession:
    onnx.save(toy.graph(), tmp_path / "m.onnx")
    return open_on_cpu(tmp_path / "m.onnx", GPU)


def test_inputs_are_bound_and_logits_come_back(session: GpuSession) -> None:
    """The same answers as without a binding."""
    logits = session.run(np.array([[GOOD, 1, 1], [GOOD, GOOD, 1]]), np.array([1, 2]))
    np.testing.assert_array_equal([[0, 1], [0, 2]], logits)


def test_an_error_of_the_device_is_told_without_its_details(session: GpuSession) -> None:
    """The name of the node is for the log."""
    session._bindable.error = ILLEGAL_ACCESS  # type: ignore[attr-defined]
    with pytest.raises(InferenceError) as caught:
        session.run(np.array([[GOOD]]), np.array([1]))
    assert "node-7" not in str(caught.value)
    assert "CUDA failure 700" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("expected", "memory", "first", "least"),
    [
        pytest.param(MOST_TOKENS, 10**9, 0, 0, id="as much as pays"),
        pytest.param(MOST_TOKENS // 4, MOST_TOKENS // 3, 0, 0, id="as much as memory takes"),
        pytest.param(1000, 1000, 1000, 1000, id="as set"),
        pytest.param(512, 600, 0, 0, id="the least"),
    ],
)
def test_the_batch_is_as_large_as_memory_takes(
    session: GpuSession, expected: int, memory: int, first: int, least: int
) -> None:
    """Found by running it, because what a run needs depends on kernel and GPU."""
    session._bindable.most_tokens = memory  # type: ignore[attr-defined]
    assert expected == largest_batch(session, first=first, least=least, longest=32, pad_id=1)


@pytest.mark.parametrize(("first", "least"), [(0, 0), (1000, 1000)], ids=["planned", "set"])
def test_too_little_memory_is_refused(session: GpuSession, first: int, least: int) -> None:
    """A server that fails at the first full batch must not start."""
    session._bindable.most_tokens = 400  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match=r"Failed to allocate memory.*lower batch_tokens"):
        largest_batch(session, first=first, least=least, longest=32, pad_id=1)


def opened(providers: list[str], **nodes: list[str]) -> Any:
    """A session as ONNX Runtime describes it: the operators on each provider."""
    parts = [
        SimpleNamespace(ep_name=name, get_nodes=lambda kinds=kinds: [Node(kind) for kind in kinds])
        for name, kinds in nodes.items()
    ]
    return SimpleNamespace(
        get_providers=lambda: providers, get_provider_graph_assignment_info=lambda: parts
    )


def test_a_session_on_the_cpu_is_refused() -> None:
    """ONNX Runtime falls back to it with a warning in its log."""
    with pytest.raises(DeviceError, match="on the CPU instead of cuda:0"):
        refuse_cpu(opened(["CPUExecutionProvider"]), GPU)


def test_products_on_the_cpu_are_refused() -> None:
    """Each would be copied there and back; shapes are meant to be computed there."""
    cpu = "CPUExecutionProvider"
    refuse_cpu(opened([PROVIDER, cpu], **{PROVIDER: ["MatMul"], cpu: ["Shape", "Concat"]}), GPU)
    left = {PROVIDER: ["MatMul"], cpu: ["MatMul", "Shape", "MatMul", "Gemm"]}
    with pytest.raises(DeviceError, match="no kernels for 2 MatMul, 1 Gemm of this graph"):
        refuse_cpu(opened([PROVIDER, cpu], **left), GPU)


@pytest.mark.parametrize(("limit", "expected"), [(0, None), (10**9, "1000000000")])
def test_memory_is_limited_as_set(limit: int, expected: str | None) -> None:
    """The weights count, too; products of float32 keep all their digits."""
    options = _provider_options(GPU, limit)
    assert (expected, "0", "0") == (
        options.get("gpu_mem_limit"), options["use_tf32"], options["device_id"]
    )  # fmt: skip


def test_this_onnx_runtime_opens_nothing_on_a_gpu(tmp_path: Path) -> None:
    """Whatever is missing, it is an error and no session on the CPU."""
    onnx.save(toy.graph(), tmp_path / "m.onnx")
    with pytest.raises(DeviceError, match="CUDA provider can't be loaded"):
        open_gpu_session(tmp_path / "m.onnx", GPU)
