"""The real microservice as a process on free ports, and how to talk to it."""

from __future__ import annotations

import json
from typing import Any

import grpc
import requests
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc

from scripts.local_service import Microservice, free_ports
from scripts.serve import image_environment
from tests.metrics_page import total
from tests.rehearsal import kubelet

__all__ = ["Service", "free_ports"]


class Service(Microservice):
    """A microservice process, in the environment that the kubelet makes of deployment.yaml.

    Args:
        interface: class to serve, as in MODEL_NAME.
        environment: variables beside those of the image.
    """

    def __init__(self, interface: str = "Model", **environment: str) -> None:
        recorded = kubelet.recorded()
        image = {
            **recorded["kubernetes"],
            **recorded["deployment.yaml"],
            **image_environment(),
            "MODEL_NAME": interface,
        }
        super().__init__(image, environment)

    def post(self, body: Any, path: str = "/api/v1.0/predictions") -> requests.Response:
        """POST a JSON body."""
        headers = {"Content-Type": "application/json"}
        return requests.post(self.url(path), data=json.dumps(body), headers=headers, timeout=60)

    def post_status(self, body: Any) -> int:
        """HTTP status of a POST, 0 if nothing answers."""
        try:
            return self.post(body).status_code
        except requests.RequestException:
            return 0

    def stub(self) -> prediction_pb2_grpc.SeldonStub:
        """A gRPC client; messages of any size may pass."""
        channel = grpc.insecure_channel(
            f"127.0.0.1:{self.grpc}", options=[("grpc.max_send_message_length", -1)]
        )
        return prediction_pb2_grpc.SeldonStub(channel)

    def predict(self, message: prediction_pb2.SeldonMessage) -> prediction_pb2.SeldonMessage:
        """Predict over gRPC."""
        return self.stub().Predict(message, timeout=60)

    def counter(self, name: str, **labels: str) -> float:
        """Sum of a counter over every label that is not given."""
        return total(self.scrape(), name, **labels)
