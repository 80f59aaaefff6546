"""Derived files: found again only if they are exactly what was asked for."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from roberta_sentiment.classifier import load_classifier
from roberta_sentiment.model.artifact import open_artifact
from roberta_sentiment.model.derived import INDEX, Cache, check, open_prepared
from roberta_sentiment.model.optimize import optimize
from roberta_sentiment.settings import Settings
from tests import toy, zoo

KEY = {"kind": "masked", "model": "a" * 64, "format": "1"}


def _write(file: Path, content: bytes | bytearray) -> None:
    file.write_bytes(content)


def fill(directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"graph")


def test_an_entry_is_found_again(tmp_path: Path) -> None:
    """The point of it."""
    stored = Cache([tmp_path]).store(KEY, fill)
    assert stored is not None
    found = Cache([tmp_path / "other", tmp_path]).find(KEY)
    assert found is not None
    assert (stored, KEY) == (found.path, found.key)
    assert b"graph" == (stored / "model.onnx").read_bytes()
    assert [stored.name] == [path.name for path in tmp_path.iterdir()]


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    """A first start is no error."""
    assert Cache([tmp_path / "absent"]).find(KEY) is None


@pytest.mark.parametrize("name", ["format", "model"])
def test_an_entry_made_from_something_else_is_not_used(tmp_path: Path, name: str) -> None:
    """Another version or model may share the directory's name."""
    Cache([tmp_path]).store(KEY, fill)
    assert Cache([tmp_path]).find({**KEY, name: KEY[name] + "2"}) is None


@pytest.mark.parametrize("content", [b"other", b""])
def test_a_changed_file_is_not_used(tmp_path: Path, content: bytes) -> None:
    """Checksums come before loading here too."""
    stored = Cache([tmp_path]).store(KEY, fill)
    assert stored is not None
    (stored / "model.onnx").write_bytes(content)
    assert Cache([tmp_path]).find(KEY) is None


