"""schemathesis against the wrapper's own OpenAPI description: no 500, whatever comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import seldon_core
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.service import Service

pytestmark = pytest.mark.long

SELDON = Path(seldon_core.__file__).parent / "openapi" / "seldon.json"
CASES = 250


def description() -> dict[str, Any]:
    """Seldon's file with the outer paths added, which it lacks, and JSON bodies."""
    raw: dict[str, Any] = json.loads(SELDON.read_text(encoding="utf-8"))
    predict = raw["paths"]["/predict"]
    answers = predict["post"]["responses"]
    plain = {"get": {"responses": answers}}

    def as_json(schema: str) -> dict[str, Any]:
        reference = {"$ref": f"#/components/schemas/{schema}"}
        body = {"required": True, "content": {"application/json": {"schema": reference}}}
        return {"post": {"requestBody": body, "responses": answers}}

    raw["paths"] = {
        "/predict": predict,
        "/api/v1.0/predictions": as_json("SeldonMessage"),
        "/api/v1.0/feedback": as_json("Feedback"),
        "/health/status": plain,
        "/metadata": plain,
    }
    return raw


def operations() -> list[Any]:
    """Every method of every path."""
    schema = schemathesis.openapi.from_dict(description())
    return [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.label)
def test_no_server_error(service: Service, operation: Any, mode: GenerationMode) -> None:
    """Well-formed and malformed messages, 2,000 in all, give answers below 500."""
    answered = set()

    @settings(
        max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck]
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        response = case.call(base_url=service.url(""))
        answered.add(response.status_code)
        assert response.status_code < 500, response.text

    try:
        check()
    except Unsatisfiable:
        pytest.skip("nothing about this operation can be malformed")
    assert answered
