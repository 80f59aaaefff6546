"""A session on an NVIDIA GPU, by ONNX Runtime's CUDA provider."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import onnxruntime

from roberta_sentiment.errors import DeviceError, InferenceError, first_line
from roberta_sentiment.run import batching
from roberta_sentiment.run.device import Device
from roberta_sentiment.run.session import InferenceSession, Session

logger = logging.getLogger(__name__)

PROVIDER = "CUDAExecutionProvider"
MOST_TOKENS, LEAST_TOKENS = 16_384, 512
"""Tokens of a batch where nothing else is set: beyond the first a GPU gains nothing; where memory
does not even suffice for the second, it belongs to others."""
_WARM_UP_LENGTHS = (8, 32, 128)
_ARITHMETIC = {"Attention", "FusedMatMul", "Gemm", "MatMul", "MultiHeadAttention"}
"""Operators of which none may be left on the CPU, as those on shapes are."""


class BindingSession(InferenceSession, Protocol):
    """A session that also takes its inputs from a device's memory."""

    def io_binding(self) -> Any: ...
    def run_with_iobinding(self, binding: Any) -> None: ...


class GpuSession(Session):
    """A session that runs once at a time, and copies the next inputs to its device meanwhile.

    Args:
        session: an ONNX Runtime session on the device.
        device: where.
        first_position: as for `Session`.
        is_half: whether it computes in float16.
        memory: kind of memory that the inputs are copied to.
    """

    run_cost = 16

    def __init__(
        self,
        session: BindingSession,
        device: Device,
        first_position: int = 0,
        *,
        is_half: bool = False,
        memory: str = "cuda",
    ) -> None:
        super().__init__(session, first_position)
        self.is_half = is_half
        self._bindable = session
        self._place = (memory, device.gpu or 0)
        self._turn = threading.Lock()

    def _compute(self, feed: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        binding = self._bindable.io_binding()
        for name, value in feed.items():
            on_device = onnxruntime.OrtValue.ortvalue_from_numpy(value, *self._place)
            binding.bind_ortvalue_input(name, on_device)
        binding.bind_output(self.signature.output)
        with self._turn:
            self._bindable.run_with_iobinding(binding)
        logits: npt.NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return logits


def open_gpu_session(
    model: Path | bytes,
    device: Device,
    *,
    memory_limit: int = 0,
    first_position: int = 0,
    is_half: bool = False,
) -> GpuSession:
    """Load a graph onto a GPU.

    Args:
        model: the `.onnx` file, or its content.
        device: the GPU.
        memory_limit: bytes of its memory for weights and runs; 0 is no limit.
        first_position: of a text's first token, for a graph that asks for positions.
        is_half: whether the graph is in float16.

    Raises:
        DeviceError: ONNX Runtime can't load it there, or leaves a part of it on the CPU.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    source = model if isinstance(model, bytes) else str(model)
    load_libraries()
    try:
        session = onnxruntime.InferenceSession(
            source, options, providers=[(PROVIDER, _provider_options(device, memory_limit))]
        )
        found = GpuSession(session, device, first_position, is_half=is_half)
    except Exception as error:  # ONNX Runtime has no common base class for its errors
        raise DeviceError(
            f"the model can't be loaded on {device}: {first_line(error)[:200]}"
        ) from error
    refuse_cpu(session, device)
    return found


def load_libraries() -> None:
    """Load CUDA's libraries, then ONNX Runtime's provider, to learn why one fails.

    ONNX Runtime itself would only write a warning and go on with the CPU.

    Raises:
        DeviceError: a library is missing.
    """
    onnxruntime.preload_dlls()
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for name in ("shared", "cuda"):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise DeviceError(
            f"ONNX Runtime's CUDA provider can't be loaded ({str(error)[:120]}); install "
            f"requirements-gpu.txt as a whole, or set device to cpu"
        ) from None


def _provider_options(device: Device, memory_limit: int) -> dict[str, str]:
    options = {
        "device_id": str(device.gpu),
        # It grows by what a run needs, not by powers of two, which other processes would miss.
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",  # products of float32 with the ten bits of float16
    }
    return {**options, "gpu_mem_limit": str(memory_limit)} if memory_limit else options


def refuse_cpu(session: Any, device: Device) -> None:
    """Refuse a session of which ONNX Runtime runs the model's products on the CPU after all.

    Raises:
        DeviceError: it does.
    """
    if PROVIDER not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime opened the model on the CPU instead of {device}; its lines above say "
            "why. Set device to cpu to compute there"
        )
    left = Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != PROVIDER
        for node in part.get_nodes()
        if node.op_type in _ARITHMETIC
    )
    if left:
        kinds = ", ".join(f"{count} {kind}" for kind, count in left.most_common(3))
        raise DeviceError(
            f"{device} has no kernels for {kinds} of this graph, which would run on the CPU; "
            "export the model in float32, or set device to cpu"
        )


def largest_batch(session: Session, *, first: int, least: int, longest: int, pad_id: int) -> int:
    """Tokens of the largest batch that the device's memory takes; warms it up on the way.

    Kernels are loaded and memory is taken at their first use, which no request should wait for.

    Args:
        session: on the device.
        first: tokens to try, then half as many, and so on; 0 begins with `MOST_TOKENS`.
        least: tokens that must run; 0 is `LEAST_TOKENS`.
        longest: tokens of the longest text.
        pad_id: id of the padding token.

    Raises:
        DeviceError: not even the least runs.
    """
    wanted = first or max(MOST_TOKENS, longest)
    least = least or max(LEAST_TOKENS, longest)
    while True:
        try:
            for length in sorted({*(min(n, longest) for n in _WARM_UP_LENGTHS), longest}):
                for rows in (1, max(1, wanted // length)):
                    token = 0 if pad_id else 1
                    session.run(*batching.pad([[token] * length] * rows, pad_id))
        except InferenceError as error:
            reason = first_line(error.__cause__ or error)
            if wanted // 2 < least:
                raise DeviceError(
                    f"a batch of {wanted} tokens does not run on the GPU ({reason[:150]}); lower "
                    "batch_tokens or max_tokens, or raise device_memory"
                ) from error
            logger.info("a batch of %d tokens does not run on the GPU: %s", wanted, reason)
            wanted //= 2
        else:
            return wanted
