"""The name of a device."""

from __future__ import annotations

import pytest

from roberta_sentiment.run.device import CPU, Device


@pytest.mark.parametrize(
    ("name", "device"), [("cpu", CPU), ("cuda:0", Device(0)), ("cuda:3", Device(3, "H100", 80))]
)
def test_a_device_is_named_as_the_parameter_names_it(name: str, device: Device) -> None:
    """What a log says can be put into `device`; GPU 0 is not the CPU."""
    assert name == str(device)
