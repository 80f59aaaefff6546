"""Which device a setting means, and why a GPU is refused: always a sentence, never the CPU."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from roberta_sentiment.errors import DeviceError, StartError
from roberta_sentiment.model import driver
from roberta_sentiment.model.driver import find_device, find_gpu
from roberta_sentiment.run import gpu
from roberta_sentiment.run.device import CPU, Device

GIB = 2**30


class Fake:
    """A driver of two GPUs.

    Args:
        version: of CUDA that it takes, as it says it.
        fails: name of a function that gives CUDA_ERROR_NO_DEVICE.
    """

    def __init__(self, version: int = 13010, fails: str = "") -> None:
        self._version = version
        self._fails = fails
        self.called = False

    def cuInit(self, flags: int) -> int:  # noqa: N802
        self.called = True
        return self._code("cuInit")

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self._version
        return self._code("cuDriverGetVersion")

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return self._code("cuDeviceGetCount") if self.called else 3

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:  # noqa: N802
        name.value = f"NVIDIA T4 #{device}".encode()
        return self._code("cuDeviceGetName")

    def cuDeviceTotalMem_v2(self, size: Any, device: int) -> int:  # noqa: N802
        size._obj.value = 15 * GIB
        return self._code("cuDeviceTotalMem_v2")

    def cuGetErrorName(self, error: int, name: Any) -> int:  # noqa: N802
        name._obj.value = b"CUDA_ERROR_NO_DEVICE" if error == 100 else None
        return 0

    def _code(self, function: str) -> int:
        return 100 if function == self._fails else 0


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime as in the image for GPUs, built for CUDA 13."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [gpu.PROVIDER])
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0")
    monkeypatch.setattr(driver, "load_libraries", lambda: None)


@pytest.mark.usefixtures("provider")
def test_a_gpu_is_found_with_name_and_memory() -> None:
    """/metadata names it."""
    assert Device(1, "NVIDIA T4 #1", 15 * GIB) == find_gpu(1, Fake())
    assert "cuda:1" == str(find_gpu(1, Fake()))


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(
    ("fake", "index", "words"),
    [
        pytest.param(Fake(fails="cuInit"), 0, "cuInit with CUDA_ERROR_NO_DEVICE", id="no GPU"),
        pytest.param(Fake(12080), 0, "CUDA up to 12.8, but .* for CUDA 13.0", id="old driver"),
        pytest.param(Fake(), 2, "device is cuda:2, but this container sees 2 GPUs", id="too few"),
        pytest.param(Fake(fails="cuDeviceGetName"), 0, "fails in cuDeviceGetName", id="lost"),
    ],
)
def test_what_is_wrong_with_the_driver_is_said(fake: Fake, index: int, words: str) -> None:
    """With what to do about it."""
    with pytest.raises(DeviceError, match=f"{words}.* set device to cpu"):
        find_gpu(index, fake)


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("setting", ["cuda", "cuda:0"])
def test_a_gpu_that_was_asked_for_and_is_not_there_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """A container without --gpus has no driver; a quiet CPU would be found by its bill."""
    monkeypatch.setattr(driver, "_LIBRARY", "libcuda-of-nobody.so.1")
    with pytest.raises(StartError, match=r"no NVIDIA driver can be loaded .*nvidia\.com/gpu"):
        find_device(setting, "fp32")


@pytest.mark.parametrize("setting", ["cuda", "cuda:1"])
def test_the_image_for_cpus_says_which_image_it_takes(setting: str) -> None:
    """Its ONNX Runtime is built without CUDA."""
    assert gpu.PROVIDER not in onnxruntime.get_available_providers()
    with pytest.raises(StartError, match=r"without its CUDA provider; take .* --target gpu"):
        find_device(setting, "fp32")


def test_eight_bits_are_for_cpus() -> None:
    """ONNX Runtime would run them on the CPU, operator by operator."""
    with pytest.raises(DeviceError, match=r"the model is int8, .* serve it in fp32 or fp16"):
        find_device("cuda", "int8")


def test_auto_takes_the_cpu_where_there_is_nothing_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word on a machine without GPU, with a warning where one lies idle."""
    monkeypatch.setattr(driver, "_NODE", Path("/nowhere"))
    assert CPU == find_device("auto", "fp32") == find_device("cpu", "fp32")
    assert [] == caplog.records
    monkeypatch.setattr(driver, "_NODE", Path("/"))
    assert CPU == find_device("auto", "fp32")
    assert "a GPU is here and is not used" in caplog.text


@pytest.mark.usefixtures("provider")
def test_auto_says_why_it_does_not_take_a_gpu(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image for GPUs on a node without one, and the embedded model in it."""
    caplog.set_level("INFO")
    monkeypatch.setattr(driver, "_load_driver", lambda: Fake(fails="cuInit"))
    assert CPU == find_device("auto", "fp32")
    assert "the model runs on the CPU: the NVIDIA driver fails in cuInit" in caplog.text
    assert CPU == find_device("auto", "int8")
    assert "the model is int8, which runs on CPUs only" in caplog.text


@pytest.mark.usefixtures("provider")
def test_auto_takes_a_gpu_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counterpart; and the driver is called in a child, for a process that did can't fork."""
    fake = Fake()
    monkeypatch.setattr(driver, "_load_driver", lambda: fake)
    assert Device(0, "NVIDIA T4 #0", 15 * GIB) == find_device("auto", "fp16")
    assert not fake.called


@pytest.mark.usefixtures("provider")
def test_a_second_model_finds_the_gpu_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLServer loads several into one process, and a child of that could call no driver."""
    fake = Fake()
    fake.called = True
    monkeypatch.setattr(driver, "_load_driver", lambda: fake)
    monkeypatch.setattr(driver, "run_in_child", None)
    assert "cuda:1" == str(find_device("cuda:1", "fp16"))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime itself writes a warning, and takes the CPU."""

    def load(path: str, mode: int = 0) -> None:
        raise OSError("libcudnn.so.9: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    with pytest.raises(DeviceError, match=r"libcudnn\.so\.9: .*install requirements-gpu\.txt"):
        gpu.load_libraries()
