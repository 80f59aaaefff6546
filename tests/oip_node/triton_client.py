"""What Triton's gRPC client sees of a server, as JSON: `python triton_client.py PORT MODEL`.

A process of its own, because its protobuf messages have the names of MLServer's.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from tritonclient import grpc as triton


def main(port: str, model: str) -> None:
    """Ask whether it is live and ready, for the metadata, and for logits of token ids."""
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    ids = triton.InferInput("ids", [2, 3], "INT64")
    ids.set_data_from_numpy(np.array([[0, 5, 2], [0, 2, 1]]))
    asked = [triton.InferRequestedOutput("logits")]
    answer = client.infer(model, [ids], outputs=asked, priority=1, client_timeout=60)
    logits = answer.as_numpy("logits")
    seen = {
        "ready": [client.is_server_live(), client.is_server_ready(), client.is_model_ready(model)],
        "name": client.get_model_metadata(model).name,
        "logits": [str(logits.dtype), list(logits.shape)],
    }
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
