"""The package, its extras and its console script. The server itself is installed by s2i."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def pinned(name: str) -> list[str]:
    """The direct requirements in a .in file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "roberta_sentiment" / "version.py").read_text(encoding="utf-8")
)

setup(
    name="roberta-sentiment",
    version=VERSION.group(1) if VERSION else "0",
    description="A Seldon Core v1 node that scores review texts with RoBERTa on ONNX Runtime",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.12,<3.13",
    packages=[
        *find_packages(include=["roberta_sentiment*", "seldon_node*", "ab*"]),
        "roberta_sentiment.default_model",
    ],
    package_dir={"roberta_sentiment.default_model": "models/default"},
    package_data={"": ["*.jinja"], "roberta_sentiment.default_model": ["*"]},
    install_requires=pinned("requirements.in"),
    extras_require={
        "dev": pinned("requirements-dev.in"),
        "tools": ["scipy", "statsmodels", "matplotlib", "scikit-learn", "jinja2", "requests"],
        "torch": ["torch", "safetensors"],
        "batch": pinned("requirements-batch.in"),
        "spark": [*pinned("requirements-batch.in"), *pinned("requirements-spark.in")],
    },
    entry_points={"console_scripts": ["roberta-sentiment = roberta_sentiment.__main__:main"]},
)
