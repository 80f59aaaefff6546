"""Render the manifests of deploy/ from its kustomize base and overlays; needs kubectl.

    python -m scripts.manifests

`deployment.yaml` is the base, `deploy/NAME.yaml` the overlay of that name.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
OVERLAYS = sorted(path.parent for path in DEPLOY.glob("overlays/*/kustomization.yaml"))


def kustomize(folder: Path) -> str:
    """What kubectl makes of a folder.

    Raises:
        subprocess.CalledProcessError: with kubectl's sentence in `stderr`.
    """
    command = ["kubectl", "kustomize", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def header(overlay: Path) -> str:
    """The comment on top of a rendered manifest: that of the overlay, and where it comes from."""
    lines = (overlay / "kustomization.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    comment = "".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
    return f"{comment}# Made by `make manifests` from deploy/overlays/{overlay.name}.\n"


def render() -> dict[Path, str]:
    """Text of every manifest by its path."""
    base = (DEPLOY / "base" / "deployment.yaml").read_text(encoding="utf-8")
    variants = {DEPLOY / f"{path.name}.yaml": header(path) + kustomize(path) for path in OVERLAYS}
    return {ROOT / "deployment.yaml": base, **variants}


def main() -> int:
    """Write them; return the exit code."""
    if shutil.which("kubectl") is None:
        print("kubectl is missing; it renders deploy/overlays (1.27 or newer)", file=sys.stderr)
        return 1
    for path, text in render().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
