"""Our rules: what a stopping pod still does, in seconds after its deletion."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from seldon_node.supervisor import GRACE_S, KILL_S
from tests.manifests.document import (
    EXECUTOR,
    Fields,
    brings_executor,
    containers,
    graph_containers,
    has_executor,
    pod_containers,
    pods,
    predictors,
)

TIMEOUTS = ("seldon.io/rest-timeout", "seldon.io/grpc-timeout")
SELDONS_GRACE_S = 20
IMAGE_DELAY_S = 10
"""The delay in the image of deploy/executor, which a cluster may inject into any pod."""

RESERVE_S = 5
_UNITS = {"ms": 0.001, "s": 1, "m": 60}


@dataclasses.dataclass(frozen=True)
class Executor:
    """How an executor stops.

    Attributes:
        delay_s: it takes new requests for so long.
        graceful_s: what runs in it then has so long.
    """

    delay_s: float
    graceful_s: float


INJECTED = Executor(0, 15)


def executor_of(predictor: Fields) -> Executor:
    """The executor of a predictor that has one."""
    own = next((c for c in containers(predictor) if c.get("name") == EXECUTOR), None)
    if own is None:
        return INJECTED
    given = arguments(own)
    return Executor(
        duration_s(given.get("shutdown_delay")) or INJECTED.delay_s,
        duration_s(given.get("graceful_timeout")) or INJECTED.graceful_s,
    )


def arguments(container: Fields) -> dict[str, str]:
    """The options of an executor's command line, without their dashes."""
    words, found = list(map(str, container.get("args") or [])), {}
    for index, word in enumerate(words):
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            follower = words[index + 1] if index + 1 < len(words) else ""
            found[name] = value if equals else "" if follower.startswith("-") else follower
    return found


def duration_s(text: str | None) -> float | None:
    """Seconds of a Go duration with one unit, None for anything else."""
    found = re.fullmatch(r"(\d+)(ms|s|m)", text or "")
    return int(found[1]) * _UNITS[found[2]] if found else None


def prestop_seconds(container: Fields) -> int:
    """How long preStop sleeps, 0 if it does not."""
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    found = re.search(r"sleep (\d+)", " ".join((hook.get("exec") or {}).get("command", [])))
    return int(found[1]) if found else 0


def granted_s(predictor: Fields) -> float:
    """What every accepted request has at least, whenever the pod is deleted."""
    if not has_executor(predictor):
        return GRACE_S
    executor = executor_of(predictor)
    names = {c.get("name") for c in pod_containers(pods(predictor)[0])} - {EXECUTOR}
    sleeps = [prestop_seconds(c) for c in containers(predictor) if c.get("name") in names]
    return min([executor.graceful_s, *(s + GRACE_S - executor.delay_s for s in sleeps)])


def timeouts_are_granted(document: Fields) -> Iterator[str]:
    """A request may run as long as its timeout says, also in a stopping pod."""
    for predictor in predictors(document):
        annotations = {
            **(document["spec"].get("annotations") or {}), **(predictor.get("annotations") or {}),
        }  # fmt: skip
        granted = granted_s(predictor)
        for key in TIMEOUTS:
            value = str(annotations.get(key, "inf"))
            if value == "inf" or (value.isdigit() and int(value) > granted * 1000):
                yield f"{key} is {value} ms, a pod that stops grants {granted:.0f} s"


def prestop_outlasts_the_executor(document: Fields) -> Iterator[str]:
    """Until its delay is over the executor brings new requests to the node."""
    for predictor, _, container in graph_containers(document):
        if has_executor(predictor):
            own = brings_executor(predictor)
            delay = executor_of(predictor).delay_s if own else IMAGE_DELAY_S
            if prestop_seconds(container) <= delay:
                yield (
                    f"{container['name']} sleeps {prestop_seconds(container)} s in preStop, its "
                    f"executor may take requests for {delay:.0f} s"
                )


def grace_covers_the_end(document: Fields) -> Iterator[str]:
    """preStop, then what is running, then a reserve; else the kubelet kills what still runs."""
    for predictor, pod, container in graph_containers(document):
        grace = pod["spec"].get("terminationGracePeriodSeconds", SELDONS_GRACE_S)
        pause = prestop_seconds(container)
        end = pause + KILL_S
        if has_executor(predictor):
            end = max(end, sum(dataclasses.astuple(executor_of(predictor))))
        if not pause or grace < end + RESERVE_S:
            yield f"{container['name']}: grace {grace} s, preStop {pause} s, end {end:.0f} s"


RULES = (timeouts_are_granted, prestop_outlasts_the_executor, grace_covers_the_end)
