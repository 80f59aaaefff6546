"""From a SeldonMessage, REST or gRPC, to texts or token ids, and back."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from roberta_sentiment.errors import PayloadError
from roberta_sentiment.serving.request import (
    Options,
    check_size,
    from_base64,
    from_utf8,
    is_number,
    is_whole,
    parse_options,
    token_id,
    token_rows,
)
from roberta_sentiment.serving.wording import brief, describe
from roberta_sentiment.settings import Settings

if TYPE_CHECKING:
    from google.protobuf import struct_pb2
    from seldon_core.proto import prediction_pb2

Kind = Literal["ndarray", "tensor", "strData", "jsonData", "binData"]

_DATA_FIELDS = ("data", "strData", "jsonData", "binData")
_OTHER_FIELDS = ("meta", "status", "customData")
_LONGEST_NAME = 40
"""Characters of an unknown field's name that are compared with the known ones."""


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
    check_size(request.texts, request.ids, settings)
    return request


def _data_field(message: Mapping[str, Any]) -> str:
    for key in message:
        if key not in (*_DATA_FIELDS, *_OTHER_FIELDS):
            # A long name would take the search for a near one much time and memory.
            near = difflib.get_close_matches(str(key)[:_LONGEST_NAME], _DATA_FIELDS, n=1)
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
    if isinstance(items[0], list) and items[0] and is_number(items[0][0]):
        return Request("ndarray", ids=_parse_rows(items))
    if is_number(items[0]):
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
        parsed.append([token_id(i, j, value) for j, value in enumerate(row)])
    return parsed


def _parse_tensor(tensor: object) -> list[list[int]]:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    values = tensor.get("values") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or not isinstance(values, list):
        raise PayloadError("data.tensor needs the lists shape and values")
    if len(shape) != 2 or not all(is_whole(n) and n > 0 for n in shape):
        raise PayloadError(
            f"data.tensor has shape {brief(shape)}; token ids are rows, shape [texts, length]"
        )
    texts, length = map(int, shape)
    if texts * length != len(values):
        raise PayloadError(
            f"data.tensor has shape {[texts, length]} but {len(values)} values; "
            f"{texts * length} are needed"
        )
    return token_rows(texts, length, values)


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


def _decode(value: object) -> str:
    """The UTF-8 text in binData: bytes over gRPC, base64 over REST."""
    if isinstance(value, str):
        value = from_base64("binData", value)
    if not isinstance(value, bytes):
        raise PayloadError(f"binData is {describe(value)}; base64 of a UTF-8 text is needed")
    return from_utf8("binData", value)
