"""From V2 tensors to texts or token ids, and from predictions back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from mlserver.codecs import StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    Parameters,
    RequestInput,
    RequestOutput,
    ResponseOutput,
)

from roberta_sentiment.errors import OptionError, PayloadError
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions
from roberta_sentiment.serving.request import (
    Options,
    check_output,
    check_size,
    from_base64,
    from_utf8,
    parse_options,
    token_rows,
)
from roberta_sentiment.serving.wording import brief, describe
from roberta_sentiment.settings import Output, Settings

_INTEGERS = tuple(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_FLOATS = {"FP32": np.float32, "FP64": np.float64}
_OF_THE_PROTOCOL = (
    *("content_type", "headers", "binary_data", "binary_data_output", "priority", "timeout"),
    *("sequence_id", "sequence_start", "sequence_end"),
)
"""Parameters that V2 clients and MLServer send with any request."""
_OTHER_TENSORS = ("attention_mask", "token_type_ids", "position_ids")
"""Numbers that a tokenizer gives beside the ids; taken for ids they would be scored, too."""


@dataclasses.dataclass(frozen=True)
class RequestedOutput:
    """An output tensor of the answer: its name, and FP32, FP64 or the scores' own type."""

    name: Output
    datatype: str | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """A request, checked.

    Attributes:
        texts: n texts, empty when the caller sent ids.
        ids: n rows of token ids, empty when the caller sent texts.
        options: of this request.
        outputs: tensors of the answer, in their order.
    """

    texts: list[str]
    ids: list[list[int]]
    options: Options
    outputs: tuple[RequestedOutput, ...]


def parse(message: InferenceRequest, settings: Settings, head: Head) -> Request:
    """Read and check a request; several inputs are one batch, in their order.

    Args:
        message: its inputs are BYTES `[n]` or `[n, 1]`, texts, or integers `[n, length]`, ids.
        settings: the limits.
        head: what scores the model gives.

    Raises:
        RequestError: with the first position that is wrong, the reason and the limit.
    """
    options = parse_options(_own_parameters(message.parameters))
    outputs = _asked(message, options, head)
    if not message.inputs:
        raise PayloadError("the request has no inputs; send a BYTES tensor of texts")
    texts: list[str] = []
    ids: list[list[int]] = []
    for tensor in message.inputs:
        _check_parameters(tensor)
        if tensor.datatype == "BYTES":
            texts += _texts(tensor, len(texts))
        elif tensor.datatype in _INTEGERS:
            ids += _rows(tensor, len(ids))
        else:
            raise PayloadError(
                f"input {brief(tensor.name)} has the datatype {brief(tensor.datatype)}; BYTES "
                "(texts) or INT64 (token ids) is needed"
            )
    if texts and ids:
        raise PayloadError("the inputs hold texts and token ids; send one of them")
    check_size(texts, ids, settings)
    return Request(texts, ids, options, outputs)


def _own_parameters(parameters: Parameters | None) -> dict[str, Any]:
    """What a request's parameters say to this model."""
    given = {} if parameters is None else dict(parameters)
    return {name: value for name, value in given.items() if name not in _OF_THE_PROTOCOL}


def _check_parameters(tensor: RequestInput | RequestOutput, *known: str) -> None:
    for name in _own_parameters(tensor.parameters):
        if name not in known:
            hint = f"known are {', '.join(known)}" if known else "options belong to the request"
            raise OptionError(f"unknown parameter {brief(name)} of {brief(tensor.name)}; {hint}")


def _asked(message: InferenceRequest, options: Options, head: Head) -> tuple[RequestedOutput, ...]:
    scores: Output = "probabilities"
    if message.outputs:
        asked = tuple(map(_named, message.outputs))
    elif "output" in _own_parameters(message.parameters) or head.is_regression:
        asked = (RequestedOutput(options.output),)
    else:
        asked = (RequestedOutput(scores), RequestedOutput("label"))
    for output in asked:
        check_output(output.name, head)
    names = [output.name for output in asked]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"the output {name} is asked for twice")
    return (
        asked if options.top_k is None or "label" in names else (*asked, RequestedOutput("label"))
    )


def _named(output: RequestOutput) -> RequestedOutput:
    _check_parameters(output, "datatype")
    datatype = _own_parameters(output.parameters).get("datatype")
    if datatype is not None and (output.name == "label" or datatype not in _FLOATS):
        raise OptionError(
            f"the datatype of {brief(output.name)} is {describe(datatype)}; allowed are "
            f"{'BYTES' if output.name == 'label' else ', '.join(_FLOATS)}"
        )
    if output.name not in get_args(Output):
        raise OptionError(
            f"output is {describe(output.name)}; allowed are {', '.join(get_args(Output))}"
        )
    return RequestedOutput(output.name, datatype)