@pytest.mark.parametrize("change", ["first", "middle", "last", "longer", "shorter"])
def test_every_piece_of_a_large_file_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Pieces are checked at once; none may be forgotten, nor a byte between or after them."""
    monkeypatch.setattr("roberta_sentiment.model.derived._PIECE", 2**21)
    content = bytearray(3 * 2**21)
    stored = Cache([tmp_path]).store(KEY, lambda made: _write(made / "model.data", content))
    assert stored is not None
    assert Cache([tmp_path]).find(KEY) is not None
    if change == "longer":
        content.append(0)
    elif change == "shorter":
        content.pop()
    else:
        content[{"first": 0, "middle": 2**21 + 2**20, "last": -1}[change]] ^= 1
    _write(stored / "model.data", content)
    assert Cache([tmp_path]).find(KEY) is None


def test_an_entry_knows_whether_it_was_touched(tmp_path: Path) -> None:
    """A server process that starts again later must not open what nobody has checked."""
    stored = Cache([tmp_path]).store(KEY, fill)
    found = Cache([tmp_path]).find(KEY)
    assert stored is not None
    assert found is not None
    assert found.is_unchanged()
    (stored / "model.onnx").write_bytes(b"another graph")
    assert not found.is_unchanged()
    shutil.rmtree(stored)
    assert not found.is_unchanged()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1, "files": 2}'])
def test_a_damaged_entry_is_not_used(tmp_path: Path, content: str) -> None:
    """Half a disk is no reason to stop."""
    stored = Cache([tmp_path]).store(KEY, fill)
    assert stored is not None
    (stored / INDEX).write_text(content)
    assert Cache([tmp_path]).find(KEY) is None


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_an_entry_that_is_taken_away_meanwhile_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """Another worker replaces it, or it is another user's: the server starts without it."""

    def gone(directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        raise error

    Cache([tmp_path]).store(KEY, fill)
    monkeypatch.setattr("roberta_sentiment.model.derived.stamp_of", gone)
    assert Cache([tmp_path]).find(KEY) is None


def test_an_entry_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    """A temporary directory is shared with other users."""
    stored = Cache([tmp_path]).store(KEY, fill)
    assert stored is not None
    stored.chmod(0o777)
    assert Cache([tmp_path]).find(KEY) is None


def test_a_root_that_others_can_write_is_neither_read_nor_written(tmp_path: Path) -> None:
    """A user who may rename an entry may replace it."""
    root = tmp_path / "root"
    assert Cache([root]).store(KEY, fill) is not None
    root.chmod(0o777)
    assert Cache([root]).find(KEY) is None
    assert Cache([root]).store({**KEY, "format": "2"}, fill) is None


def test_a_root_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    """In a shared temporary directory another user may have made it."""
    assert Cache([tmp_path / "theirs"]).store(KEY, fill) is not None
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    assert Cache([tmp_path / "ours"]).find(KEY) is None


@pytest.mark.usefixtures("own_tmp")
def test_nothing_beside_a_model_is_taken_for_a_derived_file(tmp_path: Path) -> None:
    """It came from elsewhere with the model, and the manifest does not cover it."""
    artifact = open_artifact(toy.write(tmp_path / "model"))
    optimize(artifact, [artifact.path / ".cache"])
    assert (artifact.path / ".cache").is_dir()
    assert check(artifact.path)[1] is None
    assert "original" == open_prepared(artifact, threads=1).kind


def test_a_new_entry_takes_the_place_of_a_stale_one(tmp_path: Path) -> None:
    """After an update of ONNX Runtime the file is made again."""
    Cache([tmp_path]).store(KEY, fill)
    newer = {**KEY, "format": "2"}
    stored, found = Cache([tmp_path]).store(newer, fill), Cache([tmp_path]).find(newer)
    assert found is not None
    assert stored == found.path
    assert Cache([tmp_path]).find(KEY) is None


def test_the_next_root_takes_what_the_first_can_not(tmp_path: Path) -> None:
    """The model directory is often read-only."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    stored = Cache([blocked / "below", tmp_path / "second"]).store(KEY, fill)
    assert stored is not None
    assert tmp_path / "second" == stored.parent
    assert Cache([blocked / "below"]).store(KEY, fill) is None


def test_workers_that_start_together_make_one_entry(tmp_path: Path) -> None:
    """A second one must not replace the file that the first is just opening."""
    both_ask, made = threading.Barrier(2), []

    def write(directory: Path) -> None:
        made.append(directory)
        fill(directory)

    def start() -> None:
        both_ask.wait()
        Cache([tmp_path]).store(KEY, write)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len(made)


def test_why_an_entry_is_not_used_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A first start says nothing, for nothing is wrong; neither does an entry that is used."""
    Cache([tmp_path]).find(KEY)
    stored = Cache([tmp_path]).store(KEY, fill)
    assert stored is not None
    Cache([tmp_path]).find(KEY)
    assert [] == caplog.messages
    (stored / "model.onnx").write_bytes(b"other")
    Cache([tmp_path]).find(KEY)
    assert [f"{stored} is not used: model.onnx has changed since"] == caplog.messages


# Which file is opened ----------------------------------------------------------------------


def test_the_published_file_gets_a_mask_once(tmp_path: Path) -> None:
    """The second start reads the edited file; both have a mask."""
    artifact = open_artifact(zoo.write(tmp_path / "model"))
    roots = [tmp_path / "cache"]
    first = open_prepared(artifact, threads=1, roots=roots)
    assert ("masked", True) == (first.kind, first.session.has_mask)
    (entry,) = roots[0].iterdir()
    stamp = entry.stat().st_mtime_ns
    assert "masked" == open_prepared(artifact, threads=1, roots=roots).kind
    assert stamp == entry.stat().st_mtime_ns


def test_a_mask_is_put_in_without_a_place_to_write(tmp_path: Path) -> None:
    """A read-only file system must not cost the answer."""
    artifact = open_artifact(zoo.write(tmp_path / "model"))
    prepared = open_prepared(artifact, threads=1, roots=[])
    assert ("masked", True) == (prepared.kind, prepared.session.has_mask)


def test_a_graph_with_another_pattern_is_unchanged(tmp_path: Path) -> None:
    """It is served in batches of equal length, which is exact."""
    artifact = open_artifact(toy.write(tmp_path / "model", mask=False))
    prepared = open_prepared(artifact, threads=1, roots=[tmp_path / "cache"])
    assert ("original", False) == (prepared.kind, prepared.session.has_mask)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_published_graph_answers_as_pytorch(tmp_path: Path, order: slice) -> None:
    """18 reference sequences through the whole classifier, one by one and in one request."""
    classifier = load_classifier(open_artifact(zoo.write(tmp_path / "model")), Settings())
    together = classifier.classify_ids(zoo.IDS[order]).logits
    np.testing.assert_allclose(zoo.LOGITS[order], together, atol=1e-4)
    alone = np.concatenate([classifier.classify_ids([ids]).logits for ids in zoo.IDS[order]])
    np.testing.assert_allclose(alone, together, atol=1e-5)
