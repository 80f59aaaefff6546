"""What NVIDIA's driver says of the GPUs of this container, and which one is used."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from pathlib import Path
from typing import Any, Protocol

import onnxruntime

from roberta_sentiment.errors import DeviceError, StartError
from roberta_sentiment.model.child import run_in_child
from roberta_sentiment.run.device import CPU, Device
from roberta_sentiment.run.gpu import PROVIDER, load_libraries

logger = logging.getLogger(__name__)

_LIBRARY = "libcuda.so.1"
_NODE = Path("/dev/nvidiactl")
"""A file that is there where a container was given a GPU."""
_SETTLE = "or set device to cpu"
_LONGEST_S = 60.0


class Driver(Protocol):
    """The functions of `libcuda` that are asked; each gives 0, or the number of an error."""

    def cuInit(self, flags: int) -> int: ...  # noqa: N802
    def cuDriverGetVersion(self, version: Any) -> int: ...  # noqa: N802
    def cuDeviceGetCount(self, count: Any) -> int: ...  # noqa: N802
    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int: ...  # noqa: N802
    def cuDeviceTotalMem_v2(self, size: Any, device: int) -> int: ...  # noqa: N802
    def cuGetErrorName(self, error: int, name: Any) -> int: ...  # noqa: N802


def find_device(setting: str, precision: str, *, needs_gpu: bool = False) -> Device:
    """The device that a setting means. The driver is asked in a child process: a process that has
    called it can't fork any more.

    Args:
        setting: cpu, cuda, cuda:N or auto.
        precision: of the model as it is stored.
        needs_gpu: whether auto may not choose the CPU either.

    Raises:
        StartError: a GPU was asked for and is not there, or can't run the model.
    """
    if setting == "cpu":
        return CPU
    if setting == "auto" and not needs_gpu:
        return _best(precision)
    if precision == "int8":
        raise DeviceError(
            f"device is {setting}, but the model is int8, for which ONNX Runtime has kernels on "
            f"CPUs only; serve it in fp32 or fp16, {_SETTLE}"
        )
    return _find(int(setting.partition(":")[2] or 0))


def _best(precision: str) -> Device:
    """The first GPU where it can be used, else the CPU, and why if that may surprise."""
    if PROVIDER not in onnxruntime.get_available_providers():
        if _NODE.exists():
            logger.warning("a GPU is here and is not used: %s", _no_provider())
        return CPU
    if precision == "int8":
        logger.info("the model is int8, which runs on CPUs only")
        return CPU
    try:
        return _find(0)
    except StartError as error:
        logger.warning("the model runs on the CPU: %s", error.message)
        return CPU


def _find(index: int) -> Device:
    """As `find_gpu`, in a child unless this process has called the driver before: another model
    may have, and then a child can't.
    """
    called = False
    with contextlib.suppress(DeviceError):
        called = _load_driver().cuDeviceGetCount(ctypes.byref(ctypes.c_int())) == 0
    return find_gpu(index) if called else run_in_child(lambda _: find_gpu(index), _LONGEST_S)


def find_gpu(index: int, driver: Driver | None = None) -> Device:
    """A GPU that ONNX Runtime can use.

    Args:
        index: its number among those that this process sees.
        driver: of NVIDIA; by default this machine's.

    Raises:
        DeviceError: it is not there, or provider, driver or libraries are not; it says which.
    """
    if PROVIDER not in onnxruntime.get_available_providers():
        raise DeviceError(_no_provider())
    driver = driver or _load_driver()
    _call(driver, "cuInit", 0)
    version, count = ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    _check_version(version.value)
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if index >= count.value:
        seen = f"{count.value} GPU{'s' if count.value != 1 else ''}"
        raise DeviceError(
            f"device is cuda:{index}, but this container sees {seen}, counted from cuda:0; ask for "
            f"more (nvidia.com/gpu), {_SETTLE}"
        )
    name, memory = ctypes.create_string_buffer(128), ctypes.c_size_t()
    _call(driver, "cuDeviceGetName", name, len(name), index)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), index)
    load_libraries()
    return Device(index, name.value.decode("utf-8", "replace"), memory.value)


def _no_provider() -> str:
    return (
        "ONNX Runtime is installed without its CUDA provider; take the image of docker build "
        f"--target gpu, or an environment of requirements-gpu.txt, {_SETTLE}"
    )


def _load_driver() -> Driver:
    try:
        driver: Any = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise DeviceError(
            f"no NVIDIA driver can be loaded ({str(error)[:100]}); give the container a GPU "
            f"(nvidia.com/gpu, or docker run --gpus), {_SETTLE}"
        ) from None
    return driver  # type: ignore[no-any-return]


def _call(driver: Driver, function: str, *arguments: Any) -> None:
    code = getattr(driver, function)(*arguments)
    if code:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        why = (name.value or b"").decode("ascii", "replace") or f"error {code}"
        raise DeviceError(
            f"the NVIDIA driver fails in {function} with {why}; see nvidia-smi on the node, "
            f"{_SETTLE}"
        )


def _check_version(version: int) -> None:
    """Compare what the driver takes, 1000 * major + 10 * minor, with what ONNX Runtime needs."""
    built_for = str(getattr(onnxruntime, "cuda_version", "") or "")
    major = int(built_for.partition(".")[0] or 0)
    if version // 1000 < major:
        raise DeviceError(
            f"the NVIDIA driver takes CUDA up to {version // 1000}.{version % 1000 // 10}, but "
            f"ONNX Runtime is built for CUDA {built_for}; update the node's driver, {_SETTLE}"
        )
