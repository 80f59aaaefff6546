"""Model directories: found, intact, or refused in one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from roberta_sentiment.classifier import check_model
from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.artifact import DEFAULT_MODEL, claimed_digest, locate, open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.manifest import write_manifest
from tests import toy

Damage = Callable[[Path], object]


def add_manifest(directory: Path, **more: object) -> Path:
    """Describe every file of a directory in its manifest."""
    files = {
        file.name: {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "size": file.stat().st_size,
        }
        for file in directory.iterdir()
        if file.is_file()
    }
    manifest = {"format": 1, "files": files, **more}
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return directory


def edit(name: str, **values: object) -> Damage:
    """Change keys of a JSON file."""

    def damage(directory: Path) -> None:
        path = directory / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return damage


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A toy model with a manifest, to be damaged."""
    return add_manifest(toy.write(tmp_path / "model"), name="toy", precision="fp32")


def test_a_good_directory_opens(directory: Path) -> None:
    """What the rest of the program reads off a directory is right."""
    artifact = open_artifact(directory)
    assert artifact.name == "toy"
    assert artifact.precision == "fp32"
    assert artifact.labels == ("negative", "positive")
    assert artifact.position_limit == 32
    assert artifact.pad_id == 1
    assert artifact.sha256 == hashlib.sha256((directory / "model.onnx").read_bytes()).hexdigest()
    assert artifact.version == artifact.digest[:12]


def test_a_directory_without_manifest_opens(tmp_path: Path) -> None:
    """What optimum-cli writes has none and must work unchanged."""
    assert open_artifact(toy.write(tmp_path / "mine")).name == "mine"


def truncate(directory: Path) -> None:
    path = directory / "model.onnx"
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(directory: Path) -> None:
    path = directory / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        pytest.param(truncate, "model.onnx", "truncated", id="truncated"),
        pytest.param(flip_a_bit, "model.onnx", "damaged", id="one bit flipped"),
        pytest.param(lambda d: (d / "model.onnx").unlink(), "model.onnx", "missing", id="no graph"),
        pytest.param(
            lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json", "missing", id="tokenizer"
        ),
        pytest.param(
            lambda d: (d / "manifest.json").write_text("{"), "manifest.json", "JSON", id="bad JSON"
        ),
        pytest.param(
            lambda d: (d / "manifest.json").write_text("[]"), "manifest.json", "object", id="list"
        ),
        pytest.param(
            edit("manifest.json", files={"../x": {"sha256": "", "size": 1}}),
            "manifest.json", "leads out", id="path outside",
        ),
        pytest.param(
            edit("manifest.json", files={"model.onnx": {}}), "manifest.json", "needs sha256",
            id="entry without checksum",
        ),
        pytest.param(
            edit("manifest.json", model="other.onnx"), "other.onnx", "missing", id="other graph"
        ),
    ],
)  # fmt: skip
def test_a_damaged_directory_is_refused(
    directory: Path, damage: Damage, file: str, words: str
) -> None:
    """A damaged model must not serve, and the sentence must name the file and what is wrong."""
    damage(directory)
    with pytest.raises(ArtifactError) as caught:
        open_artifact(directory)
    assert file in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_model_onnx_is_taken_of_several(tmp_path: Path) -> None:
    """The hub keeps model_quantized.onnx beside model.onnx; the plain name is the plain model."""
    directory = toy.write(tmp_path / "model")
    (directory / "model_quantized.onnx").write_bytes(b"")
    assert directory / "model.onnx" == open_artifact(directory).onnx_path


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda d: (d / "model.onnx").unlink(), "no .onnx file", id="no graph"),
        pytest.param(
            lambda d: (
                (d / "model.onnx").rename(d / "a.onnx"),
                (d / "b.onnx").write_bytes(b""),
            ),
            "several .onnx files",
            id="two graphs",
        ),
        pytest.param(lambda d: (d / "config.json").unlink(), "config.json is missing", id="config"),
        pytest.param(
            lambda d: (d / "tokenizer.json").unlink(), "vocab.json is missing", id="tokenizer"
        ),
    ],
)
def test_an_incomplete_directory_is_refused(tmp_path: Path, damage: Damage, words: str) -> None:
    """Without a manifest, too, the first thing that is missing is named."""
    directory = toy.write(tmp_path / "model")
    damage(directory)
    with pytest.raises(ArtifactError, match=words.replace(".", r"\.")):
        open_artifact(directory)


