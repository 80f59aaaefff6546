"""Sample ratio mismatch."""

from __future__ import annotations

import numpy as np
import pytest

from ab.stats.split import check_split, log_e_value


def test_the_textbook_mismatch_is_found() -> None:
    """Kohavi, Tang and Xu (2020), "Trustworthy Online Controlled Experiments", chapter 21: 821,588
    and 815,482 users of a 50 % split, p = 1.8e-6."""
    split = check_split([821_588, 815_482], [0.5, 0.5])
    assert split.p_value is not None
    assert 1.8e-6 == pytest.approx(split.p_value, abs=5e-8)
    assert split.mismatch


def test_shares_are_relative_and_their_order_counts() -> None:
    """A declared split of 3 to 1 is 0.75 and 0.25."""
    fits, turned = check_split([7500, 2500], [3, 1]), check_split([2500, 7500], [3, 1])
    assert (0.75, 0.25) == fits.declared
    assert not fits.mismatch
    assert turned.mismatch
    assert turned.always_valid_p_value < 1e-6


def test_nothing_observed_is_no_mismatch() -> None:
    """The report of a run that has just begun."""
    assert not check_split([0, 0], [1, 1]).mismatch
    assert 1.0 == check_split([0, 0], [1, 1]).always_valid_p_value


def test_looking_every_day_raises_few_alarms() -> None:
    """2,000 fair splits looked at after every 100 answers: the e-value passes 1 / 0.05 in at most
    5 % (Ville); the chi-square test, looked at as often, would in far more."""
    rng = np.random.default_rng(2)
    a = np.cumsum(rng.binomial(100, 0.7, size=(2000, 50)), axis=1)
    n = 100 * np.arange(1, 51)
    log_e = log_e_value(np.stack([a, n - a], axis=-1), [0.7, 0.3])
    assert np.any(log_e >= np.log(20), axis=1).sum() <= 100
    assert np.any((a - 0.7 * n) ** 2 / (0.21 * n) > 3.841, axis=1).sum() > 300


def test_a_real_mismatch_is_found_while_looking() -> None:
    """A test that never alarms would pass the one before."""
    assert check_split([5400, 4600], [0.5, 0.5]).always_valid_p_value < 0.001
