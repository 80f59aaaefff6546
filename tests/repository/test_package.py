"""What pip builds and installs: whole, able to work without the checkout, and as messages say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from roberta_sentiment import __version__
from tests import ROOT
from tests.ab import records

pytestmark = pytest.mark.long

PACKAGES = ("roberta_sentiment", "seldon_node", "ab")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".cache")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels, built once by pip without network, from a copy of what they are made of."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in (*PACKAGES, "models/default"):
        shutil.copytree(ROOT / name, source / name, ignore=LEFT_OUT)
    for path in (*ROOT.glob("requirements*.in"), *ROOT.glob("*.toml")):
        shutil.copy(path, source)
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for project in (source, source / "ab"):
        pip("wheel", "--no-build-isolation", "--wheel-dir", str(target), str(project))
    return {path.name.partition("-")[0]: path for path in target.glob("*.whl")}


@pytest.fixture(scope="session")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders in which the wheels are installed, each by itself."""
    folders = {name: tmp_path_factory.mktemp(name) for name in wheels}
    for name, folder in folders.items():
        pip("install", "--no-index", "--target", str(folder), str(wheels[name]))
    return folders


def pip(command: str, *arguments: str) -> None:
    """Run pip quietly, without the packages that a wheel needs: the tests' own are there."""
    subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", "--no-deps",
         "--disable-pip-version-check", *arguments],
        check=True, capture_output=True,
    )  # fmt: skip


def run(folder: Path, script: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a console script of an installation, outside the checkout."""
    return subprocess.run(
        [sys.executable, str(folder / "bin" / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "80"},
        cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return archive.read(name).decode()


def test_every_module_and_template_is_in_it(wheels: dict[str, Path]) -> None:
    """A forgotten package shows only after the installation, at the first import."""
    wanted = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for pattern in ("*.py", "*.jinja")
        for path in (ROOT / name).rglob(pattern)
    }
    found = names(wheels["roberta_sentiment"])
    assert wanted <= found
    model = {
        f"roberta_sentiment/default_model/{p.name}" for p in (ROOT / "models/default").glob("*.*")
    }
    assert model <= found


def test_the_tool_for_a_b_tests_is_whole_by_itself(wheels: dict[str, Path]) -> None:
    """It is the folder, and what the folder needs."""
    wanted = {
        str(path.relative_to(ROOT))
        for pattern in ("*.py", "*.jinja")
        for path in (ROOT / "ab").rglob(pattern)
    }
    found = {name for name in names(wheels["sentiment_ab"]) if name.startswith("ab/")}
    assert wanted == found


@pytest.mark.parametrize("extra", [".[tools]", ".[torch]", ".[batch]", ".[spark]"])
def test_the_extra_that_a_message_names_exists(wheels: dict[str, Path], extra: str) -> None:
    """The way out must lead somewhere, and not to a name on an index that is not ours."""
    path, _, name = extra.rstrip("]").partition("[")
    assert "." == path
    assert f"Provides-Extra: {name}" in metadata(wheels["roberta_sentiment"])


def test_both_wheels_have_the_version_and_run_on_the_tested_packages(
    wheels: dict[str, Path],
) -> None:
    """The A/B tool speaks the messages of the same Seldon Core."""
    for wheel in wheels.values():
        content = metadata(wheel)
        assert f"\nVersion: {__version__}\n" in content
        assert f"\nRequires-Dist: seldon-core=={version('seldon-core')}\n" in content


def test_an_installed_program_finds_its_model(installed: dict[str, Path], tmp_path: Path) -> None:
    """Nobody who installs a package clones a repository for its model."""
    done = run(
        installed["roberta_sentiment"], "roberta-sentiment", "predict", "A lovely film.",
        cwd=tmp_path,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert re.search(r"positive\W+0\.9", done.stdout)


@pytest.mark.parametrize(
    ("package", "script", "name"),
    [
        ("roberta_sentiment", "roberta-sentiment", "roberta-sentiment"),
        ("sentiment_ab", "sentiment-ab", "ab"),
    ],
)
def test_a_program_says_its_version_and_completes_words(
    installed: dict[str, Path], tmp_path: Path, package: str, script: str, name: str
) -> None:
    """As every program does."""
    done = run(installed[package], script, "--version", cwd=tmp_path)
    assert f"{name} {__version__}\n" == done.stdout
    done = run(installed[package], script, "--show-completion", "bash", cwd=tmp_path)
    assert "complete -o default -F" in done.stdout
    assert script in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["evaluate", "{}.csv"], id="an error of ours"),
        pytest.param(["evaluate", "a.csv", "--no-such-option-of-this-command-{}"], id="usage"),
        pytest.param(["predict", "x", "--model", "{}"], id="a model"),
    ],
)
def test_an_error_in_a_pipe_is_one_line(
    installed: dict[str, Path], tmp_path: Path, arguments: list[str]
) -> None:
    """A log that is searched, and not a screen of 80 columns, is what reads it."""
    long = "x" * 50 + " " + "y" * 50
    given = [argument.format(long) for argument in arguments]
    done = run(installed["roberta_sentiment"], "roberta-sentiment", *given, cwd=tmp_path)
    assert done.returncode in (1, 2)
    (line,) = [line for line in done.stderr.splitlines() if "rror: " in line]
    assert long in line
    assert "Traceback" not in done.stderr


def test_the_tool_for_a_b_tests_reports_without_the_server(
    installed: dict[str, Path], tmp_path: Path
) -> None:
    """From a record to a page, with what it needs and nothing of onnxruntime."""
    events = [records.run_line(40, {"a": 0.5, "b": 0.5})]
    events += [records.answer(i, "ab"[i % 2], right=i % 10 != 0) for i in range(40)]
    record = records.write(tmp_path / "record.jsonl", events)
    done = run(
        installed["sentiment_ab"], "sentiment-ab", "report", str(record), "--json",
        str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html"), cwd=tmp_path,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert 0.8 == json.loads((tmp_path / "out.json").read_text())["models"][0]["accuracy"]["value"]
    code = (
        "import sys, importlib\n"
        "for name in ('onnxruntime', 'onnx', 'transformers', 'tokenizers'):\n"
        "    sys.modules[name] = None\n"
        "for name in ('run.cli', 'run.truth', 'report.cli', 'compare.cli'):\n"
        "    importlib.import_module(f'ab.{name}')\n"
        "from roberta_sentiment.tools import labelled, metrics\n"
        "assert metrics.quality([0], __import__('numpy').array([[1.0, 0.0]])).accuracy == 1\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed["sentiment_ab"])},
    )  # fmt: skip


def test_the_requirements_of_the_tool_for_a_b_tests_are_what_it_imports() -> None:
    """A package that another one happens to bring is missing one day."""
    content = tomllib.loads((ROOT / "ab" / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {re.split("[=<>]", line)[0] for line in content["project"]["dependencies"]}
    text = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "ab").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    third = imported - sys.stdlib_module_names - {"ab", "roberta_sentiment", "__future__"}
    packages = {"google": "seldon-core", "grpc": "seldon-core", "seldon_core": "seldon-core",
                "yaml": "seldon-core", "urllib3": "requests"}  # fmt: skip
    by_tools = {"scikit-learn", "jinja2"}  # asked for by name, with a sentence if missing
    assert wanted == {packages.get(name, name) for name in third} | by_tools
