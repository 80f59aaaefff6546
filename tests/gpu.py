"""A GPU that there is none of: ONNX Runtime's CPU kernels behind the way to a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from roberta_sentiment import classifier
from roberta_sentiment.errors import DeviceError
from roberta_sentiment.model import on_gpu
from roberta_sentiment.run.device import Device
from roberta_sentiment.run.gpu import GpuSession

GPU = Device(0, "NVIDIA Imaginary", 16 * 2**30)

ILLEGAL_ACCESS = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; "
    "GPU=0 ; hostname=node-7 ; file=/onnxruntime_src/cuda_execution_provider.cc ; line=448 ; "
    "expr=cudaStreamSynchronize(static_cast<cudaStream_t>(stream_));"
)
"""After it no call to the GPU succeeds until the process ends."""
OUT_OF_MEMORY = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
    "MatMul node. bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 8388608"
)


class Breakable:
    """A session that passes calls on until it is broken.

    Attributes:
        error: what every run fails with from now on; empty while all is well.
        most_tokens: of a batch, padding included, for which there is memory.
    """

    def __init__(self, inner: onnxruntime.InferenceSession) -> None:
        self._inner = inner
        self.error = ""
        self.most_tokens = 10**9

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run_with_iobinding(self, binding: Any) -> None:
        if self.error:
            raise RuntimeError(self.error)
        tokens = max(value.numpy().size for value in binding.inputs)
        if tokens > self.most_tokens:
            raise RuntimeError(OUT_OF_MEMORY)
        self._inner.run_with_iobinding(binding.inner)

    def io_binding(self) -> Binding:
        return Binding(self._inner.io_binding())


class Binding:
    """ONNX Runtime's binding, which keeps what was bound."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.inputs: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.inputs.append(value)
        self.inner.bind_ortvalue_input(name, value)


def open_on_cpu(
    model: Path | bytes,
    device: Device,
    *,
    memory_limit: int = 0,
    first_position: int = 0,
    is_half: bool = False,
) -> GpuSession:
    """As `run.gpu.open_gpu_session`, but every kernel runs on the CPU."""
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DeviceError(str(error)) from error
    return GpuSession(Breakable(session), device, first_position, is_half=is_half, memory="cpu")


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a GPU be found, whose kernels are the CPU's; tiny models are less exact in half."""
    monkeypatch.setattr(classifier, "find_device", lambda *_, **__: GPU)
    monkeypatch.setattr(on_gpu, "open_gpu_session", open_on_cpu)
    monkeypatch.setattr(on_gpu, "HALF_TOLERANCE", 2e-2)
