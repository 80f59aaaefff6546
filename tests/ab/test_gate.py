"""The gate: one exit code, which is all that a controller reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ab.record import Event
from tests import ROOT
from tests.ab import records
from tests.ab.running import run_ab
from tests.manifests.schema import strict

GO, STOP, USAGE, WAIT, INVALID = range(5)
GATE = ROOT / "deploy" / "gate"
SCHEMA = ROOT.parent / "shared" / "crd" / "analysistemplate-v1alpha1.schema.json"

BETTER = records.simulated(400, {"a": 0.6, "b": 0.95})
WORSE = records.simulated(400, {"a": 0.95, "b": 0.6})
ALIKE = records.simulated(40, {"a": 0.8, "b": 0.8})


def lost(number: int) -> Event:
    """A request without any answer, of a model that nothing names."""
    failed = [{"outcome": "failed", "status": "500", "detail": "no", "model": None}]
    gone: dict[str, Any] = {"outcome": "failed", "predicted": None, "scores": {}, "latency_s": None}
    return records.answer(number, None, failed=failed, **gone)


def versions(*given: str) -> list[Event]:
    """b, better, in these versions."""
    events = [json.loads(json.dumps(event)) for event in BETTER]
    for i, event in enumerate(e for e in events if e.get("model") == "b"):
        event["tags"] = {"model_version": given[i % len(given)]}
    return events


@pytest.mark.parametrize(
    ("events", "options", "code", "words"),
    [
        pytest.param(BETTER, (), GO, "b: may go on", id="better"),
        pytest.param(ALIKE, ("--margin", "0.5"), GO, "b: may go on", id="not worse"),
        pytest.param(WORSE, (), STOP, "b: must stop", id="worse"),
        pytest.param(ALIKE, (), WAIT, "b: not decided yet", id="undecided"),
        pytest.param(BETTER[:1], (), WAIT, "the record holds no answer", id="not begun"),
        pytest.param([BETTER[0], lost(0)], (), INVALID, "no answer", id="nothing answered"),
        pytest.param(BETTER, ("--models", "a=0.9", "--models", "b=0.1"), INVALID,
                     "b: no verdict is possible", id="split"),
        pytest.param(versions("1", "2"), (), INVALID, "b answered in 2 versions (1, 2)",
                     id="versions"),
        pytest.param(versions("1"), (), GO, "b: may go on", id="one version"),
        pytest.param([*BETTER, *map(lost, range(400, 440))], (), INVALID,
                     "40 of 440 requests got no answer; --max-lost allows 5.0%", id="errors"),
        pytest.param([*BETTER, *map(lost, range(400, 440))], ("--max-lost", "0.2"), GO,
                     "b: may go on", id="errors allowed"),
    ],
)  # fmt: skip
def test_the_exit_code(
    tmp_path: Path, events: list[Event], options: tuple[str, ...], code: int, words: str
) -> None:
    """Each of the ways a test can stand, with the sentence that says why."""
    path = records.write(tmp_path / "r.jsonl", events)
    found = run_ab("report", path, "--gate", *options)
    assert code == found.code, found.out
    assert words in found.out
    assert 0 == run_ab("report", path).code or len(events) < 3


@pytest.mark.parametrize(
    "arguments",
    [["missing.jsonl"], ["r.jsonl", "--margin", "2"], ["r.jsonl", "--models", "a=x"]],
    ids=["no record", "margin", "models"],
)
def test_wrong_usage_is_never_taken_for_a_worse_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """A typo in a pipeline must not roll anything back as if it had been measured."""
    records.write(tmp_path / "r.jsonl", BETTER)
    monkeypatch.chdir(tmp_path)
    assert USAGE == run_ab("report", *arguments, "--gate").code


def test_a_failure_of_the_program_is_never_taken_for_a_worse_model(tmp_path: Path) -> None:
    """Python itself would end with 1. Nothing that writes records leaves out what a line needs."""
    lines = [BETTER[0], {"event": "request", "id": "1"}]
    found = run_ab("report", records.write(tmp_path / "r.jsonl", lines), "--gate")
    assert (USAGE, True) == (found.code, "KeyError" in found.err)


def test_a_later_model_that_is_worse_stops_all(tmp_path: Path) -> None:
    """Of two challengers one may go on; the code is that of the other."""
    events = [records.run_line(900, dict.fromkeys("abc", 1 / 3))]
    for i in range(900):
        right = {"a": i % 10 < 8, "b": True, "c": i % 2 == 0}
        events.append(records.answer(i, "abc"[i % 3], right=right["abc"[i % 3]]))
    found = run_ab("report", records.write(tmp_path / "r.jsonl", events), "--gate")
    assert STOP == found.code
    assert "b: may go on; c: must stop" in found.out


class Controller:
    """A cluster and a pipeline that read exit codes only.

    Args:
        folder: for its files; `kubectl` there notes what it is to apply.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "applied"
        kubectl = folder / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nbasename "$3" >> "{self.log}"\n')
        kubectl.chmod(0o755)

    def run(self, looks: int = 5, **steps: list[Event]) -> tuple[int, list[str]]:
        """The exit code of a whole canary, and the manifests that it applied."""
        for step, events in steps.items():
            records.write(self.folder / f"r-{step.replace('_', '-')}", events)
        changed = {
            "PATH": f"{self.folder}:{os.environ['PATH']}", "PAUSE": "0", "LOOKS": str(looks),
            "GATE": f"{sys.executable} -m ab report",
        }  # fmt: skip
        done = subprocess.run(
            [GATE / "canary.sh", self.folder / "r"], cwd=ROOT, env={**os.environ, **changed},
            capture_output=True,
        )  # fmt: skip
        return done.returncode, self.log.read_text(encoding="utf-8").split()