@pytest.mark.parametrize(
    ("id2label", "words"),
    [
        pytest.param({"0": "bad", "2": "good"}, "number its labels", id="gap"),
        pytest.param({"a": "bad"}, "number its labels", id="word"),
        pytest.param(["bad", "good"], "not an object", id="list"),
        pytest.param({"0": "x", "1": "x"}, "equal", id="twice"),
        pytest.param({"0": "x", "1": " "}, "no name", id="blank"),
        pytest.param({"0": "x", "1": None}, "no name", id="null"),
    ],
)
def test_labels_must_number_the_classes(tmp_path: Path, id2label: object, words: str) -> None:
    """A gap or a duplicate would put a wrong name on a score."""
    directory = toy.write(tmp_path / "model")
    edit("config.json", id2label=id2label)(directory)
    with pytest.raises(ArtifactError, match=words):
        _ = open_artifact(directory).labels


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"pad_token_id": 10**9}, "pad_token_id is 1000000000, but the model has rows",
                     id="padding beyond the words"),
        pytest.param({"pad_token_id": -1}, "-1; a whole number from 0 is needed", id="negative"),
        pytest.param({"pad_token_id": "1"}, "'1'; a whole number from 0", id="a text"),
        pytest.param({"vocab_size": 0}, "vocab_size is 0; a whole number from 1", id="no words"),
        pytest.param({"vocab_size": [1] * 999}, "a whole number from 1", id="a long list"),
        pytest.param({"max_position_embeddings": 1.5}, "1.5; a whole number", id="a fraction"),
    ],
)  # fmt: skip
def test_numbers_that_can_not_be_abort(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    """At start; padding that is no word would fail at the first batch."""
    directory = toy.write(tmp_path / "model")
    edit("config.json", **changes)(directory)
    with pytest.raises(ArtifactError, match=words) as caught:
        check_model(open_artifact(directory), Settings())
    assert len(caught.value.message) <= 300


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    config = toy.write(tmp_path / "model") / "config.json"
    config.write_text("\ufeff" + config.read_text(encoding="utf-8"), encoding="utf-8")
    assert toy.LABELS == open_artifact(config.parent).labels


def test_the_place_of_the_model(tmp_path: Path) -> None:
    """First match wins: the setting, the mounted directory, the embedded default."""
    mounted = tmp_path / "mnt"
    assert locate("/a/b", mounted) == (Path("/a/b"), "model_uri")
    assert locate("", mounted) == (DEFAULT_MODEL, "embedded default")
    mounted.mkdir()
    assert locate("", mounted) == (DEFAULT_MODEL, "embedded default")
    (mounted / "model.onnx").touch()
    assert locate("", mounted) == (mounted, str(mounted))


@pytest.mark.parametrize("content", ["model.safetensors", "onnx/model.onnx", "mine/model.onnx"])
def test_whatever_is_mounted_is_meant_to_be_served(tmp_path: Path, content: str) -> None:
    """The embedded model in its place would answer as if it were the one that was mounted."""
    (tmp_path / content).parent.mkdir(exist_ok=True)
    (tmp_path / content).touch()
    assert locate("", tmp_path) == (tmp_path, str(tmp_path))


def test_a_model_that_was_asked_for_and_not_copied_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seldon's operator says that the node has a modelUri, and the directory is empty."""
    monkeypatch.setenv("MLSERVER_MODEL_URI", "/mnt/models")
    assert locate("", tmp_path) == (tmp_path, str(tmp_path))
    with pytest.raises(ArtifactError, match="it is empty"):
        open_artifact(*locate("", tmp_path))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/models/v#2", "/models/v#2"),
        ("/models/a?b", "/models/a?b"),
        ("/models/a;b=1", "/models/a;b=1"),
        ("/models/50%25", "/models/50%25"),
        ("/models/two words", "/models/two words"),
        ("models:today", "models:today"),
        ("file:///models/two%20words", "/models/two words"),
        ("file:///models/v%232", "/models/v#2"),
        ("file:///models/v#2?a;b", "/models/v#2?a;b"),
        ("FILE:///models/a", "/models/a"),
        ("file://localhost/models/a", "/models/a"),
    ],
)
def test_only_a_file_uri_is_read_as_a_uri(uri: str, path: str) -> None:
    """A directory may have any name."""
    assert locate(uri) == (Path(path), "model_uri")


