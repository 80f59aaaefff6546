"""What the files of a model directory say about the model: labels, head, padding, limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.graph.signature import Signature, read_signature
from roberta_sentiment.graph.structure import Structure, read_structure
from roberta_sentiment.model import families
from roberta_sentiment.model.heads import Head, decide_head
from roberta_sentiment.model.layout import read_json
from roberta_sentiment.settings import HeadSetting

MOST_LABELS = 1000
_TWO_LABELS = ("negative", "positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """A model, as its graph, `config.json`, `tokenizer_config.json` and manifest describe it.

    Attributes:
        path: the directory with configuration and tokenizer.
        onnx_path: the graph.
        config: `config.json`.
        manifest: `manifest.json`, empty when there is none.
    """

    path: Path
    onnx_path: Path
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def precision(self) -> str:
        """As the manifest says, else as the graph computes: "fp32", "fp16" or "int8"."""
        return str(self.manifest.get("precision") or self.structure.precision)

    @property
    def batch_invariant(self) -> bool:
        """Whether an answer does not depend on the other texts in the batch.

        Graph and manifest may both deny it; a manifest that claims it against the graph is ignored.
        """
        return not self.structure.mixes_texts and bool(self.manifest.get("batch_invariant", True))

    @cached_property
    def structure(self) -> Structure:
        """What the graph is made of.

        Raises:
            ArtifactError: the file is not a graph.
        """
        return read_structure(self.onnx_path)

    @cached_property
    def signature(self) -> Signature:
        """Inputs and output of the graph.

        Raises:
            GraphError: they are not those of a classification graph.
        """
        return read_signature(self.structure.inputs, self.structure.outputs)

    def head(self, setting: HeadSetting = "auto") -> Head:
        """How the graph's outputs become scores.

        Raises:
            StartError: configuration, graph and setting contradict each other.
        """
        activation = self.structure.ends_in(self.signature.output)
        return decide_head(setting, self.config, len(self.labels), activation)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes in the order of the output.

        From `id2label`, else `label2id`. Where config.json has neither, two classes are negative
        and positive, and others LABEL_0, LABEL_1, ..., as transformers names them.

        Raises:
            ArtifactError: the classes are not numbered 0..k-1.
            GraphError: the graph's output is not that of a classification graph.
        """
        key = "id2label" if self.config.get("id2label") else "label2id"
        given = self.config.get(key)
        if not given:
            return self._default_labels()
        if not isinstance(given, dict):
            raise ArtifactError(f"{self._where('config.json')}: {key} is not an object")
        pairs = given.items() if key == "id2label" else [(i, name) for name, i in given.items()]
        try:
            by_index = {int(index): str(label) for index, label in pairs}
            labels = tuple(by_index[i] for i in range(len(given)))
        except (KeyError, TypeError, ValueError):
            raise ArtifactError(
                f"{self._where('config.json')}: {key} must number its labels 0, 1, 2, ..."
            ) from None
        if len(labels) > MOST_LABELS:
            raise ArtifactError(
                f"{self._where('config.json')}: {key} has {len(labels)} labels; at most "
                f"{MOST_LABELS} are served"
            )
        if len(set(labels)) != len(labels):
            raise ArtifactError(f"{self._where('config.json')}: two labels of {key} are equal")
        if not all(map(str.strip, labels)) or None in given.values():
            raise ArtifactError(f"{self._where('config.json')}: a label of {key} has no name")
        return labels

    def _default_labels(self) -> tuple[str, ...]:
        configured = self._whole_number("num_labels") if self._has("num_labels") else 2
        count = self.signature.classes or configured
        return (
            _TWO_LABELS if count == len(_TWO_LABELS) else tuple(f"LABEL_{i}" for i in range(count))
        )

    @property
    def pad_token(self) -> int | None:
        """Id of the padding token; None if the model has none."""
        if not self._has("pad_token_id"):
            return families.default_pad_id(self.config)
        return self._whole_number("pad_token_id")

    @property
    def pad_id(self) -> int:
        """Id that fills rows up; a mask hides it, or rows of one length only run together."""
        return self.pad_token or 0

    @cached_property
    def vocab_size(self) -> int:
        """Rows of the word table; token ids are 0 <= id < vocab_size.

        Raises:
            ArtifactError: neither graph nor configuration says it.
        """
        rows = self.structure.word_rows(self.signature.ids)
        configured = self._whole_number("vocab_size", 1) if self._has("vocab_size") else None
        if rows is None and configured is None:
            raise ArtifactError(
                f"{self._where('config.json')} does not say vocab_size, and the graph has no word "
                "table that could be found; add it"
            )
        return min(size for size in (rows, configured) if size is not None)

    @property
    def first_position(self) -> int:
        """Position of a text's first token, for a graph that asks for `position_ids`.

        Raises:
            ArtifactError: it asks for them, and nothing says how they are numbered.
        """
        first = families.first_position(self.config, self.pad_token)
        if first is None and self.signature.positions:
            raise ArtifactError(
                f"the graph asks for {self.signature.positions}, and model_type "
                f"{families.model_type(self.config)[:40]!r} does not say how positions are "
                "numbered; export it without this input, as optimum-cli does"
            )
        return first or 0

    @property
    def position_limit(self) -> int:
        """Tokens the model takes, special tokens included.

        Raises:
            ArtifactError: nothing says it, or less than one token would be left of a text.
        """
        limit = self.known_limit
        if limit is None:
            raise ArtifactError(
                f"{self._where('config.json')}: model_type is "
                f"{families.model_type(self.config)[:40]!r}, and neither it nor a position table "
                "in the graph says how many tokens the model takes; set the parameter max_tokens"
            )
        if limit < 1:
            raise ArtifactError(
                f"{self._where('config.json')}: max_position_embeddings and pad_token_id leave "
                f"{limit} tokens for a text; correct them, or set the parameter max_tokens"
            )
        return limit

    @cached_property
    def known_limit(self) -> int | None:
        """As `position_limit`, None if nothing says it."""
        if self._has("max_position_embeddings"):
            self._whole_number("max_position_embeddings")
        rows, own = (
            self.structure.position_rows(self.signature.ids),
            self.structure.packed_positions,
        )
        limit = families.position_limit(
            self.config,
            rows=rows,
            counted=self.structure.counts_tokens,
            pad_id=self.pad_token,
            tokenizer_limit=self.tokenizer_config.get("model_max_length"),
        )
        return limit if own is None or limit is None else min(limit, own)

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """`tokenizer_config.json`, empty when there is none."""
        path = self.path / "tokenizer_config.json"
        return read_json(path) if path.exists() else {}

    def _has(self, key: str) -> bool:
        return self.config.get(key) is not None

    def _whole_number(self, key: str, least: int = 0) -> int:
        value = self.config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArtifactError(
                f"{self._where('config.json')}: {key} is {repr(value)[:60]}; a whole number from "
                f"{least} is needed"
            )
        return value

    def _where(self, name: str) -> str:
        return str(self.path / name)
