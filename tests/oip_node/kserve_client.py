"""What KServe's own client sees of a server, as JSON: `python kserve_client.py REST GRPC MODEL`.

It runs in `.venv-kserve`, because KServe and MLServer need different releases of FastAPI.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def ask(rest_port: str, grpc_port: str, model: str) -> dict[str, Any]:
    """Over each protocol: live, ready, the model and one that does not exist ready, the label."""
    text = InferInput("text", [1], "BYTES", data=["This film is so good"])
    base = f"http://127.0.0.1:{rest_port}"
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    grpc = InferenceGRPCClient(f"127.0.0.1:{grpc_port}")
    request = InferRequest(model_name=model, infer_inputs=[text])
    by_rest = await rest.infer(base, request, model_name=model)
    by_grpc = await grpc.infer(request)
    seen = {
        "REST": [
            await rest.is_server_live(base),
            await rest.is_server_ready(base),
            await rest.is_model_ready(base, model),
        ],
        "gRPC": [
            await grpc.is_server_live(),
            await grpc.is_server_ready(),
            await grpc.is_model_ready(model),
            await grpc.is_model_ready("other"),
        ],
        "labels": [_label(answer) for answer in (by_rest, by_grpc)],
    }
    await rest.close()
    await grpc.close()
    return seen


def _label(answer: Any) -> str:
    """The text's label; gRPC has bytes."""
    label = next(output for output in answer.outputs if output.name == "label").data[0]
    return label.decode() if isinstance(label, bytes) else str(label)


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(asyncio.run(ask(*sys.argv[1:]))))
