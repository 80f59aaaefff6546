"""The path of a message through the graph of a predictor.

Follows executor/predictor/predictor_process.go of Seldon Core 1.19. REST and gRPC take the same
path; what differs between them is in `Calls`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from seldon_core.proto import prediction_pb2

from ab.manifest import DEFAULT_RATIO, Part, containers
from roberta_sentiment.errors import DataError

ALL_CHILDREN = -1
NO_CHILD = -2


class PanicError(Exception):
    """Where the executor panics: REST drops the connection, gRPC ends the process."""


class GraphError(Exception):
    """A request that the executor itself refuses; the message is what the caller reads."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a graph.

    Attributes:
        name: of the node and its container.
        type: MODEL, ROUTER, or empty: a node without a container.
        host: where the container listens; empty without one.
        http_port, grpc_port: of the container.
        image: of the container, with its tag.
        ratio_a: share of child 0 of a RANDOM_ABTEST, as the manifest has it; None for other nodes.
        children: in the order of the graph.
        parameters: as the manifest has them: name, type, value.
        environment: variables of the container with their values in the manifest.
    """

    name: str
    type: str = "MODEL"
    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    image: str = ""
    ratio_a: str | None = None
    children: tuple[Node, ...] = ()
    parameters: tuple[Mapping[str, str], ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def read_graph(predictor: Part, node: Part | None = None) -> Node:
    """A node of a `spec.predictors[]`, by default its root, with the endpoints that the operator
    has added."""
    unit = predictor.get("graph", {"name": ""}) if node is None else node
    container = next((each for each in containers(predictor) if each["name"] == unit["name"]), {})
    endpoint, parameters = unit.get("endpoint") or {}, tuple(unit.get("parameters") or ())
    ratios = [str(each.get("value")) for each in parameters if each.get("name") == "ratioA"]
    # The executor reads ratioA only where it is the one parameter.
    ratio = ratios[0] if len(parameters) == len(ratios) == 1 else DEFAULT_RATIO
    return Node(
        name=unit["name"],
        type="made of methods" if unit.get("methods") else unit.get("type") or "",
        host=endpoint.get("service_host", ""),
        http_port=endpoint.get("httpPort", 0),
        grpc_port=endpoint.get("grpcPort", 0),
        image=container.get("image", ""),
        ratio_a=ratio if unit.get("implementation") == "RANDOM_ABTEST" else None,
        children=tuple(read_graph(predictor, child) for child in unit.get("children") or ()),
        parameters=parameters,
        environment={e["name"]: e["value"] for e in container.get("env") or () if "value" in e},
    )


@dataclasses.dataclass(frozen=True)
class Predictor:
    """What an executor serves.

    Attributes:
        name: of the predictor.
        graph: its root.
        deployment: name of the SeldonDeployment.
        namespace: it lives in.
        inject_routing: whether answers get `meta.routing` (SELDON_ENABLE_ROUTING_INJECTION).
        v2: whether it speaks the Open Inference Protocol, else Seldon's.

    Raises:
        DataError: the graph has a node that this stand-in does not claim to serve.
    """

    name: str
    graph: Node
    deployment: str = "deployment"
    namespace: str = "default"
    inject_routing: bool = True
    v2: bool = False

    def __post_init__(self) -> None:
        for node in self.graph.walk():
            if node.type not in (("", "MODEL") if self.v2 else ("", "MODEL", "ROUTER")):
                raise DataError(
                    f"node {node.name} is {node.type}; the stand-in executor knows MODEL, ROUTER "
                    "and RANDOM_ABTEST, in V2 no ROUTER; use Seldon's executor for other graphs"
                )

    def find(self, name: str) -> Node:
        """The node of a name, which has a container.

        Raises:
            GraphError: there is none.
        """
        for node in self.graph.walk():
            if node.name == name:
                return reachable(node)
        raise GraphError(f"Failed to find model {name}")


class Calls[Message](Protocol):
    """What a walk through the graph needs of REST or gRPC; every error of a node is raised."""

    def call(self, node: Node, method: str, message: Message) -> Message:
        """The answer of a node to `predict` or `feedback`."""

    def route(self, node: Node, message: Message) -> int:
        """The choice of a ROUTER."""

    def feedback_route(self, node: Node, message: Message) -> int:
        """Where `response.meta.routing` of a feedback leads; ALL_CHILDREN without it."""

    def with_routing(self, message: Message, routing: Mapping[str, int]) -> Message:
        """The message with `meta.routing`."""


def choice_in(message: prediction_pb2.SeldonMessage) -> int:
    """The first number in a message's data; ALL_CHILDREN where the data is of another kind.

    Raises:
        PanicError: there is no data, or it is empty.
    """
    if not message.HasField("data"):
        raise PanicError("the router's answer has no data")
    data = message.data
    try:
        if data.HasField("tensor"):
            return int(data.tensor.values[0])
        if data.HasField("ndarray"):
            first = data.ndarray.values[0]
            if first.HasField("list_value"):
                first = first.list_value.values[0]
            return int(first.number_value)
    except IndexError:
        raise PanicError("the router's answer is empty") from None
    return ALL_CHILDREN


@dataclasses.dataclass
class Traversal[Message]:
    """One message on its path through the graph.

    Attributes:
        predictor: whose graph it is.
        calls: reach the nodes.
        draw: a number from 0 to below 1, for RANDOM_ABTEST.
    """

    predictor: Predictor
    calls: Calls[Message]
    draw: Callable[[], float]

    def predict(self, message: Message) -> Message:
        """The answer of the graph."""
        routing: dict[str, int] = {}
        answer = self._predict(self.predictor.graph, message, routing)
        return self.calls.with_routing(answer, routing) if self.predictor.inject_routing else answer

    def feedback(self, message: Message) -> Message:
        """The answer to feedback: the root's, or the message itself where the root has no type."""
        return self._feedback(self.predictor.graph, message)

    def _predict(self, node: Node, message: Message, routing: dict[str, int]) -> Message:
        if node.type == "MODEL":
            routing[node.name] = ALL_CHILDREN
            message = self.calls.call(reachable(node), "predict", message)
        if not node.children:
            return message
        index = routing[node.name] = self._choose(node, message)
        if index == NO_CHILD:
            return message
        return _each(lambda child: self._predict(child, message, routing), _chosen(node, index))

    def _choose(self, node: Node, message: Message) -> int:
        if node.type == "ROUTER":
            return self.calls.route(reachable(node), message)
        if node.ratio_a is None:
            return ALL_CHILDREN
        try:
            ratio = float(node.ratio_a)
        except ValueError:
            text = f'strconv.ParseFloat: parsing "{node.ratio_a}": invalid syntax'
            raise GraphError(text) from None
        return 0 if self.draw() < ratio else 1

    def _feedback(self, node: Node, message: Message) -> Message:
        if node.children:
            chosen = _chosen(node, self.calls.feedback_route(node, message))
            _each(lambda child: self._feedback(child, message), chosen)
        if node.type in ("MODEL", "ROUTER"):
            return self.calls.call(reachable(node), "feedback", message)
        return message


def reachable(node: Node) -> Node:
    """The node, if it has a container.

    Raises:
        PanicError: it has none.
    """
    if not node.host:
        raise PanicError(f"{node.name} has no endpoint")
    return node


def _chosen(node: Node, index: int) -> Sequence[Node]:
    if index == ALL_CHILDREN:
        return node.children
    if not 0 <= index < len(node.children):
        raise PanicError(f"{node.name} has no child {index}")
    return node.children[index : index + 1]


def _each[Message](call: Callable[[Node], Message], nodes: Sequence[Node]) -> Message:
    """The first node's answer; all are asked at once, and the first error in order is raised."""
    if len(nodes) == 1:
        return call(nodes[0])
    with ThreadPoolExecutor(len(nodes)) as pool:
        first, *_ = pool.map(call, nodes)
        return first
