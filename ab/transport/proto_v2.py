"""Messages of the Open Inference Protocol over gRPC, as far as they are used here.

Built from this table, because every package that has them pins another protobuf than Seldon's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

INFER = "/inference.GRPCInferenceService/ModelInfer"

_MESSAGES = {
    "Contents": "fp32_contents=6*float fp64_contents=7*double bytes_contents=8*bytes",
    "Tensor": "name=1string datatype=2string shape=3*int64 contents=5Contents",
    "Parameter": "bool_param=1bool int64_param=2int64 string_param=3string",
    "ParametersEntry": "key=1string value=2Parameter",
    "Request": "model_name=1string model_version=2string id=3string "
    "parameters=4*ParametersEntry inputs=5*Tensor raw_input_contents=7*bytes",
    "Response": "model_name=1string model_version=2string id=3string "
    "parameters=4*ParametersEntry outputs=5*Tensor raw_output_contents=6*bytes",
}
_NUMBERS = {"FP32": "<f4", "FP64": "<f8"}


def _classes() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="v2.proto", package="v2", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for each in fields.split():
            key, _, rest = each.partition("=")
            label = field.LABEL_REPEATED if "*" in rest else field.LABEL_OPTIONAL
            number, kind = int(rest[0]), rest[1:].lstrip("*")
            made = message.field.add(name=key, number=number, label=label)
            if kind in _MESSAGES:
                made.type, made.type_name = field.TYPE_MESSAGE, f".v2.{kind}"
            else:
                made.type = field.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v2.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _classes()


def request(message: dict[str, Any], model: str, version: str) -> bytes:
    """A request in its JSON form, serialized.

    Args:
        message: with texts only.
        model, version: of the model that is asked for.
    """
    made = _CLASSES["Request"](id=message["id"], model_name=model, model_version=version)
    for tensor in message["inputs"]:
        texts = [text.encode("utf-8", "surrogatepass") for text in tensor["data"]]
        contents = _CLASSES["Contents"](bytes_contents=texts)
        made.inputs.add(name=tensor["name"], datatype="BYTES", shape=[1], contents=contents)
    return bytes(made.SerializeToString())


def read_request(data: bytes) -> dict[str, Any]:
    """The JSON form of a request."""
    request = _CLASSES["Request"].FromString(data)
    tensors = _tensors(request.inputs, request.raw_input_contents)
    return {"id": request.id, "parameters": _parameters(request), "inputs": tensors}


def response(data: bytes) -> dict[str, Any]:
    """The JSON form of an answer."""
    answer = _CLASSES["Response"].FromString(data)
    return {
        "id": answer.id,
        "model_name": answer.model_name,
        "model_version": answer.model_version,
        "parameters": _parameters(answer),
        "outputs": _tensors(answer.outputs, answer.raw_output_contents),
    }


def _parameters(message: Any) -> dict[str, Any]:
    return {p.key: v for p in message.parameters for _, v in p.value.ListFields()}


def _tensors(tensors: Any, raw: Any) -> list[dict[str, Any]]:
    """Tensors that come typed, or raw beside the message."""
    return [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "data": _values(tensor.datatype, tensor.contents, raw[i] if raw else None),
        }
        for i, tensor in enumerate(tensors)
    ]


def _values(datatype: str, contents: Any, raw: bytes | None) -> list[Any]:
    """Numbers as floats, BYTES as texts, nothing for other types."""
    if datatype in _NUMBERS and raw is not None:
        return [float(value) for value in np.frombuffer(raw, _NUMBERS[datatype])]
    if datatype in _NUMBERS:
        return list(contents.fp32_contents or contents.fp64_contents)
    texts = list(contents.bytes_contents)
    while datatype == "BYTES" and raw:
        size = int.from_bytes(raw[:4], "little")
        texts, raw = [*texts, raw[4 : 4 + size]], raw[4 + size :]
    return [text.decode("utf-8", "replace") for text in texts]
