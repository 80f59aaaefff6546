"""From a SeldonMessage, REST or gRPC, to texts or token ids, and back."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from roberta_sentiment.errors import (
    OptionError,
    PayloadError,
    TextError,
    TokenIdError,
    TooManyCharactersError,
    TooManyTextsError,
)
from roberta_sentiment.settings import Output, Settings, Truncation
from roberta_sentiment.text.check import check_text

if TYPE_CHECKING:
    from google.protobuf import struct_pb2
    from seldon_core.proto import prediction_pb2

    from roberta_sentiment.model.heads import Head

Kind = Literal["ndarray", "tensor", "strData", "jsonData", "binData"]

_DATA_FIELDS = ("data", "strData", "jsonData", "binData")
_OTHER_FIELDS = ("meta", "status", "customData")
_SHOWN, _SHOWN_ITEMS = 40, 5
"""Characters and items of a caller's value that a message repeats."""
_LARGEST_ID = 2**63


@dataclasses.dataclass(frozen=True)
class Options:
    """What one request asks for beside its texts; None is the server's setting."""

    truncation: Truncation | None = None
    output: Output = "probabilities"
    top_k: int | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """A request, checked.

    Attributes:
        kind: which field carried it; the answer goes back in the same.
        texts: n texts, empty when the caller sent ids.
        ids: n rows of token ids, empty when the caller sent texts.
        options: of this request.
    """

    kind: Kind
    texts: list[str] = dataclasses.field(default_factory=list)
    ids: list[list[int]] = dataclasses.field(default_factory=list)
    options: Options = Options()

    def __len__(self) -> int:
        return len(self.texts) or len(self.ids)


def to_python(message: prediction_pb2.SeldonMessage) -> dict[str, Any]:
    """The JSON form of a protobuf message, without a detour through text.

    Numbers in `ndarray` and `jsonData` are floats, as protobuf carries them; `binData` is bytes.
    """
    plain: dict[str, Any] = {"meta": _meta_to_python(message.meta)}
    field = message.WhichOneof("data_oneof")
    if field == "data":
        plain["data"] = _data_to_python(message.data)
    elif field == "jsonData":
        plain["jsonData"] = _value_to_python(message.jsonData)
    elif field is not None:
        plain[field] = getattr(message, field)
    return plain


def _meta_to_python(meta: prediction_pb2.Meta) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if meta.puid:
        plain["puid"] = meta.puid
    if meta.tags:
        plain["tags"] = {key: _value_to_python(value) for key, value in meta.tags.items()}
    if meta.requestPath:
        plain["requestPath"] = dict(meta.requestPath)
    return plain


def _data_to_python(data: prediction_pb2.DefaultData) -> dict[str, Any]:
    field = data.WhichOneof("data_oneof")
    if field == "tensor":
        return {"tensor": {"shape": list(data.tensor.shape), "values": list(data.tensor.values)}}
    if field == "ndarray":
        return {"ndarray": [_value_to_python(value) for value in data.ndarray.values]}
    return {field: None} if field else {}


def _value_to_python(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [_value_to_python(item) for item in value.list_value.values]
    if kind == "struct_value":
        return {key: _value_to_python(item) for key, item in value.struct_value.fields.items()}
    return None if kind in (None, "null_value") else getattr(value, kind)


def parse(message: object, settings: Settings) -> Request:
    """Read and check a request.

    Args:
        message: the SeldonMessage in its JSON form.
        settings: the limits.

    Raises:
        RequestError: with the first position that is wrong, the reason and the limit.
    """
    if not isinstance(message, dict):
        raise PayloadError(f"the body is {describe(message)}; a SeldonMessage object is needed")
    field = _data_field(message)
    value = message[field]
    if field == "data":
        request = _parse_data(value)
    elif field == "jsonData":
        request = _parse_json_data(value)
    elif field == "binData":
        request = Request("binData", [_decode(value)])
    else:
        request = Request("strData", [value])
    check_size(request, settings)
    return request


def _data_field(message: Mapping[str, Any]) -> str:
    for key in message:
        if key not in (*_DATA_FIELDS, *_OTHER_FIELDS):
            # A long name would take the search for a near one much time and memory.
            near = difflib.get_close_matches(str(key)[:_SHOWN], _DATA_FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_DATA_FIELDS)}"
            raise PayloadError(f"unknown field {brief(key)}; {hint}")
    present = [field for field in _DATA_FIELDS if message.get(field) is not None]
    if message.get("customData") is not None:
        raise PayloadError("customData is not understood here; send strData or data.ndarray")
    if not present:
        raise PayloadError(f"the message is empty; send one of {', '.join(_DATA_FIELDS)}")
    if len(present) > 1:
        raise PayloadError(f"the message holds {' and '.join(present)}; send one of them")
    return present[0]