@pytest.mark.parametrize("uri", ["s3://bucket/model", "https://a/b", "file://server/share"])
def test_a_remote_address_points_to_the_way_out(uri: str) -> None:
    """The server has no network; the graph's modelUri is where such an address belongs."""
    with pytest.raises(ArtifactError, match="put the address into modelUri"):
        locate(uri)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(flip_a_bit, id="graph"),
        pytest.param(edit("config.json", id2label={"0": "good", "1": "bad"}), id="labels"),
        pytest.param(edit("tokenizer.json", version="2.0"), id="tokenizer"),
        pytest.param(lambda d: (d / "added_tokens.json").write_text("{}"), id="added tokens"),
    ],
)
def test_the_version_covers_every_file_that_decides_an_answer(
    tmp_path: Path, change: Damage
) -> None:
    """Two models that answer differently never have the same version."""
    directory = toy.write(tmp_path / "model")
    before = open_artifact(directory).version
    change(directory)
    assert before != open_artifact(directory).version


def test_the_version_does_not_depend_on_place_and_readme(tmp_path: Path) -> None:
    """The same bytes have the same version in every cluster."""
    one, other = toy.write(tmp_path / "one"), toy.write(tmp_path / "other")
    (other / "README.md").write_text("about")
    (other / "model.onnx").rename(other / "mine.onnx")
    assert open_artifact(one).version == open_artifact(other).version


def test_weights_outside_the_graph_belong_to_the_version(tmp_path: Path) -> None:
    """Replaced, they are another model, whatever a file prepared before says."""
    directory = toy.write(tmp_path / "model")
    model = onnx.load(directory / "model.onnx")
    onnx.save(model, directory / "model.onnx", save_as_external_data=True, location="w.bin",
              size_threshold=0)  # fmt: skip
    artifact = open_artifact(directory)
    assert "w.bin" in artifact.checksums
    content = bytearray((directory / "w.bin").read_bytes())
    content[-1] ^= 1
    (directory / "w.bin").write_bytes(content)
    assert artifact.version != open_artifact(directory).version
    with pytest.raises(ArtifactError, match="restart"):
        artifact.recheck()
    (directory / "w.bin").unlink()
    with pytest.raises(ArtifactError, match=r"keeps weights in w\.bin, which is missing"):
        open_artifact(directory)


@pytest.mark.parametrize("named", ["../evil/model.onnx", "sub/model.onnx", "{}/evil/model.onnx"])
def test_a_manifest_leads_to_no_other_directory(tmp_path: Path, named: str) -> None:
    """The answer would be that of a file which the checksums do not cover."""
    for directory in ("model", "evil", "model/sub"):
        toy.write(tmp_path / directory)
    add_manifest(tmp_path / "model", model=named.format(tmp_path))
    with pytest.raises(ArtifactError, match="is not a plain file name"):
        open_artifact(tmp_path / "model")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the place where it was set, which is often the mistake."""
    with pytest.raises(ArtifactError, match=r"/absent does not exist \(model_uri\)"):
        open_artifact(tmp_path / "absent", "model_uri")


def test_a_file_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod runs as a user that may own none of the files."""
    directory = toy.write(tmp_path / "model")

    def refuse(path: Path, **_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ArtifactError, match=r"/config\.json can't be read: Permission denied"):
        open_artifact(directory)


