"""One frozen, typed object for everything that can be set, read from parameters and environment."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import os
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from roberta_sentiment.errors import SettingsError
from roberta_sentiment.label_names import parse_label_map

Truncation = Literal["end", "start", "middle", "error", "windows"]
SpecialTokens = Literal["as_transformers", "as_text"]
Precision = Literal["as_stored", "fp16"]
HeadSetting = Literal["auto", "softmax", "sigmoid", "identity", "probabilities"]
Output = Literal["probabilities", "logits", "label"]

ENVIRONMENT_PREFIX = "SENTIMENT_"

DEVICES = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
"""Values of the setting `device`."""

CPU_BATCH_TOKENS = 512

SERVICE_LINK = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)
"""Suffixes of the variables in which Kubernetes describes the Services of a namespace."""

_ALIKE = 0.75
"""Least similarity (difflib's ratio) of a misspelt name to a setting."""

logger = logging.getLogger(__name__)


def _setting(
    default: Any, doc: str, *, minimum: int | None = None, maximum: int | None = None, env: str = ""
) -> Any:
    metadata = {"doc": doc, "minimum": minimum, "maximum": maximum, "env": env}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the server does, as set by the graph parameters and the environment.

    A graph parameter has the field's name. The environment variable is the name in capitals
    behind SENTIMENT_ (for `model_uri` plain MODEL_URI works too). A parameter wins over a variable.
    Other variables are left alone, whatever they are called.

    Raises:
        SettingsError: a value is out of range or contradicts another.
    """

    model_uri: str = _setting(
        "", "Model directory, or one of several graphs in it: a path or file:// URI. Empty: "
        "/mnt/models if anything is mounted there, else the default model.",
        env="MODEL_URI",
    )  # fmt: skip
    model_name: str = _setting(
        "", "Name in tags and metadata. Empty: the name in the manifest, else the directory's."
    )
    head: HeadSetting = _setting(
        "auto", "How the graph's outputs become scores: softmax (one label a text), sigmoid (each "
        "label by itself), identity (regression), probabilities (they are scores already). "
        "auto: as config.json and the graph say.",
    )  # fmt: skip
    label_map: str = _setting(
        "", "What other names in feedback stand for, such as LABEL_1=positive,bad=negative. Case "
        "never matters.",
    )  # fmt: skip
    truncation: Truncation = _setting(
        "end", "What a text over max_tokens loses: its end, start or middle; error refuses it; "
        "windows scores overlapping pieces and averages them.",
    )  # fmt: skip
    max_tokens: int = _setting(
        0, "Tokens the model sees of a text, special tokens included. 0: what the model takes.",
        minimum=0, maximum=1_000_000,
    )  # fmt: skip
    window_overlap: int = _setting(
        128, "Tokens that neighbouring windows share (truncation windows).", minimum=0
    )
    special_tokens: SpecialTokens = _setting(
        "as_transformers", "What <s>, </s>, <pad> or <mask> in a text is: that special token, as "
        "transformers reads it, or as_text, so that nobody can steer a score with it.",
    )  # fmt: skip
    max_texts: int = _setting(1024, "Texts in one request.", minimum=1, maximum=1_000_000)
    max_characters: int = _setting(
        2_000_000, "Characters in one request, all texts together.", minimum=1
    )
    max_body_bytes: int = _setting(
        16 * 2**20, "Bytes of a REST body or a gRPC message.", minimum=1024, maximum=2**31 - 1
    )
    batch_tokens: int = _setting(
        0, f"Tokens in one run of the model, padding included. 0: {CPU_BATCH_TOKENS} on CPUs, on "
        "a GPU up to 16384, as its memory takes.", minimum=0, maximum=1_000_000,
    )  # fmt: skip
    max_request_tokens: int = _setting(
        524_288, "Tokens that the model sees for one request, all texts and windows together.",
        minimum=1,
    )  # fmt: skip
    max_windows: int = _setting(
        64, "Windows of one text (truncation windows).", minimum=2, maximum=1_000_000
    )
    max_queue: int = _setting(
        64, "Requests that may wait for the model; one more is answered 503 at once. The last "
        "quarter is for small ones, of max_queue_tokens / max_queue tokens at most. Keep it below "
        "GUNICORN_THREADS and GRPC_THREADS.", minimum=1, maximum=100_000,
    )  # fmt: skip
    max_queue_tokens: int = _setting(
        262_144, "Tokens that may wait for the model; a request that comes while nothing waits, "
        "and a small one, may exceed it.", minimum=1,
    )  # fmt: skip
    request_timeout: int = _setting(
        600, "Seconds that a request may take; then it is answered 503.", minimum=1, maximum=86_400
    )
    threads: int = _setting(
        0, "Threads that work on the model: all on one text, or one each on runs side by side. "
        "0: the CPUs this container may use.",
        minimum=0, maximum=1024,
    )  # fmt: skip
    device: str = _setting(
        "auto", "Where the model runs: cpu, cuda or cuda:N (an NVIDIA GPU, or the start is "
        "refused; docs/gpu.md), auto (a GPU where the image and the model can use one).",
    )  # fmt: skip
    device_memory: int = _setting(
        0, "Bytes of the GPU's memory that a server process takes at most. 0: no limit.", minimum=0
    )
    precision: Precision = _setting(
        "as_stored", "How a GPU computes: as the model is stored, or fp16, which is checked "
        "against the model on the CPU at every start.",
    )  # fmt: skip
    exclusive_cpus: bool = _setting(
        False, "Whether the container has its CPUs to itself (docs/sizing.md): threads that serve "
        "requests then stay on one of them.",
    )  # fmt: skip
    max_connections: int = _setting(
        1000, "Open REST connections of a server process; one more takes the place of an idle one.",
        minimum=10, maximum=100_000,
    )  # fmt: skip
    max_buffered_bytes: int = _setting(
        64 * 2**20, "Bytes of REST bodies and unsent answers, or of gRPC messages, that a server "
        "process holds at once; what is more is answered 503.", minimum=2**20,
    )  # fmt: skip
    arrival_timeout: int = _setting(
        20,
        "Seconds in which a REST request, or the message of a gRPC call, must arrive.",
        minimum=1,
        maximum=3600,
    )
    cors_origins: str = _setting(
        "none", "Web origins, comma-separated, whose pages may call REST; `*` is any."
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_range(field, getattr(self, field.name))
        if not DEVICES.fullmatch(self.device):
            raise SettingsError(
                f"device is {self.device[:60]!r}; allowed are cpu, cuda, cuda:0, cuda:1, ..., auto"
            )
        if self.device == "cpu" and self.precision == "fp16":
            raise SettingsError(
                "precision is fp16 but device is cpu, which computes faster in fp32 and int8; "
                "set device to cuda, or precision to as_stored"
            )
        self.check_label_map()
        if self.max_tokens and self.window_overlap >= self.max_tokens - 2:
            raise SettingsError(
                f"window_overlap is {self.window_overlap} but max_tokens is {self.max_tokens}; "
                "the overlap must be smaller by at least 3"
            )

    def check_label_map(self, labels: Sequence[str] | None = None) -> None:
        """Read the label map, and check it against the labels of the model where they are given.

        Raises:
            SettingsError: it is malformed, or names another label.
        """
        try:
            parse_label_map(self.label_map, labels)
        except ValueError as error:
            raise SettingsError(f"label_map: {error}") from None

    @classmethod
    def read(
        cls, parameters: Mapping[str, object], environ: Mapping[str, str] | None = None
    ) -> Settings:
        """Build the settings from graph parameters and environment variables.

        Args:
            parameters: name to value, as the wrapper parsed them from the deployment's graph.
            environ: variables, by default those of the process.

        Raises:
            SettingsError: a parameter is unknown, or a value is of the wrong type or out of range.
        """
        environ = os.environ if environ is None else environ
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in parameters:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(fields)}"
                raise SettingsError(f"unknown parameter {name[:60]!r}; {hint}")
        hints = typing.get_type_hints(cls)
        values: dict[str, Any] = {}
        for name, field in fields.items():
            for variable in _variables(field):
                if variable in environ:
                    values[name] = _convert(environ[variable], hints[name], variable)
            if name in parameters:
                values[name] = _convert(parameters[name], hints[name], f"parameter {name}")
        return cls(**values)


def _variables(field: dataclasses.Field[Any]) -> list[str]:
    """Environment variables of a field, the one that wins last."""
    prefixed = ENVIRONMENT_PREFIX + field.name.upper()
    return [field.metadata["env"], prefixed] if field.metadata["env"] else [prefixed]


def misspelt(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that look like misspelt settings, each with the name that was probably meant.

    The environment belongs to the cluster: Kubernetes describes every Service of the namespace in
    it, and a Service may be named like us. So nothing but an exact name is read.

    Args:
        environ: variables, by default those of the process.
    """
    ours = {v: v for field in dataclasses.fields(Settings) for v in _variables(field)}
    ends = {v.removeprefix(ENVIRONMENT_PREFIX): v for v in ours if v.startswith(ENVIRONMENT_PREFIX)}
    found = {}
    for name in os.environ if environ is None else environ:
        end = name.upper().removeprefix(ENVIRONMENT_PREFIX.rstrip("_")).lstrip("_")
        is_like_ours = name.upper().startswith(ENVIRONMENT_PREFIX.rstrip("_"))
        if is_like_ours and name not in ours and not SERVICE_LINK.search(name):
            for near in difflib.get_close_matches(end, ends, n=1, cutoff=_ALIKE):
                found[name] = ends[near]
    return found


def warn_of_misspelt(environ: Mapping[str, str] | None = None) -> None:
    """Log each variable that is probably misspelt.

    Args:
        environ: variables, by default those of the process.
    """
    for name, near in misspelt(environ).items():
        logger.warning("the variable %s is not read; did you mean %s?", name, near)


def _convert(value: object, kind: object, source: str) -> object:
    """Turn a value from a manifest or the environment into the type of its field."""
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise SettingsError(f"{source} is {value!r}; allowed are {', '.join(allowed)}")
        return value
    if kind is int:
        return _convert_int(value, source)
    if kind is bool:
        return _convert_bool(value, source)
    if kind is str and isinstance(value, str):
        return value
    raise SettingsError(f"{source} is {value!r}; a text is needed")


def _convert_int(value: object, source: str) -> int:
    try:
        number = float(value) if isinstance(value, (str, int, float)) else math.nan
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not number.is_integer():
        raise SettingsError(f"{source} is {value!r}; a whole number is needed")
    return int(value) if isinstance(value, int) else int(number)


def _convert_bool(value: object, source: str) -> bool:
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{source} is {value!r}; true or false is needed")


def _check_range(field: dataclasses.Field[Any], value: object) -> None:
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    if low is not None and isinstance(value, int) and value < low:
        raise SettingsError(f"{field.name} is {value}; the least allowed is {low}")
    if high is not None and isinstance(value, int) and value > high:
        raise SettingsError(f"{field.name} is {value}; the most allowed is {high}")


def markdown_table() -> str:
    """The settings as a Markdown table, for the README."""
    lines = ["| parameter | environment | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        value = str(field.default).lower() if isinstance(field.default, bool) else field.default
        default = f"`{value}`" if value != "" else "empty"
        variable = _variables(field)[0]
        lines.append(f"| `{field.name}` | `{variable}` | {default} | {field.metadata['doc']} |")
    return "\n".join(lines) + "\n"
