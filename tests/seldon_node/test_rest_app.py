"""Which web pages may call the REST side."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from seldon_node import rest_app


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        pytest.param("none", None, id="by default none"),
        pytest.param("", None, id="empty"),
        pytest.param("*", "http://a.example", id="any"),
        pytest.param("http://b.example, http://a.example", "http://a.example", id="listed"),
        pytest.param("http://b.example", None, id="another"),
    ],
)
def test_origins(setting: str, allowed: str | None) -> None:
    """The preflight of a page of http://a.example is allowed only where the setting says so."""
    app = Flask("a", static_folder=None)
    app.add_url_rule("/health", "HealthStatus", lambda: "ready")
    settings = SimpleNamespace(max_body_bytes=1024, max_buffered_bytes=2**20, cors_origins=setting)
    node: Any = SimpleNamespace(settings=settings)
    rest_app.install(app, node)
    headers = {"Origin": "http://a.example", "Access-Control-Request-Method": "GET"}
    answer = app.test_client().options("/health", headers=headers)
    assert 200 == answer.status_code
    assert allowed == answer.headers.get("Access-Control-Allow-Origin")
