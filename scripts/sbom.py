"""What the image is made of: a CycloneDX 1.5 bill of materials, and the page of licences.

    python -m scripts.sbom --output build/sbom.cdx.json     the bill of materials
    python -m scripts.sbom --licences docs/licences.md      the page

Names, versions and checksums are those of requirements.txt, which s2i installs; the image of the
Dockerfile has those of requirements-serving.txt (`--requirements`). Licences are what the installed
packages say of themselves, so the environment must be made from requirements.txt. The base image is
not listed: ask its maker.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import PackageMetadata, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.version import __version__

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

ROOT = Path(__file__).resolve().parent.parent
NAME, LICENCE = "roberta-sentiment", "Apache-2.0"

_SPDX = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "Business Source License 1.1": "BUSL-1.1",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
"""Licences by the names that packages give them. "BSD License" is not here: it names no text."""

_BSL_NOTE = """\
## Which door needs what

| door | stands on | production use |
|---|---|---|
| Seldon protocol (`make serve`) | seldon-core 1.19.0, BUSL-1.1 | needs a licence from Seldon |
| Open Inference Protocol (`make serve-oip`) | MLServer 1.7.1, Apache-2.0 | free |

`seldon-core` is under the **Business Source Licence 1.1** since 1.18.0 (2024-02-06). BUSL-1.1 is
no open-source licence: it allows production use only to non-profit educational institutions, each
release turns into Apache-2.0 four years after it came out (1.18.0 on 2028-02-06), and any other
production use needs a licence from Seldon; trying, testing and developing are free. That holds for
the Python wrapper inside the image as much as for the operator and the executor in the cluster.
1.17.1, the last release under Apache-2.0, is no way out: its wrapper needs protobuf < 4, which does
not install beside the packages pinned here.