def test_the_configuration_of_the_root_wins(tmp_path: Path) -> None:
    """The hub keeps it there; one beside the graph counts only where the root has none."""
    directory = toy.write(tmp_path / "model")
    (directory / "onnx").mkdir()
    (directory / "model.onnx").rename(directory / "onnx/model.onnx")
    shutil.copy(directory / "config.json", directory / "onnx")
    assert directory == open_artifact(directory).path
    assert directory == open_artifact(directory / "onnx/model.onnx").path


def test_an_unknown_limit_is_asked_for(tmp_path: Path) -> None:
    """A guess would fail on the first long text, or cut it for nothing."""
    directory = toy.write(tmp_path / "model")
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    del config["max_position_embeddings"]
    (directory / "config.json").write_text(
        json.dumps({**config, "model_type": "mystery"}), encoding="utf-8"
    )
    artifact = open_artifact(directory)
    assert artifact.known_limit is None
    with pytest.raises(ArtifactError, match=r"'mystery'.*set the parameter max_tokens"):
        _ = artifact.position_limit


@pytest.mark.parametrize("pad", [0, 1, 5])
def test_a_roberta_s_positions_begin_after_its_padding(tmp_path: Path, pad: int) -> None:
    """Any whole number is an id, 0 as well."""
    directory = toy.write(tmp_path / "model")
    edit("config.json", pad_token_id=pad)(directory)
    assert 34 - pad - 1 == open_artifact(directory).position_limit


def test_a_change_after_the_check_is_noticed(directory: Path) -> None:
    """A worker that starts hours later must not load what was put there since."""
    artifact = open_artifact(directory)
    artifact.recheck()
    flip_a_bit(directory)
    with pytest.raises(ArtifactError, match="damaged"):
        artifact.recheck()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(edit("config.json", id2label={"0": "good", "1": "bad"}), id="labels"),
        pytest.param(edit("tokenizer.json", version="2.0"), id="tokenizer"),
        pytest.param(lambda d: (d / "tokenizer_config.json").write_text("{}"), id="added"),
    ],
)
def test_another_model_in_the_same_place_is_refused(tmp_path: Path, change: Damage) -> None:
    """Its answers would go out under the version and the labels that were read before."""
    artifact = open_artifact(toy.write(tmp_path / "model"))
    change(artifact.path)
    with pytest.raises(ArtifactError, match=f"version {artifact.version} was checked.*restart"):
        artifact.recheck()


def test_a_file_that_was_only_touched_is_no_other_model(tmp_path: Path) -> None:
    """A copy with the same bytes is the model that was checked."""
    artifact = open_artifact(toy.write(tmp_path / "model"))
    content = artifact.onnx_path.read_bytes()
    artifact.onnx_path.unlink()
    artifact.onnx_path.write_bytes(content)
    artifact.recheck()


def test_the_claimed_checksum_is_the_manifest_s(directory: Path, tmp_path: Path) -> None:
    """It is what a check in advance goes by; without a manifest there is none, and no error."""
    assert open_artifact(directory).digest == claimed_digest(directory)
    (directory / "manifest.json").write_text('{"files": []}')
    assert "" == claimed_digest(directory) == claimed_digest(tmp_path / "absent")


