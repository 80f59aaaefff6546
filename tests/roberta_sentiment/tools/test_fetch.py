"""`fetch`: whole or not at all, from a hub on this machine that behaves well and badly."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import requests
import typer
from huggingface_hub import close_session, constants, hf_hub_download
from onnx import numpy_helper
from rich.progress import Progress
from typer.testing import CliRunner

from roberta_sentiment.classifier import check_model, load_classifier
from roberta_sentiment.errors import ArtifactError, ChecksumError, StartError
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.fetch import download, zoo
from roberta_sentiment.tools.fetch.cli import command
from roberta_sentiment.tools.fetch.run import Fetched, Options, fetch
from roberta_sentiment.tools.manifest import write_manifest
from tests import toy
from tests.roberta_sentiment.tools.hub import Hub, serve

REPOSITORY = "people/toy"
BALLAST = 300_000
"""Bytes that make the graph too large to come in one piece."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository, asked without pauses and without the user's own cache."""
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "RETRIES", 2)
    monkeypatch.setattr(download, "BACKOFF_S", 0.0)
    with serve() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.repositories[REPOSITORY] = contents(model(tmp_path / "original"))
        yield running


def model(path: Path) -> Path:
    """The toy model with a graph of several pieces."""
    toy.write(path)
    graph = onnx.load(str(path / "model.onnx"))
    noise = np.random.default_rng(0).integers(0, 256, BALLAST, dtype=np.uint8)
    graph.graph.initializer.append(numpy_helper.from_array(noise, "ballast"))
    onnx.save(graph, str(path / "model.onnx"))
    return path


