"""The server as the manifests of deploy/oip start it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("mlserver", reason="make test-oip runs these in an environment with MLServer")

import yaml

from roberta_sentiment.model.artifact import DEFAULT_MODEL
from tests import ROOT
from tests.oip_node.server import GOOD, REPOSITORY, Server


def variables(container: dict[str, Any]) -> dict[str, str]:
    """What a manifest puts into the environment, but for the ports, which the test chooses."""
    pairs = {pair["name"]: pair["value"] for pair in container["env"]}
    return {name: value for name, value in pairs.items() if not name.endswith("_PORT")}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy" / "oip" / name).read_text(encoding="utf-8")))


def test_kserve(tmp_path: Path) -> None:
    """The storage initializer brings nothing but the model; the rest is in the environment."""
    runtime, service = documents("kserve.yaml")
    models = shutil.copytree(DEFAULT_MODEL, tmp_path / "models")
    name = service["metadata"]["name"]
    given = {
        key: value.replace("/mnt/models", str(models)).replace("{{.Name}}", name)
        for key, value in variables(runtime["spec"]["containers"][0]).items()
    }
    with Server(models, None, **given).start() as server:
        body = server.infer({"inputs": [GOOD]}).json()
        assert ("sentiment", ["positive"]) == (body["model_name"], body["outputs"][1]["data"])
        metadata = requests.get(server.url("/v2/models/sentiment"), timeout=10).json()
        assert str(models) not in json.dumps(metadata)
        assert 404 == server.status("/nowhere")


def test_seldon_core_2(tmp_path: Path) -> None:
    """The agent puts a folder there, loads it, replaces it and unloads it while others serve."""
    server_document = documents("seldon-core-2.yaml")[0]
    given = variables(server_document["spec"]["podSpec"]["containers"][0])
    folders = {name: tmp_path / "models" / name for name in ("sentiment", "next", "broken")}
    for name, folder in folders.items():
        shutil.copytree(DEFAULT_MODEL, folder)
        settings = json.loads((REPOSITORY / "model-settings.json").read_text(encoding="utf-8"))
        (folder / "model-settings.json").write_text(json.dumps({**settings, "name": name}))
    (folders["broken"] / "config.json").write_text("{")
    given["MLSERVER_LOAD_MODELS_AT_STARTUP"] = "false"
    with Server(tmp_path / "models", None, **given).launch() as server:
        server.wait_for(lambda: server.status("/v2/health/ready") == 200, "readiness")

        def ask(path: str) -> requests.Response:
            return requests.post(server.url(f"/v2/repository/{path}"), timeout=120)

        assert 200 == ask("models/sentiment/load").status_code
        broken = ask("models/broken/load")
        assert broken.status_code >= 400
        assert "config.json" in broken.json()["error"]
        assert 200 == ask("models/next/load").status_code == ask("models/next/load").status_code
        for name in ("sentiment", "next"):
            body = server.infer({"inputs": [GOOD]}, f"/v2/models/{name}/infer").json()
            assert (name, ["positive"]) == (body["model_name"], body["outputs"][1]["data"])
        assert 200 == ask("models/next/unload").status_code
        assert 404 == server.status("/v2/models/next/ready")
        assert 200 == server.infer({"inputs": [GOOD]}).status_code
        assert 0 == server.stop()