@pytest.mark.parametrize(
    ("steps", "code", "applied"),
    [
        pytest.param({"canary_1": BETTER, "canary_2": BETTER}, GO, [1, 2, 3], id="promoted"),
        pytest.param({"canary_1": WORSE}, STOP, [1, 0], id="worse"),
        pytest.param({"canary_1": BETTER, "canary_2": ALIKE}, WAIT, [1, 2, 0], id="undecided"),
        pytest.param({"canary_1": versions("1", "2")}, INVALID, [1, 0], id="invalid"),
        pytest.param({}, WAIT, [1, 0], id="no record yet"),
    ],
)
def test_a_canary_is_led_by_exit_codes(
    tmp_path: Path, steps: dict[str, Any], code: int, applied: list[int]
) -> None:
    """Promoted step by step, or taken back to v1 alone."""
    found = Controller(tmp_path).run(looks=3, **steps)
    assert (code, [f"canary-{step}.yaml" for step in applied]) == found


def test_the_job_for_argo_rollouts() -> None:
    """Valid, and its failure policy knows the gate's codes: only 3 is asked again."""
    template = yaml.safe_load((GATE / "analysis-template.yaml").read_text(encoding="utf-8"))
    (metric,) = template["spec"]["metrics"]
    job = metric["provider"]["job"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert ("FailJob", [STOP, USAGE, INVALID]) == (rule["action"], rule["onExitCodes"]["values"])
    (container,) = job["template"]["spec"]["containers"]
    assert container["name"] == rule["onExitCodes"]["containerName"]
    assert "Never" == job["template"]["spec"]["restartPolicy"]  # podFailurePolicy needs it
    if not SCHEMA.exists():
        pytest.skip("the schemas in ../shared/crd are missing")
    schema = strict(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [] == [error.message for error in Draft202012Validator(schema).iter_errors(template)]


@pytest.mark.parametrize("source", ["analysis-template", "flagger"])
def test_templates_call_the_gate_with_options_that_exist(tmp_path: Path, source: str) -> None:
    """Each command of a template runs, and ends as its hook wants."""
    document = yaml.safe_load((GATE / f"{source}.yaml").read_text(encoding="utf-8"))
    stub = tmp_path / "sentiment-ab"
    stub.write_text(f'#!/bin/sh\nexec {sys.executable} -m ab "$@"\n')
    stub.chmod(0o755)
    if source == "flagger":
        commands = {hook["type"]: hook["metadata"]["cmd"] for hook in document["webhooks"]}
    else:
        (metric,) = document["spec"]["metrics"]
        (gate,) = metric["provider"]["job"]["spec"]["template"]["spec"]["containers"]
        command = " ".join(["sentiment-ab", *gate["args"]])
        for each in document["spec"]["args"]:
            command = command.replace(f"{{{{args.{each['name']}}}}}", each["value"])
        commands = {"job": command}
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for events, code in ((BETTER, GO), (WORSE, STOP), (ALIKE, WAIT), (versions("1", "2"), INVALID)):
        (tmp_path / "record.jsonl").unlink(missing_ok=True)
        records.write(tmp_path / "record.jsonl", events)
        wanted = {"rollback": 0 if code in (STOP, INVALID) else 1}
        for kind, command in commands.items():
            shell = ["bash", "-c", command.replace("/records/", f"{tmp_path}/")]
            done = subprocess.run(shell, cwd=ROOT, env=environment, capture_output=True)
            assert wanted.get(kind, code) == done.returncode, (kind, code)