def _parse_data(data: object) -> Request:
    if not isinstance(data, dict):
        raise PayloadError(f"data is {describe(data)}; an object with ndarray is needed")
    present = [key for key in ("ndarray", "tensor", "tftensor") if key in data]
    if present == ["ndarray"]:
        return _parse_ndarray(data["ndarray"])
    if present == ["tensor"]:
        return Request("tensor", ids=_parse_tensor(data["tensor"]))
    if present == ["tftensor"]:
        raise PayloadError("data.tftensor is not understood here; send data.ndarray")
    raise PayloadError("data must hold either ndarray (texts or token ids) or tensor (token ids)")


def _parse_ndarray(items: object) -> Request:
    if not isinstance(items, list):
        raise PayloadError(f"data.ndarray is {describe(items)}; a list of texts is needed")
    if not items:
        raise PayloadError("data.ndarray is empty; send at least one text")
    if isinstance(items[0], list) and items[0] and _is_number(items[0][0]):
        return Request("ndarray", ids=_parse_rows(items))
    if _is_number(items[0]):
        raise PayloadError(
            "data.ndarray is a flat list of numbers; send token ids as rows, [[0, 713, 2]], "
            "or send texts"
        )
    return Request("ndarray", [_unwrap(i, item) for i, item in enumerate(items)])


def _unwrap(position: int, item: object) -> str:
    """A text given as "a" or as ["a"]."""
    if isinstance(item, list):
        if len(item) != 1:
            raise PayloadError(
                f"data.ndarray[{position}] is a list of {len(item)} values; "
                "a row holds exactly one text"
            )
        item = item[0]
    return item  # type: ignore[return-value]  # _check_text looks at its type


def _parse_rows(rows: list[Any]) -> list[list[int]]:
    length = len(rows[0])
    parsed = []
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise PayloadError(f"row {i} is {describe(row)}; a list of token ids is needed")
        if len(row) != length:
            raise PayloadError(
                f"row {i} has {len(row)} token ids, row 0 has {length}; "
                "pad the rows to one length with the pad id"
            )
        parsed.append([whole_number(i, j, value) for j, value in enumerate(row)])
    return parsed


def _parse_tensor(tensor: object) -> list[list[int]]:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    values = tensor.get("values") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or not isinstance(values, list):
        raise PayloadError("data.tensor needs the lists shape and values")
    if len(shape) != 2 or not all(_is_whole(n) and n > 0 for n in shape):
        raise PayloadError(
            f"data.tensor has shape {brief(shape)}; token ids are rows, shape [texts, length]"
        )
    texts, length = map(int, shape)
    if texts * length != len(values):
        raise PayloadError(
            f"data.tensor has shape {[texts, length]} but {len(values)} values; "
            f"{texts * length} are needed"
        )
    return [
        [whole_number(i, j, values[i * length + j]) for j in range(length)] for i in range(texts)
    ]


def whole_number(row: int, column: int, value: object) -> int:
    if not _is_whole(value) or not abs(value) < _LARGEST_ID:  # type: ignore[arg-type]
        raise TokenIdError(
            f"row {row}, column {column}: {describe(value)} is no token id; "
            "a whole number is needed"
        )
    return int(value)  # type: ignore[call-overload, no-any-return]  # _is_whole saw a number


