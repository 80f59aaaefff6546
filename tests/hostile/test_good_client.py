"""Without a hostile client the good one is answered: the reference of the other tests here."""

from __future__ import annotations

import copy

import pytest

from tests.hostile.good_client import GoodClient
from tests.service import Service, free_ports

pytestmark = pytest.mark.long


def test_a_good_client_is_answered(good: GoodClient) -> None:
    """Every door answers, within the promised time and memory."""
    good.wait_for_answers()
    good.check()


def test_a_service_that_does_not_answer_is_noticed(target: Service) -> None:
    """Else a dead service would pass every test here."""
    silent = copy.copy(target)
    (silent.http,) = free_ports(1)
    with GoodClient(silent, ("rest",)) as client:
        client.wait_for_answers(each=1)
    assert "ConnectionError" in client.answers[0].fault
    with pytest.raises(AssertionError):
        client.check(each=1)
