"""Where a model runs: on CPUs, or on one NVIDIA GPU."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Device:
    """A device.

    Attributes:
        gpu: number of the GPU among those that this process sees; None is the CPU.
        name: of the GPU, as its driver gives it.
        memory: of the GPU, bytes.
    """

    gpu: int | None = None
    name: str = ""
    memory: int = 0

    def __str__(self) -> str:
        return "cpu" if self.gpu is None else f"cuda:{self.gpu}"


CPU = Device()
