"""Attacks on the ports, beside a good client."""

import pytest

pytest.register_assert_rewrite("tests.hostile.good_client")