def _parse_json_data(value: object) -> Request:
    options = Options()
    if isinstance(value, dict):
        unknown = [key for key in value if key not in ("texts", "options")]
        if unknown or "texts" not in value:
            named = f"the unknown field {brief(unknown[0])}" if unknown else "no texts"
            raise PayloadError(f"jsonData has {named}; it holds texts and, if you like, options")
        options = parse_options(value.get("options"))
        value = value["texts"]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise PayloadError(
            f'jsonData is {describe(value)}; a text, a list of texts or {{"texts": [...]}} '
            "is needed"
        )
    if not texts:
        raise PayloadError("jsonData holds no text; send at least one")
    return Request("jsonData", texts, options=options)


def parse_options(options: object) -> Options:
    if options is None:
        return Options()
    if not isinstance(options, dict):
        raise OptionError(f"options is {describe(options)}; an object is needed")
    known = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in known:
            raise OptionError(f"unknown option {brief(name)}; known are {', '.join(known)}")
    _check_choice(options, "truncation", get_args(Truncation))
    _check_choice(options, "output", get_args(Output))
    top_k = options.get("top_k")
    if top_k is not None and not (_is_whole(top_k) and top_k >= 1):
        raise OptionError(f"top_k is {describe(top_k)}; a whole number from 1 is needed")
    return Options(
        truncation=options.get("truncation"),
        output=options.get("output", "probabilities"),
        top_k=None if top_k is None else int(top_k),
    )


def check_output(output: Output, head: Head) -> None:
    """Refuse an output that the model has not.

    Raises:
        OptionError: with what to ask for in its place.
    """
    if output == "logits" and head.in_graph:
        raise OptionError(
            "output is logits, but this model's graph ends in its activation and gives no logits; "
            "ask for probabilities"
        )
    if output == "label" and head.is_regression:
        raise OptionError(
            "output is label, but this model gives values and chooses no label; ask for "
            "probabilities, which are the values"
        )


def _check_choice(options: Mapping[str, Any], name: str, allowed: Sequence[str]) -> None:
    if name in options and options[name] not in allowed:
        raise OptionError(f"{name} is {describe(options[name])}; allowed are {', '.join(allowed)}")


def _decode(value: object) -> str:
    """The UTF-8 text in binData: bytes over gRPC, base64 over REST."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise PayloadError(f"binData is not valid base64: {error}") from None
    if not isinstance(value, bytes):
        raise PayloadError(f"binData is {describe(value)}; base64 of a UTF-8 text is needed")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(
            f"binData is not valid UTF-8: {error.reason} at byte {error.start}"
        ) from None


def check_size(request: Request, settings: Settings) -> None:
    if len(request) > settings.max_texts:
        raise TooManyTextsError(len(request), settings.max_texts)
    characters = 0
    for position, text in enumerate(request.texts):
        _check_text(position, text)
        characters += len(text)
        if characters > settings.max_characters:
            raise TooManyCharactersError(position, characters, settings.max_characters)


def _check_text(position: int, text: object) -> None:
    if not isinstance(text, str):
        raise PayloadError(f"text {position} is {describe(text)}; a string is needed")
    check_text(position, text)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def describe(value: object) -> str:
    """A value in a few words, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {brief(value)}"
    if isinstance(value, str):
        return f"the text {brief(value)}"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"of type {type(value).__name__}"


def brief(value: object) -> str:
    """The beginning of a value as Python writes it, whatever its size."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return f"with more than {_SHOWN} digits"  # Python refuses to write many digits
    if isinstance(value, str):
        return repr(value[:_SHOWN] + "..." if len(value) > _SHOWN else value)
    if isinstance(value, list):
        more = ", ..." if len(value) > _SHOWN_ITEMS else ""
        return f"[{', '.join(map(brief, value[:_SHOWN_ITEMS]))}{more}]"
    return "an object" if isinstance(value, dict) else repr(value)


def names(labels: Sequence[str]) -> str:
    """The labels of a model, for a message; a model may have thousands."""
    shown = ", ".join(label[:_SHOWN] for label in labels[:_SHOWN_ITEMS])
    more = len(labels) - _SHOWN_ITEMS
    return f"{shown} and {more} more" if more > 0 else shown
