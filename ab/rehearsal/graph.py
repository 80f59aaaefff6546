"""The graph of a predictor, and the path of a message through it.

Follows executor/predictor/predictor_process.go of Seldon Core 1.19. REST and gRPC take the same
path; what differs between them is in `NodeClient`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from seldon_core.proto import prediction_pb2

from ab.errors import DataError

ALL_CHILDREN = -1
NO_CHILD = -2

_KNOWN_TYPES = ("", "MODEL", "ROUTER")
_DEFAULT_RATIO = "0.5"


class PanicError(Exception):
    """Where the executor panics: REST drops the connection, gRPC ends the process."""


class GraphError(Exception):
    """A request that the executor itself refuses; the message is what the caller reads."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        name: of the node and its container.
        type: MODEL, ROUTER, or empty: a node without a container.
        host: where the container listens; empty without one.
        http_port: REST port.
        grpc_port: gRPC port.
        image: of the container, with its tag.
        ratio_a: share of child 0 of a RANDOM_ABTEST, as the manifest has it; None for other nodes.
        children: in the order of the graph.
    """

    name: str
    type: str = "MODEL"
    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    image: str = ""
    ratio_a: str | None = None
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclasses.dataclass(frozen=True)
class Predictor:
    """What an executor serves.

    Attributes:
        name: of the predictor.
        graph: its root.
        deployment: name of the SeldonDeployment.
        namespace: it lives in.
        inject_routing: whether answers get `meta.routing` (SELDON_ENABLE_ROUTING_INJECTION).
    """

    name: str
    graph: Node
    deployment: str = "deployment"
    namespace: str = "default"
    inject_routing: bool = True

    @property
    def edge(self) -> Node:
        """The node whose inputs and outputs are the graph's: a router's are its first child's."""
        node = self.graph
        while node.type != "MODEL" and node.children:
            node = node.children[0]
        return node

    def find(self, name: str) -> Node:
        """The node of a name.

        Raises:
            GraphError: there is none.
        """
        for node in self.graph.walk():
            if node.name == name:
                return node
        raise GraphError(f"Failed to find model {name}")


def read_graph(predictor: Mapping[str, Any]) -> Node:
    """The graph of a predictor as the operator hands it to the executor.

    Args:
        predictor: a `spec.predictors[]` with the endpoints that the operator adds.

    Raises:
        DataError: it has a node that this stand-in does not claim to serve.
    """
    images = {
        container["name"]: container.get("image", "")
        for component in predictor.get("componentSpecs") or ()
        for container in component["spec"]["containers"]
    }
    return _read_node(predictor["graph"], images)


def _read_node(unit: Mapping[str, Any], images: Mapping[str, str]) -> Node:
    name, kind = unit["name"], unit.get("type") or ""
    if kind not in _KNOWN_TYPES or unit.get("methods"):
        raise DataError(
            f"node {name} is {kind or 'made of methods'}; the stand-in executor knows MODEL, "
            "ROUTER and RANDOM_ABTEST, use Seldon's executor for other graphs"
        )
    endpoint = unit.get("endpoint") or {}
    return Node(
        name=name,
        type=kind,
        host=endpoint.get("service_host", ""),
        http_port=endpoint.get("httpPort", 0),
        grpc_port=endpoint.get("grpcPort", 0),
        image=images.get(name, ""),
        ratio_a=_ratio(unit) if unit.get("implementation") == "RANDOM_ABTEST" else None,
        children=tuple(_read_node(child, images) for child in unit.get("children") or ()),
    )


def _ratio(unit: Mapping[str, Any]) -> str:
    """`ratioA`, which counts only where it is the one parameter."""
    parameters = unit.get("parameters") or []
    if len(parameters) == 1 and parameters[0]["name"] == "ratioA":
        return str(parameters[0]["value"])
    return _DEFAULT_RATIO


class NodeClient[Message](Protocol):
    """What a walk through the graph needs of REST or gRPC; every error of a node is raised."""

    def predict(self, node: Node, message: Message) -> Message:
        """The answer of a MODEL."""

    def route(self, node: Node, message: Message) -> int:
        """The choice of a ROUTER."""

    def send_feedback(self, node: Node, message: Message) -> Message:
        """The answer of a MODEL or ROUTER to feedback."""

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


class Traversal[Message]:
    """One message on its path through the graph.

    Args:
        predictor: whose graph it is.
        calls: reach the nodes.
        draw: a number from 0 to below 1, for RANDOM_ABTEST.
    """

    def __init__(
        self, predictor: Predictor, calls: NodeClient[Message], draw: Callable[[], float]
    ) -> None:
        self._predictor, self._calls, self._draw = predictor, calls, draw
        self._routing: dict[str, int] = {}

    def predict(self, message: Message) -> Message:
        """The answer of the graph."""
        answer = self._predict(self._predictor.graph, message)
        if self._predictor.inject_routing:
            return self._calls.with_routing(answer, self._routing)
        return answer

    def feedback(self, message: Message) -> Message:
        """The answer to feedback: the root's, or the message itself where the root has no type."""
        return self._feedback(self._predictor.graph, message)

    def _predict(self, node: Node, message: Message) -> Message:
        if node.type == "MODEL":
            self._routing[node.name] = ALL_CHILDREN
            message = self._calls.predict(_reachable(node), message)
        if not node.children:
            return message
        index = self._choose(node, message)
        self._routing[node.name] = index
        if index == NO_CHILD:
            return message
        answers = _each(self._predict, _chosen(node, index), message)
        return answers[0]

    def _choose(self, node: Node, message: Message) -> int:
        if node.type == "ROUTER":
            return self._calls.route(_reachable(node), message)
        if node.ratio_a is None:
            return ALL_CHILDREN
        try:
            ratio = float(node.ratio_a)
        except ValueError:
            text = f'strconv.ParseFloat: parsing "{node.ratio_a}": invalid syntax'
            raise GraphError(text) from None
        return 0 if self._draw() < ratio else 1

    def _feedback(self, node: Node, message: Message) -> Message:
        if node.children:
            index = self._calls.feedback_route(node, message)
            _each(self._feedback, _chosen(node, index), message)
        if node.type in ("MODEL", "ROUTER"):
            return self._calls.send_feedback(_reachable(node), message)
        return message


def _reachable(node: Node) -> Node:
    if not node.host:
        raise PanicError(f"{node.name} has no endpoint")
    return node


def _chosen(node: Node, index: int) -> Sequence[Node]:
    if index == ALL_CHILDREN:
        return node.children
    if not 0 <= index < len(node.children):
        raise PanicError(f"{node.name} has no child {index}")
    return node.children[index : index + 1]


def _each[Message](
    call: Callable[[Node, Message], Message], nodes: Sequence[Node], message: Message
) -> list[Message]:
    """The answers of all nodes, asked at once; the first error in their order is raised."""
    if len(nodes) == 1:
        return [call(nodes[0], message)]
    with ThreadPoolExecutor(len(nodes)) as pool:
        return [future.result() for future in [pool.submit(call, n, message) for n in nodes]]