def contents(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def run(source: str | Path, target: Path, **options: str | bool | int) -> Fetched:
    given = Options(**options)  # type: ignore[arg-type]
    return fetch(str(source), target, given, Progress(disable=True))


def logits(path: Path) -> list[list[float]]:
    classifier = load_classifier(open_artifact(path), Settings(threads=1, window_overlap=8))
    return classifier.classify(["good good bad"]).logits.tolist()  # type: ignore[no-any-return]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_hub_of_these_tests_is_one(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub itself, which knows the protocol, gets both kinds of files from it."""
    for file in ("config.json", "model.onnx"):
        path = hf_hub_download(REPOSITORY, file, endpoint=hub.url, cache_dir=tmp_path / "cache")
        assert hub.repositories[REPOSITORY][file] == Path(path).read_bytes()


def test_a_repository_becomes_a_model_directory(hub: Hub, tmp_path: Path) -> None:
    """It is served unchanged, and its manifest says where it came from."""
    hub.licences[REPOSITORY] = "mit"
    fetched = run(f"hf:{REPOSITORY}", tmp_path / "model")
    manifest = open_artifact(tmp_path / "model").manifest
    assert [[1, 2]] == logits(tmp_path / "model")
    assert "fp32" == fetched.precision
    assert ("model", "mit", f"hf:{REPOSITORY}@{hub.commit(REPOSITORY)}") == (
        manifest["name"],
        manifest["licence"],
        manifest["origin"],
    )
    assert not list(tmp_path.glob("model.*"))


def test_a_commit_is_pinned(hub: Hub, tmp_path: Path) -> None:
    """All files are those of one commit, even if the branch moves on in between."""
    run(f"hf:{REPOSITORY}@main", tmp_path / "model")
    files = [r.path for r in hub.requests if "/resolve/" in r.path]
    assert files
    assert all(f"/resolve/{hub.commit(REPOSITORY)}/" in path for path in files)


def test_pickles_are_left_out(hub: Hub, tmp_path: Path) -> None:
    """They can run code; an option includes them."""
    hub.repositories[REPOSITORY]["pytorch_model.bin"] = b"pickle"
    run(f"hf:{REPOSITORY}", tmp_path / "without")
    run(f"hf:{REPOSITORY}", tmp_path / "with", include_pytorch=True)
    assert not (tmp_path / "without" / "pytorch_model.bin").exists()
    assert b"pickle" == (tmp_path / "with" / "pytorch_model.bin").read_bytes()


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_checkpoint_is_fetched_for_convert(hub: Hub, tmp_path: Path, weights: str) -> None:
    """A repository without a graph is not lost; a pickle still has to be asked for."""
    files = hub.repositories[REPOSITORY]
    files[weights] = files.pop("model.onnx")
    if weights.endswith(".bin"):
        with pytest.raises(ArtifactError, match="--include-pytorch"):
            run(f"hf:{REPOSITORY}", tmp_path / "model")
    fetched = run(f"hf:{REPOSITORY}", tmp_path / "model", include_pytorch=True)
    assert (weights, False) == (fetched.main, fetched.is_graph)
    assert (tmp_path / "model" / "config.json").exists()


def test_of_several_graphs_one_must_be_named(hub: Hub, tmp_path: Path) -> None:
    """A guess could be the wrong precision; the sentence lists what there is."""
    files = hub.repositories[REPOSITORY]
    graph = files.pop("model.onnx")
    files |= {"onnx/a.onnx": graph, "onnx/b.onnx": graph}
    with pytest.raises(ArtifactError, match=r"--file.*onnx/a\.onnx, onnx/b\.onnx"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    with pytest.raises(ArtifactError, match=r"no file 'c\.onnx'"):
        run(f"hf:{REPOSITORY}", tmp_path / "model", file="c.onnx")
    run(f"hf:{REPOSITORY}", tmp_path / "model", file="onnx/b.onnx")
    assert "b.onnx" == open_artifact(tmp_path / "model").onnx_path.name


def test_weights_outside_the_graph_come_along(hub: Hub, tmp_path: Path) -> None:
    """Without them the graph can't be loaded, and that is said if they are nowhere."""
    graph = onnx.load(str(tmp_path / "original" / "model.onnx"))
    large = tmp_path / "large"
    large.mkdir()
    onnx.save(
        graph, str(large / "model.onnx"), save_as_external_data=True, location="model.onnx.data"
    )
    hub.repositories[REPOSITORY] |= contents(large)
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")
    del hub.repositories[REPOSITORY]["model.onnx.data"]
    with pytest.raises(ArtifactError, match=r"keeps weights in model\.onnx\.data"):
        run(f"hf:{REPOSITORY}", tmp_path / "other")


def test_a_cut_is_resumed_in_the_same_run(hub: Hub, tmp_path: Path) -> None:
    """Only what is missing is asked for again, and only of the same file."""
    hub.cuts[f"/store/{REPOSITORY}//model.onnx"] = [200_000, 70_000]
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    first, *more = hub.asked("model.onnx")
    starts = [int(r.headers["Range"].removeprefix("bytes=").rstrip("-")) for r in more]
    assert first.headers["Range"] is None
    assert 2 == len(starts)
    assert 0 < starts[0] <= 200_000 < starts[1] <= 270_000
    assert all(r.headers["If-Range"].startswith('"') for r in more)
    assert {"identity"} == {r.headers["Accept-Encoding"] for r in (first, *more)}
    assert [[1, 2]] == logits(tmp_path / "model")


def test_a_permanent_cut_is_resumed_by_the_next_run(hub: Hub, tmp_path: Path) -> None:
    """What has arrived stays beside the target, which does not exist before it is whole."""
    store = f"/store/{REPOSITORY}//model.onnx"
    hub.cuts[store] = [200_000, 0, 0, 0]
    with pytest.raises(ArtifactError, match="run the same command again"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    hub.cuts.clear()
    hub.requests.clear()
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    (request,) = hub.asked("model.onnx")
    assert 100_000 < int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
    assert [[1, 2]] == logits(tmp_path / "model")
    assert not list(tmp_path.glob("model.*"))


def test_a_file_that_changed_meanwhile_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """Halves of two files make none."""
    old = hub.repositories[REPOSITORY]["model.onnx"]
    hub.plain["/model.onnx"], hub.cuts["/model.onnx"] = b"\0" * len(old), [200_000, 0, 0, 0]
    source, tokenizer = f"{hub.url}/model.onnx", str(tmp_path / "original")
    with pytest.raises(ArtifactError, match="cut"):
        run(source, tmp_path / "model", tokenizer=tokenizer)
    hub.plain["/model.onnx"], hub.cuts["/model.onnx"] = old, []
    run(source, tmp_path / "model", tokenizer=tokenizer)
    assert old == (tmp_path / "model" / "model.onnx").read_bytes()


def test_a_server_without_parts_is_asked_for_the_whole(hub: Hub, tmp_path: Path) -> None:
    """Many plain web servers ignore Range."""
    hub.ranges = False
    hub.cuts[f"/store/{REPOSITORY}//model.onnx"] = [200_000]
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")


def test_another_source_does_not_resume_the_first(hub: Hub, tmp_path: Path) -> None:
    """The partial file belongs to what was asked for, not to the target."""
    hub.cuts[f"/store/{REPOSITORY}//model.onnx"] = [200_000, 0, 0, 0]
    with pytest.raises(ArtifactError, match="cut"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    hub.cuts.clear()
    hub.repositories["people/other"] = hub.repositories[REPOSITORY]
    run("hf:people/other", tmp_path / "model")
    assert hub.asked("model.onnx")[-1].headers["Range"] is None


def test_a_busy_server_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    """503 passes; if it does not, the code is named."""
    store = f"/store/{REPOSITORY}//model.onnx"
    hub.status[store] = [503]
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    hub.status[store] = [503] * 9
    with pytest.raises(ArtifactError, match="503"):
        run(f"hf:{REPOSITORY}", tmp_path / "other")


def test_a_compressed_answer_is_unpacked(hub: Hub, tmp_path: Path) -> None:
    """Hubs send text files so, asked or not; the length is not that of the file then."""
    hub.zipped.add(f"/{REPOSITORY}/resolve/{hub.commit(REPOSITORY)}/tokenizer.json")
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_a_wrong_checksum_leaves_nothing(hub: Hub, tmp_path: Path, file: str) -> None:
    """Large files are known by SHA-256, small ones by Git's name; neither is kept if wrong."""
    hub.corrupt |= {
        f"/store/{REPOSITORY}//{file}",
        f"/{REPOSITORY}/resolve/{hub.commit(REPOSITORY)}/{file}",
    }
    with pytest.raises(ChecksumError, match=f"{file} has .*was not kept"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert not list(tmp_path.glob("model*"))


def test_a_checksum_that_the_list_denies_saves_the_way(hub: Hub, tmp_path: Path) -> None:
    """Half a gigabyte is not fetched to be thrown away."""
    with pytest.raises(ChecksumError, match="another file"):
        run(f"hf:{REPOSITORY}", tmp_path / "model", sha256="0" * 64)
    assert not hub.asked("model.onnx")


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_an_address_is_compared_with_the_option(hub: Hub, tmp_path: Path, right: bool) -> None:
    """A plain web server says nothing of a file; the user may."""
    content = hub.repositories[REPOSITORY]["model.onnx"]
    hub.plain["/model.onnx"] = content
    options = {"tokenizer": f"hf:{REPOSITORY}", "sha256": sha256(content if right else b"other")}
    if right:
        run(f"{hub.url}/model.onnx?signature=x", tmp_path / "model", **options)
        manifest = open_artifact(tmp_path / "model").manifest
        assert f"{hub.url}/model.onnx" == manifest["origin"]
    else:
        with pytest.raises(ChecksumError, match="was expected"):
            run(f"{hub.url}/model.onnx", tmp_path / "model", **options)
        assert not list(tmp_path.glob("model*"))


def test_a_gated_repository_asks_for_a_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says where to accept and what to set; with it the files come."""
    hub.gated.add(REPOSITORY)
    with pytest.raises(ArtifactError, match=r"gated.*HF_TOKEN"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")
    (request,) = hub.asked("model.onnx")
    assert "Authorization" not in request.headers, "the token left the hub"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("hf:people/none", r"hf:people/none is not at http.*mind the spelling"),
        (f"hf:{REPOSITORY}@none", "has no revision 'none'"),
        ("hf:a/b/c", "is not the name of a repository"),
        ("{url}/none.onnx", r"/none\.onnx is not there \(the server answers 404\)"),
        ("{url}/page.html", r"ends neither in \.onnx"),
        ("http://127.0.0.1:1/model.onnx", r"127\.0\.0\.1:1 can't be reached: no connection"),
        ("s3://bucket/model", r"'s3://bucket/model' is not a source"),
        ("http://[::1/model.onnx", "is not an address"),
        ("/no/such/model", "/no/such/model does not exist"),
    ],
)
def test_a_source_that_is_not_there_is_named(
    hub: Hub, tmp_path: Path, source: str, sentence: str
) -> None:
    """Each failure has its own sentence, and leaves nothing behind."""
    tokenizer = str(tmp_path / "original")
    with pytest.raises(ArtifactError, match=sentence):
        run(source.format(url=hub.url), tmp_path / "model", tokenizer=tokenizer)
    assert not list(tmp_path.glob("model*"))


def test_a_hub_that_is_not_there_is_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual reason is a closed network: a mirror and a copied directory are the ways out."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ArtifactError, match=r"127\.0\.0\.1:1 can't be reached.*HF_ENDPOINT"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")


def test_the_cache_serves_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_HUB_OFFLINE: what huggingface_hub has fetched before is enough, and nothing is asked."""
    for file in hub.repositories[REPOSITORY]:
        hf_hub_download(REPOSITORY, file, endpoint=hub.url)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")
    with pytest.raises(ArtifactError, match=r"HF_HUB_OFFLINE is set.*HF_HOME"):
        run("hf:people/other", tmp_path / "other")
    with pytest.raises(ArtifactError, match="hf:a/b/c is not the name of a repository"):
        run("hf:a/b/c", tmp_path / "other")
    assert [] == hub.requests


def test_the_cache_saves_the_way(hub: Hub, tmp_path: Path) -> None:
    """What huggingface_hub has in its cache is copied and checked, not fetched again."""
    hf_hub_download(REPOSITORY, "model.onnx", endpoint=hub.url)
    hub.requests.clear()
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert not hub.asked("model.onnx")
    assert [[1, 2]] == logits(tmp_path / "model")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_process_honours_the_environment(hub: Hub, tmp_path: Path, offline: str) -> None:
    """HF_ENDPOINT and HF_HUB_OFFLINE are read where huggingface_hub reads them: at its start."""
    code = "import typer; from roberta_sentiment.tools.fetch.cli import command; typer.run(command)"
    done = subprocess.run(
        [sys.executable, "-c", code, f"hf:{REPOSITORY}", tmp_path / "model"],
        env={
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": offline,
            "HF_HOME": str(tmp_path / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (offline == "1") == (done.returncode != 0), done.stderr
    assert (offline == "1") == ("HF_HUB_OFFLINE is set" in done.stderr)
    assert (offline == "0") == bool(hub.requests)


def test_a_proxy_is_used(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """List and files both go through it; the host itself is never looked up."""
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", hub.url)
    close_session()
    try:
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    finally:
        close_session()
    hosts = {request.headers["Host"] for request in hub.requests if "/store/" not in request.path}
    assert {"hub.invalid"} == hosts


def test_a_dead_proxy_is_named(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it looks as if the server were down."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ArtifactError, match="the proxy can't be used"):
        run("http://hub.invalid/m.onnx", tmp_path / "model", tokenizer=str(tmp_path / "original"))


@pytest.fixture
def published(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small graph instead of the published one, at three locations and with its tokenizer."""
    files, vocab = hub.repositories[REPOSITORY], toy.vocabulary()
    ids = [vocab[token] for token in ("<s>", "good", "Ġfilm", "</s>")]
    for name, value in {
        "SIZE": len(files["model.onnx"]),
        "SHA256": sha256(files["model.onnx"]),
        "LOCATIONS": (
            ("hf:zoo/first", "graph.onnx"),
            ("hf:zoo/second", "deep/in/graph.onnx"),
            (f"{hub.url}/media/graph.onnx", "graph.onnx"),
        ),
        "TOKENIZER": "people/tokenizer",
        "CONFIG": json.loads(files["config.json"]),
        "REFERENCE": {"text": "good film", "ids": ids, "logits": [0.0, 1.0]},
    }.items():
        monkeypatch.setattr(zoo, name, value)
    hub.repositories["people/tokenizer"] = {
        "tokenizer.json": files["tokenizer.json"],
        "config.json": b"{}",
    }


@pytest.mark.parametrize("location", [0, 1, 2])
def test_the_published_model_is_found(
    hub: Hub, published: None, tmp_path: Path, location: int
) -> None:
    """Wherever a copy is left; it gets its tokenizer, its labels and its makers' own answer."""
    graph = hub.repositories[REPOSITORY]["model.onnx"]
    if location == 0:
        hub.repositories["zoo/first"] = {"graph.onnx": graph}
    elif location == 1:
        hub.repositories["zoo/first"] = {"other.onnx": graph}
        hub.repositories["zoo/second"] = {"deep/in/graph.onnx": graph}
    else:
        hub.plain["/media/graph.onnx"] = graph
    run("zoo", tmp_path / "model")
    artifact = open_artifact(tmp_path / "model")
    assert zoo.FILE == artifact.onnx_path.name
    assert ("roberta-sequence-classification-9", "Apache-2.0") == (
        artifact.name,
        artifact.manifest["licence"],
    )
    assert [[0.0, 1.0]] == [entry["logits"] for entry in artifact.manifest["reference"]]
    assert [[1, 2]] == logits(tmp_path / "model")


def test_a_wrong_copy_of_the_published_model_is_passed_by(
    hub: Hub, published: None, tmp_path: Path
) -> None:
    """A mirror may hold an older file under that name, or a damaged one; another the right one."""
    graph = hub.repositories[REPOSITORY]["model.onnx"]
    hub.repositories["zoo/first"] = {"graph.onnx": graph + b"x"}
    hub.plain["/media/graph.onnx"] = b"\0" + graph[1:]
    with pytest.raises(ChecksumError, match="none of 3 locations"):
        run("zoo", tmp_path / "model")
    assert not list(tmp_path.glob("model*"))
    hub.plain["/media/graph.onnx"] = graph
    hub.repositories["zoo/second"] = {"deep/in/graph.onnx": graph}
    hub.corrupt.add("/store/zoo/second//deep/in/graph.onnx")
    run("zoo", tmp_path / "model")
    assert zoo.SHA256 == open_artifact(tmp_path / "model").sha256


def test_the_published_model_from_a_disk(
    hub: Hub, published: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any network: the file is known by its checksum, only the tokenizer must be named."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    file = tmp_path / zoo.FILE
    shutil.copyfile(tmp_path / "original" / "model.onnx", file)
    with pytest.raises(ArtifactError, match="HF_HUB_OFFLINE"):
        run(file, tmp_path / "model")
    run(file, tmp_path / "model", tokenizer=str(tmp_path / "original"))
    assert "roberta-sequence-classification-9" == open_artifact(tmp_path / "model").name
    assert [] == hub.requests


def test_a_tokenizer_of_another_model_is_refused(hub: Hub, published: None, tmp_path: Path) -> None:
    """It would be served without a word, and every answer would be wrong."""
    file = tmp_path / zoo.FILE
    shutil.copyfile(tmp_path / "original" / "model.onnx", file)
    other = tmp_path / "other"
    other.mkdir()
    text = (tmp_path / "original" / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace('"good"', '"goof"'))
    with pytest.raises(ArtifactError, match="not the published model's"):
        run(file, tmp_path / "model", tokenizer=str(other))
    run(file, tmp_path / "model", tokenizer=str(tmp_path / "original"))
    assert [[1, 2]] == logits(tmp_path / "model")


def test_a_bare_graph_needs_a_tokenizer_before_it_is_fetched(hub: Hub, tmp_path: Path) -> None:
    """The sentence comes before the half gigabyte."""
    hub.plain["/model.onnx"] = hub.repositories[REPOSITORY]["model.onnx"]
    with pytest.raises(ArtifactError, match="--tokenizer"):
        run(f"{hub.url}/model.onnx", tmp_path / "model")
    assert [] == hub.requests


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("top", ["", "./", "toy/"])
@pytest.mark.parametrize("web", [True, False], ids=["web", "disk"])
def test_an_archive_of_a_model_directory(hub: Hub, tmp_path: Path, top: str, web: bool) -> None:
    """With or without a folder at its top; test data of the Model Zoo come along, the rest not."""
    files = hub.repositories[REPOSITORY] | {"test_data_set_0/input_0.pb": b"i", "run.sh": b"#!"}
    path = archive(tmp_path / "toy.tar.gz", {top + name: files[name] for name in files})
    hub.plain["/toy.tar.gz"] = path.read_bytes()
    source = f"{hub.url}/toy.tar.gz" if web else path
    run(source, tmp_path / "model", sha256=sha256(path.read_bytes()))
    assert [[1, 2]] == logits(tmp_path / "model")
    assert b"i" == (tmp_path / "model" / "test_data_set_0" / "input_0.pb").read_bytes()
    assert not (tmp_path / "model" / "run.sh").exists()


@pytest.mark.parametrize("name", ["../model.onnx", "/tmp/model.onnx", "a/../../tokenizer.json"])  # noqa: S108
def test_an_archive_that_leads_outside_is_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    """No member decides where it is written."""
    path = archive(tmp_path / "toy.tar.gz", hub.repositories[REPOSITORY] | {name: b"x"})
    with pytest.raises(ArtifactError, match="names a file outside of itself"):
        run(path, tmp_path / "model")


def test_a_link_in_an_archive_is_no_file(hub: Hub, tmp_path: Path) -> None:
    """A link named tokenizer.json could show any file of this machine."""
    path = tmp_path / "toy.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        file.add(tmp_path / "original" / "model.onnx", "model.onnx")
        link = tarfile.TarInfo("tokenizer.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        file.addfile(link)
    with pytest.raises(ArtifactError, match="has no tokenizer"):
        run(path, tmp_path / "model")


@pytest.mark.parametrize("kept", [10, 2_000])
def test_half_an_archive_is_refused(hub: Hub, tmp_path: Path, kept: int) -> None:
    """A copy that was cut is one, whether or not its list can be read."""
    path = archive(tmp_path / "toy.tar.gz", hub.repositories[REPOSITORY])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=r"toy\.tar\.gz is not a complete"):
        run(path, tmp_path / "model")
    assert not list(tmp_path.glob("model*"))


def test_a_disk_that_fills_up_while_unpacking_is_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is not at fault."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = archive(tmp_path / "toy.tar.gz", hub.repositories[REPOSITORY])
    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    with pytest.raises(ArtifactError, match="no space left in"):
        run(path, tmp_path / "model")


def test_an_archive_is_fetched_once(hub: Hub, tmp_path: Path) -> None:
    """A tokenizer that was forgotten is added without fetching the archive again."""
    graph = {"model.onnx": hub.repositories[REPOSITORY]["model.onnx"]}
    hub.plain["/toy.tar.gz"] = archive(tmp_path / "toy.tar.gz", graph).read_bytes()
    with pytest.raises(ArtifactError, match="--tokenizer"):
        run(f"{hub.url}/toy.tar.gz", tmp_path / "model")
    run(f"{hub.url}/toy.tar.gz", tmp_path / "model", tokenizer=str(tmp_path / "original"))
    assert 1 == len(hub.asked("/toy.tar.gz"))
    assert [[1, 2]] == logits(tmp_path / "model")
    assert not list((tmp_path / "model").glob(".toy*"))


def test_a_directory_is_copied(hub: Hub, tmp_path: Path) -> None:
    """An Optimum export on a disk becomes a model directory with a manifest."""
    (tmp_path / "original" / "training_args.bin").write_bytes(b"pickle")
    run(tmp_path / "original", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")
    assert {"config.json", "manifest.json", "model.onnx", "tokenizer.json"} == set(
        contents(tmp_path / "model")
    )


def test_a_corrected_directory_is_copied_again(hub: Hub, tmp_path: Path) -> None:
    """The size does not show a change; the next run reads the files again."""
    config = tmp_path / "original" / "config.json"
    sound = config.read_text()
    config.write_text("[" + sound[1:])
    with pytest.raises(ArtifactError, match="not valid JSON"):
        run(tmp_path / "original", tmp_path / "model")
    config.write_text(sound)
    run(tmp_path / "original", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")


def test_what_the_publisher_knows_is_kept(hub: Hub, tmp_path: Path) -> None:
    """That answers do not depend on the rest of the batch can't be seen in the graph."""
    facts = {"model": "model.onnx", "precision": "int8", "batch_invariant": True}
    original = tmp_path / "original"
    write_manifest(original, name="t", licence="MIT", origin="here", accuracy=0.9, **facts)  # type: ignore[arg-type]
    hub.repositories[REPOSITORY] = contents(original)
    run(f"hf:{REPOSITORY}", tmp_path / "model", licence="Apache-2.0")
    manifest = open_artifact(tmp_path / "model").manifest
    assert ("t", "int8", True, "Apache-2.0", 0.9) == tuple(
        manifest[key] for key in ("name", "precision", "batch_invariant", "licence", "accuracy")
    )


def test_what_the_publisher_knows_is_checked(hub: Hub, tmp_path: Path) -> None:
    """The list of a hub says what it has, not what its author put there."""
    original = tmp_path / "original"
    write_manifest(
        original,
        name="t",
        model="model.onnx",
        precision="fp32",
        batch_invariant=True,
        licence="MIT",
        origin="here",
    )
    hub.repositories[REPOSITORY] = contents(original) | {"config.json": b"{}"}
    with pytest.raises(ChecksumError, match=r"config\.json"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert not list(tmp_path.glob("model*"))


def test_a_manifest_of_another_program_is_dropped(hub: Hub, tmp_path: Path) -> None:
    """The name is common; what it says means nothing here."""
    hub.repositories[REPOSITORY]["manifest.json"] = b'{"files": ["a", "b"]}'
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert "fp32" == open_artifact(tmp_path / "model").precision


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x08\x07\xff\xff\xff", "not an ONNX graph"),
        (b"", "not an ONNX graph"),
    ],
    ids=["pointer", "page", "damaged", "empty"],
)
def test_what_is_no_graph_is_refused(
    hub: Hub, tmp_path: Path, content: bytes, sentence: str
) -> None:
    """Servers answer 200 with such things; the next run asks again."""
    hub.plain["/model.onnx"] = content
    source, tokenizer = f"{hub.url}/model.onnx", f"hf:{REPOSITORY}"
    with pytest.raises(ArtifactError, match=sentence):
        run(source, tmp_path / "model", tokenizer=tokenizer)
    assert not (tmp_path / "model").exists()
    hub.plain["/model.onnx"] = hub.repositories[REPOSITORY]["model.onnx"]
    run(source, tmp_path / "model", tokenizer=tokenizer)
    assert [[1, 2]] == logits(tmp_path / "model")


def test_eight_bits_are_seen(hub: Hub, tmp_path: Path) -> None:
    """An int8 graph of another program is run one text at a time: its batches may differ."""
    graph = onnx.load(str(tmp_path / "original" / "model.onnx"))
    graph.graph.node.append(
        onnx.helper.make_node("DynamicQuantizeLinear", ["table"], ["q", "scale", "zero"])
    )
    hub.repositories[REPOSITORY]["model.onnx"] = graph.SerializeToString()
    assert "int8" == run(f"hf:{REPOSITORY}", tmp_path / "model").precision
    assert open_artifact(tmp_path / "model").manifest["batch_invariant"] is False


def test_a_full_disk_is_seen_before(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says how much is missing where."""
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2, 1, 200_000))
    with pytest.raises(ArtifactError, match="has 0 MB left"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_disk_that_fills_up_is_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write, too; what has arrived stays for the next run."""

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open

    def full(self: Path, mode: str = "r", **options: str) -> object:
        return Full() if self.name == "model.onnx.part" else opened(self, mode, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(ArtifactError, match="no space left in"):
            run(f"hf:{REPOSITORY}", tmp_path / "model")
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")


def test_an_existing_directory_is_replaced_only_on_demand(hub: Hub, tmp_path: Path) -> None:
    """A directory may be in use; and it stays whole until the new one is."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "mine").write_text("")
    with pytest.raises(ArtifactError, match="--replace"):
        run(f"hf:{REPOSITORY}", target)
    with pytest.raises(ArtifactError, match="no revision"):
        run(f"hf:{REPOSITORY}@none", target, replace=True)
    assert ["mine"] == [entry.name for entry in target.iterdir()]
    run(f"hf:{REPOSITORY}", target, replace=True)
    assert [[1, 2]] == logits(target)
    assert ["model"] == [entry.name for entry in tmp_path.glob("model*")]


def test_two_at_a_time_do_not_mix(hub: Hub, tmp_path: Path) -> None:
    """Both would append to one partial file."""
    (tmp_path / "model.part").mkdir()
    with (tmp_path / "model.part" / ".source").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ArtifactError, match="by another process"):
            run(f"hf:{REPOSITORY}", tmp_path / "model")


def test_the_command(hub: Hub, tmp_path: Path) -> None:
    """It says what was written and what to do next, and takes a checksum in capitals."""
    app = typer.Typer()
    app.command()(command)
    digest = sha256(hub.repositories[REPOSITORY]["model.onnx"])
    target = tmp_path / "model"
    arguments = [f"hf:{REPOSITORY}", str(target), "--sha256", digest.upper()]
    done = CliRunner().invoke(app, arguments)
    assert 0 == done.exit_code, done.output
    assert f"sha256 {digest}" in done.stdout
    assert f"python -m roberta_sentiment verify {target}" in done.stdout


def test_a_checksum_that_is_none_is_refused(hub: Hub, tmp_path: Path) -> None:
    """Twelve digits, as logs show them, would compare with nothing."""
    with pytest.raises(ArtifactError, match="64 hexadecimal digits"):
        run(f"hf:{REPOSITORY}", tmp_path / "model", sha256="8b28f588889d")


@pytest.mark.parametrize("name", ["model.onnx", "model.tar.gz"])
def test_an_answer_without_end_is_ended(hub: Hub, tmp_path: Path, name: str) -> None:
    """It would fill the disk; the user may say that the file is that large."""
    hub.plain[f"/{name}"] = b"x"
    hub.endless.add(f"/{name}")
    with pytest.raises(ArtifactError, match=r"more than 300000 bytes; .*--max-bytes"):
        run(f"{hub.url}/{name}", tmp_path / "model", tokenizer=str(tmp_path), max_bytes=300_000)
    assert not list(tmp_path.glob("model*/*.part"))


def test_more_than_was_announced_is_another_file(hub: Hub, tmp_path: Path) -> None:
    """The list of the repository says how large it is."""
    file = "config.json"
    hub.endless.add(f"/{REPOSITORY}/resolve/{hub.commit(REPOSITORY)}/{file}")
    with pytest.raises(ChecksumError, match=r"more than the .* bytes that were announced"):
        run(f"hf:{REPOSITORY}", tmp_path / "model")


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        ("http://a.example/model.onnx", False),
        ("HTTP://a.example/model.onnx", False),
        ("ftp://a.example/model.onnx", False),
        ("//b.example/model.onnx", True),
        ("/other", True),
        ("https://b.example/model.onnx", True),
    ],
)
def test_an_encrypted_connection_is_not_left(location: str, allowed: bool) -> None:
    """Anybody on the way could answer in place of the host."""
    response = requests.Response()
    response.status_code, response.url = 302, "https://a.example/model.onnx?signature=secret"
    response.headers["Location"] = location
    with download.Session() as session:
        if allowed:
            assert location == session.get_redirect_target(response)
        else:
            with pytest.raises(ArtifactError, match=r"from https to .* is not followed") as caught:
                session.get_redirect_target(response)
            assert "secret" not in caught.value.message


def test_links_that_lead_out_are_left_out(tmp_path: Path) -> None:
    """A licence that leads to the user's keys would be copied into a directory to be shared."""
    (tmp_path / "secret").write_text("key")
    source = model(tmp_path / "source")
    (source / "LICENSE").symlink_to(tmp_path / "secret")
    (source / "NOTICE").symlink_to("config.json")
    run(source, tmp_path / "model")
    assert not (tmp_path / "model" / "LICENSE").exists()
    assert (source / "config.json").read_bytes() == (tmp_path / "model" / "NOTICE").read_bytes()


def test_links_of_a_hub_s_cache_are_followed(tmp_path: Path) -> None:
    """There every file is a link into the store beside the snapshots."""
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    model(tmp_path / "models--a--b" / "blobs")
    snapshot.mkdir(parents=True)
    for file in (tmp_path / "models--a--b" / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    run(snapshot, tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("config.json", "[" * 100_000 + "]" * 100_000, id="nested config"),
        pytest.param("manifest.json", "[" * 100_000, id="nested manifest"),
        pytest.param("tokenizer.json", "[" * 100_000, id="nested tokenizer"),
        pytest.param("config.json", json.dumps({"id2label": {str(i): str(i) for i in range(2000)}}),
                     id="too many labels"),
        pytest.param("config.json", None, id="pipe for a config"),
        pytest.param("tokenizer.json", None, id="pipe for a tokenizer"),
        pytest.param("manifest.json", None, id="pipe for a manifest"),
        pytest.param("model.onnx", None, id="pipe for a graph"),
    ],
)  # fmt: skip
def test_a_hostile_directory_is_one_sentence(
    tmp_path: Path, name: str, content: str | None
) -> None:
    """Neither a hang nor a stack trace, for the server as for fetch."""
    source = model(tmp_path / "source")
    (source / name).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(source / name)
    else:
        (source / name).write_text(content)
    with pytest.raises(StartError) as caught:
        load_classifier(open_artifact(source), Settings(threads=1, window_overlap=8))
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300 + len(str(source))
    with contextlib.suppress(ArtifactError):  # a manifest of another program is left out
        run(source, tmp_path / "model")


@pytest.mark.parametrize("location", ["weights.bin", "parts/w.data"])
def test_weights_of_any_name_come_along(hub: Hub, tmp_path: Path, location: str) -> None:
    """The graph says where its weights are."""
    large = tmp_path / "large"
    (large / location).parent.mkdir(parents=True)
    onnx.save(
        onnx.load(str(tmp_path / "original" / "model.onnx")), str(large / "model.onnx"),
        save_as_external_data=True, location=location,
    )  # fmt: skip
    hub.repositories[REPOSITORY] |= contents(large)
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert location in open_artifact(tmp_path / "model").manifest["files"]
    assert [[1, 2]] == logits(tmp_path / "model")


def test_a_tokenizer_of_one_file_comes_along(hub: Hub, tmp_path: Path) -> None:
    """Whatever the server reads, fetch brings."""
    files = hub.repositories[REPOSITORY]
    del files["tokenizer.json"]
    files["vocab.txt"] = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\n"
    run(f"hf:{REPOSITORY}", tmp_path / "model")
    assert files["vocab.txt"] == (tmp_path / "model" / "vocab.txt").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({}, "", id="sound"),
        pytest.param({"id2label": {"0": "a", "1": "b", "2": "c"}}, "gives 2 scores", id="labels"),
        pytest.param({"problem_type": "ranking"}, "problem_type is 'ranking'", id="head"),
        pytest.param(
            {"model_type": "x", "max_position_embeddings": None}, "max_tokens", id="limit"
        ),
    ],
)
def test_what_a_server_would_refuse_is_said(
    hub: Hub, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    """The directory is whole, and may need a parameter; nobody should learn that from a pod."""
    files = hub.repositories[REPOSITORY]
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | change).encode()
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [f"hf:{REPOSITORY}", str(tmp_path / "model")])
    assert 0 == done.exit_code, done.output
    try:
        artifact = open_artifact(tmp_path / "model")
        check_model(artifact, Settings())
    except StartError as error:
        assert words in error.message
        assert f"would not start with it: {error.message}" in done.stderr
    else:
        assert not words
        assert "would not start" not in done.stderr


def test_a_file_that_had_arrived_whole_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """A run may be killed between the last byte and the new name."""
    tokenizer, part = str(tmp_path / "original"), tmp_path / "model.part" / "model.onnx.part"
    hub.plain["/model.onnx"] = hub.repositories[REPOSITORY]["model.onnx"]
    hub.cuts["/model.onnx"] = [200_000, 0, 0, 0]
    with pytest.raises(ArtifactError, match="cut"):
        run(f"{hub.url}/model.onnx", tmp_path / "model", tokenizer=tokenizer)
    part.write_bytes(hub.plain["/model.onnx"])
    hub.cuts.clear()
    hub.requests.clear()
    run(f"{hub.url}/model.onnx", tmp_path / "model", tokenizer=tokenizer)
    (request,) = hub.asked("model.onnx")
    assert f"bytes={len(hub.plain['/model.onnx'])}-" == request.headers["Range"]
    assert [[1, 2]] == logits(tmp_path / "model")


def test_hidden_files_beside_the_folder_of_an_archive_do_not_matter(
    hub: Hub, tmp_path: Path
) -> None:
    """macOS adds some to every archive."""
    files = {f"toy/{name}": content for name, content in hub.repositories[REPOSITORY].items()}
    run(archive(tmp_path / "toy.tar.gz", {"._toy": b"x", **files}), tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")


def test_a_device_in_an_archive_is_left_out(hub: Hub, tmp_path: Path) -> None:
    """Reading a pipe would never end."""
    path = tmp_path / "toy.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name in ("model.onnx", "tokenizer.json", "config.json"):
            file.add(tmp_path / "original" / name, name)
        for name, kind in (("vocab.txt", tarfile.FIFOTYPE), ("NOTICE", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            file.addfile(member)
    run(path, tmp_path / "model")
    assert [[1, 2]] == logits(tmp_path / "model")
    assert not (tmp_path / "model" / "vocab.txt").exists()


def test_an_archive_larger_than_the_disk_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes may unpack to a terabyte."""
    path = archive(tmp_path / "toy.tar.gz", hub.repositories[REPOSITORY] | {"x.bin": bytes(10**7)})
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2, 1, 5_000_000))
    with pytest.raises(ArtifactError, match="has 5 MB left, but 10 MB more are needed"):
        run(path, tmp_path / "model")


def test_a_password_in_an_address_is_not_shown(hub: Hub, tmp_path: Path) -> None:
    """Messages go into logs."""
    source = f"{hub.url.replace('//', '//user:secret@')}/none.onnx?signature=secret"
    with pytest.raises(ArtifactError, match="is not there") as caught:
        run(source, tmp_path / "model", tokenizer=str(tmp_path))
    with pytest.raises(ArtifactError, match="can't be reached") as other:
        run("http://user:secret@127.0.0.1:1/m.onnx", tmp_path / "model", tokenizer=str(tmp_path))
    assert "secret" not in caught.value.message + other.value.message