def _texts(tensor: RequestInput, start: int) -> list[str]:
    """The texts of a tensor; `start` are before it in the request."""
    shape = list(tensor.shape)
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise PayloadError(
            f"input {brief(tensor.name)} has shape {brief(shape)}; texts have shape [n] or [n, 1]"
        )
    content_type = getattr(tensor.parameters, "content_type", None)
    if content_type not in (None, "str", "base64"):
        raise PayloadError(
            f"input {brief(tensor.name)} has the content_type {brief(content_type)}; allowed are "
            "str, base64"
        )
    is_base64 = content_type == "base64"
    return [_text(start + i, item, is_base64) for i, item in enumerate(_flat(tensor, shape))]


def _text(position: int, item: Any, is_base64: bool) -> str:
    name = f"text {position}"
    if is_base64 and isinstance(item, (str, bytes)):
        item = from_base64(name, item)
    # check_size looks at the type of what is neither bytes nor text
    return from_utf8(name, item) if isinstance(item, bytes) else item


def _rows(tensor: RequestInput, start: int) -> list[list[int]]:
    """The rows of token ids of a tensor; `start` are before it in the request."""
    if tensor.name in _OTHER_TENSORS:
        raise PayloadError(
            f"input {tensor.name} is not understood here; leave it out, and pad the token ids with "
            "the pad id"
        )
    shape = list(tensor.shape)
    if len(shape) != 2:
        raise PayloadError(
            f"input {brief(tensor.name)} has shape {brief(shape)}; token ids are rows, shape "
            "[texts, length]"
        )
    return token_rows(shape[0], shape[1], _flat(tensor, shape), start)


def _flat(tensor: RequestInput, shape: list[int]) -> list[Any]:
    """A tensor's values row by row; REST may nest them as the shape says."""
    name, data = brief(tensor.name), tensor.data.root
    if not isinstance(data, list):
        raise PayloadError(f"the data of input {name} is {describe(data)}; a list is needed")
    if len(shape) == 2 and any(isinstance(row, list) for row in data):
        for i, row in enumerate(data):
            if not isinstance(row, list) or len(row) != shape[1]:
                found = f"{len(row)} values" if isinstance(row, list) else describe(row)
                raise PayloadError(f"input {name} has shape {brief(shape)}, but row {i} is {found}")
        data = [value for row in data for value in row]
    needed = math.prod(shape)
    if min(shape) < 1 or needed != len(data):
        raise PayloadError(
            f"input {name} has shape {brief(shape)} but {len(data)} values; {brief(needed)} are "
            "needed"
            if needed > 0
            else f"input {name} has shape {brief(shape)}; send at least one text"
        )
    return data


def build(
    request: Request,
    predictions: Predictions,
    *,
    name: str,
    version: str,
    facts: Mapping[str, object],
) -> InferenceResponse:
    """The answer.

    Args:
        request: says which tensors it has.
        predictions: for the n texts of the request.
        name: of the model in its server.
        version: of the model.
        facts: about the answer; what is neither text, number nor boolean is written as JSON,
            because V2 over gRPC has no other parameters.
    """
    order = None
    if request.options.top_k is not None:
        order = np.argsort(-predictions.logits, axis=1, kind="stable")[:, : request.options.top_k]
    parameters = {
        key: value if isinstance(value, (str, int)) else json.dumps(value)
        for key, value in facts.items()
    }
    return InferenceResponse(
        model_name=name,
        model_version=version,
        parameters=Parameters(**parameters),
        outputs=[
            tensor for asked in request.outputs for tensor in _tensors(asked, predictions, order)
        ],
    )


def _tensors(
    asked: RequestedOutput, predictions: Predictions, order: npt.NDArray[np.intp] | None
) -> Iterable[ResponseOutput]:
    """An output of the answer; `order` are the columns of the best scores of each text."""
    if asked.name != "label":
        values: npt.NDArray[Any] = (
            predictions.logits if asked.name == "logits" else predictions.probabilities
        )
        values = values if order is None else np.take_along_axis(values, order, axis=1)
        datatype = asked.datatype or ("FP32" if asked.name == "logits" else "FP64")
        data = values.astype(_FLOATS[datatype]).ravel().tolist()
        yield ResponseOutput(
            name=asked.name, shape=list(values.shape), datatype=datatype, data=data
        )
    elif order is not None:
        ranked = [predictions.labels[column] for column in order.ravel()]
        yield _labels("label", ranked, list(order.shape))
    else:
        yield _labels("label", predictions.best)
        if predictions.head.multi_label:
            yield _labels("labels", list(map(json.dumps, predictions.chosen)))


def _labels(name: str, labels: list[str], shape: list[int] | None = None) -> ResponseOutput:
    output = StringCodec.encode_output(name, labels)
    output.shape = shape or [len(labels)]
    return output
