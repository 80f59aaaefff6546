"""The pages in docs/ are true: links lead somewhere, tables are the code's, commands run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roberta_sentiment import errors
from roberta_sentiment.errors import SentimentError, StartError
from roberta_sentiment.serving import grpc_status
from scripts.serve import image_environment
from tests import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading in it."""
    dead = []
    for path, _, anchor in re.findall(
        r"\]\((?!https?:)([^)#]*)(#)?([^)]*)\)", page.read_text(encoding="utf-8")
    ):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    assert [] == dead


def _errors(kind: type[SentimentError]) -> Iterator[type[SentimentError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _errors(child)


def test_the_table_of_errors_is_the_code_s() -> None:
    """Reason, HTTP status and gRPC code of everything that a caller can get."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    to_callers = [
        kind
        for kind in _errors(SentimentError)
        if kind.__module__ == errors.__name__  # those of other products never reach a caller
        and not issubclass(kind, (StartError, errors.DataError, errors.QualityError))
        and kind not in (errors.RequestError, errors.DroppedError)
    ]
    expected = {
        (kind.reason, str(kind.http_status), grpc_status.code_of(kind.http_status).name)
        for kind in to_callers
    }
    assert expected == set(rows)


def test_the_numbers_of_processes_are_the_image_s() -> None:
    """deploy.md names the defaults of .s2i/environment."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    variables = image_environment()
    named = dict(re.findall(r"`((?:GUNICORN|GRPC|PREPARE)_\w+)` \((\d+)[;)]", page))
    assert {"GUNICORN_WORKERS", "GRPC_WORKERS", "GUNICORN_THREADS", "GRPC_THREADS",
            "GUNICORN_KEEPALIVE", "PREPARE_SECONDS"} == named.keys()  # fmt: skip
    assert named.items() <= variables.items()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run(page: Path, tmp_path: Path) -> None:
    """Blocks marked bash need nothing but this folder; those marked text are for a cluster."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        command = block.replace(".venv/bin/python", sys.executable).replace(
            "build/", f"{tmp_path}/"
        )
        done = subprocess.run(["bash", "-euc", command], cwd=ROOT, capture_output=True, text=True)
        assert 0 == done.returncode, done.stderr


def test_the_actor_for_ray_scores_a_batch() -> None:
    """Ray hands it columns as arrays of NumPy, and puts what it returns together."""
    page = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n([^`]*class Sentiment[^`]*)```", page)
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102
    texts = np.array(["a good film", "a bad film"])
    scored = names["Sentiment"]()({"id": np.arange(2), "text": texts})
    assert ["positive", "negative"] == scored["label"]
    assert [0, 1] == scored["id"].tolist()
    calls: list[dict[str, Any]] = []

    class Dataset:
        def map_batches(self, actor: type, **options: Any) -> None:
            calls.append({"actor": actor.__name__, **options})

    names["scored"](Dataset())
    assert [{"actor": "Sentiment", "batch_size": 256, "concurrency": 16, "num_cpus": 1}] == calls
