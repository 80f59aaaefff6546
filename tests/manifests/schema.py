"""The schema of the SeldonDeployment resource, made strict."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests import ROOT

PATH = ROOT.parent / "shared" / "crd" / "seldondeployment-v1.schema.json"

_OPEN = "x-kubernetes-preserve-unknown-fields"


def violations(document: Any) -> list[str]:
    """What the schema refuses, each with its place; unknown fields are refused too.

    kubectl refuses them too, unless its validation is off: then a typo is dropped without a word.
    """
    errors = sorted(_validator().iter_errors(document), key=lambda error: list(error.path))
    return [f"{'.'.join(map(str, error.path)) or 'document'}: {error.message}" for error in errors]


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(PATH.read_text(encoding="utf-8"))
    return Draft202012Validator(strict(schema))


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy that allows only the fields it names; `metadata` of the resource stays open.

    Args:
        schema: OpenAPI v3 as Kubernetes writes it into a CustomResourceDefinition.
    """
    closed = copy.deepcopy(schema)
    _close(closed)
    return closed


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _close(part)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and "properties" in schema and not schema.get(_OPEN):
        schema.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    for key, part in schema.items():
        if key == "properties":
            for property_schema in part.values():
                _close(property_schema)
        elif key not in ("required", "enum", "default"):
            _close(part)