The second door needs none of it: it does not import the wrapper, and `make test-oip` reads the
licences of everything that requirements-oip.txt installs and fails on BUSL. KServe is under
Apache-2.0, and so is Seldon Core 2 up to 2.6; a `SeldonDeployment` with `protocol: v2` runs on
Seldon's operator and executor. The code of this project is Apache-2.0 whatever it runs on.
"""


class SbomError(Exception):
    """The bill of materials can't be made; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """One line of requirements.txt.

    Attributes:
        name: of the package, in its canonical form.
        version: the one version allowed.
        sha256: checksums of its files, 64 hexadecimal digits each.
    """

    name: str
    version: str
    sha256: tuple[str, ...]


def read_requirements(path: Path) -> list[Pin]:
    """Read pinned and hashed requirements, in the order of the file.

    Raises:
        SbomError: a requirement is not pinned to one version, or has no checksum.
    """
    joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
    pins = []
    for line in joined.splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, equal, version = text.split()[0].partition("==")
        digests = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
        if not equal or not digests:
            raise SbomError(f"{path.name}: {name} is not pinned and hashed; run make requirements")
        pins.append(Pin(canonicalize_name(name), version, digests))
    return pins


def metadata_of(pin: Pin) -> PackageMetadata:
    """What the installed package says of itself.

    Raises:
        SbomError: it is not installed, or in another version.
    """
    try:
        found = distribution(pin.name)
    except PackageNotFoundError:
        raise SbomError(f"{pin.name} is not installed; run make test once") from None
    if found.version != pin.version:
        raise SbomError(
            f"{pin.name} {found.version} is installed, requirements.txt says {pin.version}; "
            "remove .venv and run make test"
        )
    return found.metadata


def licence_of(metadata: PackageMetadata) -> str:
    """An SPDX expression where the package's words allow one, else those words.

    The field License-Expression comes first, then a short License, then the classifier.

    Raises:
        SbomError: the package states no licence.
    """
    expression = metadata.get("License-Expression")
    stated = metadata.get("License") or ""
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    short = [] if "\n" in stated.strip() else [stated]
    words = next((w for w in (expression, *short, *classifiers) if w and w != "UNKNOWN"), None)
    if words is None:
        raise SbomError(f"{metadata['Name']} states no licence; look it up and add it here")
    return _SPDX.get(str(words), str(words))


def build_bom(pins: Sequence[Pin]) -> Bom:
    """The bill of materials: this component, the embedded model and every package.

    Raises:
        SbomError: a package is missing or states no licence.
    """
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    licences = LicenseFactory()
    root = Component(
        name=NAME,
        version=__version__,
        type=ComponentType.APPLICATION,
        licenses=[licences.make_from_string(LICENCE)],
        bom_ref=NAME,
    )
    artifact = open_artifact(DEFAULT_MODEL)
    model = Component(
        name=artifact.name,
        version=artifact.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        licenses=[licences.make_from_string(str(artifact.manifest.get("licence", "unknown")))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=artifact.sha256)],
        bom_ref=f"model:{artifact.name}",
    )
    packages = {pin.name: _component(pin) for pin in pins}
    bom = Bom(components=[model, *packages.values()])
    bom.metadata.component = root
    direct = _names(ROOT.joinpath("requirements.in").read_text(encoding="utf-8").splitlines())
    installed = [packages[name] for name in sorted(direct & packages.keys())]
    bom.register_dependency(root, [model, *installed])
    for name, component in packages.items():
        needed = _names(distribution(name).requires or []) & packages.keys()
        bom.register_dependency(component, [packages[other] for other in sorted(needed)])
    return bom


def _component(pin: Pin) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import (
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", None, pin.name, pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        comment="checksums that pip accepts",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.sha256],
    )
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(licence_of(metadata_of(pin)))],
        external_references=[files],
    )


def _names(lines: Sequence[str]) -> set[str]:
    """Packages that requirement lines ask for in this environment, without extras."""
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(r.name)
        for r in requirements
        if r.marker is None or r.marker.evaluate({"extra": ""})
    }


def licence_page(pins: Sequence[Pin]) -> str:
    """docs/licences.md.

    Raises:
        SbomError: a package is missing or states no licence.
    """
    rows = [(pin.name, pin.version, licence_of(metadata_of(pin))) for pin in pins]
    counts = Counter(licence for _, _, licence in rows).most_common()
    lines = [
        "# Licences",
        "",
        "Made by `make sbom` from requirements.txt; don't edit. It also writes the same as a",
        "CycloneDX bill of materials, `build/sbom.cdx.json`.",
        "",
        f"This project is {LICENCE}. The embedded model is {_model_licence()}; its card says what",
        "it was made from.",
        "",
        _BSL_NOTE,
        f"## The {len(rows)} packages of the server",
        "",
        "As the packages state it: SPDX where they do, else in their own words. Wheels with",
        "compiled code bring further notices in their own folders (`*.dist-info`,",
        "`ThirdPartyNotices.txt`).",
        "",
        "| licence | packages |",
        "|---|---|",
        *(f"| {licence} | {count} |" for licence, count in counts),
        "",
        "| package | version | licence |",
        "|---|---|---|",
        *(f"| {name} | {version} | {licence} |" for name, version, licence in rows),
        "",
        f"The image of the Dockerfile is made without {', '.join(_not_serving(pins))}.",
    ]
    return "\n".join(lines) + "\n"


def _not_serving(pins: Sequence[Pin]) -> list[str]:
    serving = {pin.name for pin in read_requirements(ROOT / "requirements-serving.txt")}
    return [pin.name for pin in pins if pin.name not in serving]


def _model_licence() -> str:
    return str(open_artifact(DEFAULT_MODEL).manifest.get("licence", "unknown"))


def bom_json(bom: Bom) -> str:
    """A bill of materials as CycloneDX 1.5 JSON."""
    from cyclonedx.output.json import JsonV1Dot5

    content = json.loads(JsonV1Dot5(bom).output_as_string())
    return json.dumps(content, indent=2) + "\n"


def main(
    output: Annotated[Path | None, typer.Option(help="File for the bill of materials.")] = None,
    licences: Annotated[Path | None, typer.Option(help="File for the page of licences.")] = None,
    requirements: Annotated[
        Path, typer.Option(help="Pinned and hashed packages of the image.")
    ] = ROOT / "requirements.txt",
) -> None:
    """Write the bill of materials, the page of licences, or both."""
    if output is None and licences is None:
        raise typer.BadParameter("give --output, --licences or both")
    try:
        pins = read_requirements(requirements)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(bom_json(build_bom(pins)), encoding="utf-8")
        if licences is not None:
            licences.write_text(licence_page(pins), encoding="utf-8")
    except SbomError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
