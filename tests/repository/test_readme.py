"""The README is true: its commands run, its answers are real, its table is complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from roberta_sentiment.settings import markdown_table
from tests import ROOT
from tests.service import Service

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)


def block(language: str, word: str) -> str:
    (found,) = [body for kind, body in BLOCKS if kind == language and word in body]
    return str(found)


def after(language: str, word: str) -> str:
    """The block that follows, which shows the answer."""
    index = next(i for i, (kind, body) in enumerate(BLOCKS) if kind == language and word in body)
    return str(BLOCKS[index + 1][1])


def on_ports(text: str, service: Service) -> str:
    return text.replace("localhost:9000", f"localhost:{service.http}").replace(
        "localhost:5000", f"localhost:{service.grpc}"
    )


def near(expected: object, got: object) -> bool:
    """Equal but for what another CPU may change in a probability."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(near(v, got[k]) for k, v in expected.items())
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(near, expected, got))
    if isinstance(expected, float) and isinstance(got, float):
        return abs(expected - got) < 0.01
    return expected == got


def test_curl(service: Service) -> None:
    """The first command a reader copies gives what the README shows, but for digits left out."""
    command = on_ports(block("bash", "curl"), service)
    shown = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    assert near(json.loads(after("bash", "curl")), json.loads(shown)), shown


def test_grpc(service: Service) -> None:
    """The gRPC example runs as it stands."""
    code = on_ports(block("python", "SeldonClient"), service)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert near(json.loads(after("python", "SeldonClient")), json.loads(run.stdout)), run.stdout


def test_predict_command() -> None:
    """The command line answers without a server."""
    command = block("bash", "roberta_sentiment predict")
    command = command.replace(".venv/bin/python", sys.executable)
    shown = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=True, cwd=ROOT, text=True
    ).stdout
    assert re.search(r"positive .* This film is so good", shown)
    assert re.search(r"negative .* This film is so bad", shown)


def test_make_commands_exist() -> None:
    """Both are targets; CI runs the second, tests/repository/test_make.py the first."""
    for target in ("serve", "test"):
        assert re.search(rf"^make {target}$|`make {target}`", README, re.MULTILINE)
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_settings_table_is_the_code_s() -> None:
    """A setting that is not documented, or documented wrongly, is found here."""
    shown = README.split("<!-- settings", 1)[1].split("-->\n", 1)[1].split("<!-- /settings")[0]
    assert markdown_table() == shown


def test_it_is_short() -> None:
    """Deeper things belong into docs/."""
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT) for path in ROOT.glob("*.md")), ids=str
)
def test_links_lead_somewhere(page: Path) -> None:
    """A dead link is the first thing a newcomer meets."""
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [] == [t for t in targets if not (ROOT / page.parent / t).exists()]
