"""From the events of a log to the lines of a record: requests joined with their answers."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ab.attribution import Attribution, Graph
from ab.data import features, fingerprint
from ab.events import BAD_ANSWER, Request, truth
from ab.imported.log_events import LogEvent
from ab.imported.payloads import answers_of, tags_of, texts_of, truths_of
from ab.record import Event
from ab.transport.reply import Outcome
from ab.wire import Answer, BadAnswer, Message, read_answer
from roberta_sentiment.errors import DataError

NO_ANSWER = "the log holds no answer: refused, failed, or its event was lost"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importer:
    """Turns events into lines.

    Attributes:
        graph: the models; a name is that of a node, of a predictor, or what an answer calls itself.
        labels: names of the classes.
        label_map: what other names in answers and truths stand for.
        deployment: to import; empty: the only one there is.
        keep_texts: whether lines hold the texts.
        counts: what was seen that became no answer, for people.
    """

    graph: Graph
    labels: Sequence[str]
    label_map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    deployment: str = ""
    keep_texts: bool = False
    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    def lines(
        self, events: Iterable[LogEvent | None], known: Iterable[str] = ()
    ) -> Iterator[Event]:
        """The lines of a log, in the order in which its requests ended.

        Args:
            events: in any order, some perhaps twice, some lost; None for what is no event.
            known: ids of requests that the record holds already.

        Raises:
            DataError: they come from several deployments.
        """
        earlier = frozenset(known)
        seen, recorded = self._ours(events), set(earlier)
        groups: dict[str, list[LogEvent]] = defaultdict(list)
        for event in seen:
            groups[event.request].append(event)
        made: dict[str, list[Event]] = {}
        for name, group in groups.items():
            if any(event.kind != "feedback" for event in group):
                recorded.add(name)
                if name in earlier:
                    self.counts["requests that the record has"] += 1
                else:
                    made[name] = [line.event() for line in self._requests(name, group)]
        yield from sorted((e for each in made.values() for e in each), key=lambda e: str(e["time"]))
        for event in seen:
            if event.kind == "feedback":
                yield from self._truths(event, recorded)

    def _ours(self, events: Iterable[LogEvent | None]) -> list[LogEvent]:
        """Events of the deployment, and of the predictors that are named as models if any is."""
        found = list(events)
        latest_first = sorted(filter(None, found), key=lambda e: e.time, reverse=True)
        once = {(e.kind, e.request, e.predictor, e.node): e for e in latest_first}
        seen = sorted(once.values(), key=lambda e: e.time)
        self.counts["other events"] += found.count(None)
        self.counts["events that came twice"] += len(found) - found.count(None) - len(seen)
        deployments = {event.deployment for event in seen}
        if len(deployments) > 1 and not self.deployment:
            names = ", ".join(sorted(deployments))
            raise DataError(f"the log is of several deployments ({names}); name one: --deployment")
        ours = [e for e in seen if self.deployment in ("", e.deployment)]
        predictors = {event.predictor for event in ours} & {*self.graph.names}
        kept = [e for e in ours if not predictors or e.predictor in predictors]
        self.counts["events of other predictors or deployments"] += len(seen) - len(kept)
        return kept

    def _requests(self, name: str, group: Sequence[LogEvent]) -> Iterator[Request]:
        """One line a text. What entered first was asked, and what left last was answered, where
        several nodes of a graph log."""
        asked = next((e for e in group if e.kind == "request"), None)
        answered = next((e for e in reversed(group) if e.kind == "response"), None)
        answers = answers_of(answered.message) if answered else []
        texts = texts_of(asked.message) if asked else []
        texts = texts + [None] * (len(answers) - len(texts)) or [None]
        self.counts["answers whose request was lost"] += asked is None
        self.counts["requests without an answer"] += answered is None
        first, last = (asked or group[0]).time, (answered or group[-1]).time
        for i, text in enumerate(texts):
            message = answers[i] if i < len(answers) else None
            answer, why = self._read(message)
            found = self._attribute(group, answer)
            outcome = Outcome.ANSWERED if answer else BAD_ANSWER if answered else Outcome.FAILED
            failed = {"outcome": str(outcome), "status": "", "detail": why, "model": found.model}
            yield Request(
                time=_iso(last),
                id=name if len(texts) == 1 else f"{name}#{i}",
                puid=name,
                sha256="" if text is None else fingerprint(text),
                text=text if self.keep_texts else None,
                outcome=str(outcome),
                detail=why,
                latency_s=round(last - first, 6) if asked and answered else None,
                waited_s=round(last - first, 6),
                model=found.model if answer else None,
                by=found.by,
                features={} if text is None else features(text),
                request_tags=tags_of(asked.message) if asked else {},
                failed=[] if answer else [failed],
                **(answer.recorded if answer else {}),
            )

    def _read(self, message: Message | None) -> tuple[Answer | None, str]:
        if message is None:
            return None, NO_ANSWER
        try:
            return read_answer(message, self.labels, label_map=self.label_map), ""
        except BadAnswer as error:
            return None, str(error)

    def _attribute(self, group: Sequence[LogEvent], answer: Answer | None) -> Attribution:
        """By the predictor or node whose log it is, else by what the answer says."""
        for by in ("predictor", "node"):
            named = {getattr(event, by) for event in group} & {*self.graph.names}
            if len(named) == 1:
                return Attribution(named.pop(), by)
        return self.graph.attribute(answer) if answer else Attribution(None, "no answer")

    def _truths(self, event: LogEvent, recorded: set[str]) -> Iterator[Event]:
        """The truths of a feedback whose puid is that of a request."""
        parts = (event.message.get(part) for part in ("response", "request"))
        metas = [part["meta"] for part in parts if isinstance(part, dict) and "meta" in part]
        puids = [*(meta.get("puid") for meta in metas if isinstance(meta, dict)), event.request]
        name = next((puid for puid in puids if puid in recorded), None)
        labels = truths_of(event.message, self.labels, self.label_map)
        self.counts["feedback without a known request"] += name is None
        for i, label in enumerate(labels if name else []):
            if label is not None:
                identity = str(name) if len(labels) == 1 else f"{name}#{i}"
                yield truth(_iso(event.time), identity, label)


def _iso(time: float) -> str:
    moment = datetime.datetime.fromtimestamp(time, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