@pytest.mark.parametrize(
    ("classes", "config", "labels"),
    [
        pytest.param(2, {"label2id": {"good": 1, "bad": 0}}, ("bad", "good"), id="label2id"),
        pytest.param(2, {}, ("negative", "positive"), id="two"),
        pytest.param(1, {}, ("LABEL_0",), id="one"),
        pytest.param(3, {"id2label": None}, ("LABEL_0", "LABEL_1", "LABEL_2"), id="three"),
        pytest.param(
            None, {"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2"), id="width not in the graph"
        ),
        pytest.param(
            2, {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, ("a", "b"),
            id="id2label wins",
        ),
    ],
)  # fmt: skip
def test_classes_without_id2label_have_names(
    tmp_path: Path, classes: int | None, config: dict[str, object], labels: tuple[str, ...]
) -> None:
    """Those of label2id, of transformers, or negative and positive; never another model's."""
    directory = toy.write(tmp_path / "model")
    graph = onnx.load(directory / "model.onnx")
    width = graph.graph.output[0].type.tensor_type.shape.dim[1]
    width.Clear()
    if classes:
        width.dim_value = classes
    onnx.save(graph, directory / "model.onnx")
    known = json.loads((directory / "config.json").read_text())
    del known["id2label"]
    (directory / "config.json").write_text(json.dumps(known | config))
    assert labels == open_artifact(directory).labels


@pytest.mark.parametrize("label2id", [{"a": 1, "b": 2}, {"a": None, "b": 1}, ["a"]], ids=str)
def test_label2id_must_number_the_classes(tmp_path: Path, label2id: object) -> None:
    """It is read where id2label is missing."""
    directory = toy.write(tmp_path / "model")
    edit("config.json", id2label=None, label2id=label2id)(directory)
    with pytest.raises(ArtifactError, match=r"label2id (must number|is not an object)"):
        _ = open_artifact(directory).labels


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "tokenizer.json", "w.bin"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS pointer"),
        (b"\n<!DOCTYPE html><html></html>", "a web page"),
    ],
    ids=["pointer", "page"],
)
def test_a_placeholder_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """Clones without git-lfs and logins of web servers leave them in place of any file."""
    directory = toy.write(tmp_path / "model")
    onnx.save(onnx.load(directory / "model.onnx"), directory / "model.onnx",
              save_as_external_data=True, location="w.bin", size_threshold=0)  # fmt: skip
    (directory / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} is .*{words}"):
        open_artifact(directory)


def test_weights_do_not_hide_under_another_file_s_name(tmp_path: Path) -> None:
    """The version would cover the file at the top, and not the weights."""
    directory = toy.write(tmp_path / "model")
    (directory / "onnx").mkdir()
    onnx.save(onnx.load(directory / "model.onnx"), directory / "onnx" / "model.onnx",
              save_as_external_data=True, location="config.json", size_threshold=0)  # fmt: skip
    (directory / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match="a name that stands for another file"):
        open_artifact(directory)


def test_a_manifest_at_the_top_covers_a_graph_in_the_folder_onnx(tmp_path: Path) -> None:
    """The hub's layout with checksums, weights outside the graph included."""
    directory = toy.write(tmp_path / "model")
    (directory / "onnx").mkdir()
    onnx.save(onnx.load(directory / "model.onnx"), directory / "onnx" / "model.onnx",
              save_as_external_data=True, location="w.bin", size_threshold=0)  # fmt: skip
    (directory / "model.onnx").unlink()
    write_manifest(
        directory, name="hub", model="onnx/model.onnx", precision="fp32", batch_invariant=True,
        licence="MIT", origin="a test",
    )  # fmt: skip
    files = json.loads((directory / "manifest.json").read_text())["files"]
    assert {"config.json", "onnx/model.onnx", "onnx/w.bin", "tokenizer.json"} == set(files)
    assert directory / "onnx" / "model.onnx" == open_artifact(directory).onnx_path
    content = bytearray((directory / "onnx" / "w.bin").read_bytes())
    content[0] ^= 1
    (directory / "onnx" / "w.bin").write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        open_artifact(directory)


def test_a_checksum_in_capitals_is_the_same(directory: Path) -> None:
    """Some tools write them so."""
    content = json.loads((directory / "manifest.json").read_text())
    for entry in content["files"].values():
        entry["sha256"] = entry["sha256"].upper()
    (directory / "manifest.json").write_text(json.dumps(content))
    assert "toy" == open_artifact(directory).name
