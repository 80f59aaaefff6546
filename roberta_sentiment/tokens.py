"""From texts to token ids: byte-level BPE, special tokens, truncation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from tokenizers import Tokenizer, models

from roberta_sentiment.artifact import Artifact
from roberta_sentiment.errors import ArtifactError, TextError, TextTooLongError
from roberta_sentiment.settings import Truncation

_WORDS_KEPT = 300
"""Words whose tokens the library keeps for each thread. Its own 10,000 are 2 MB a thread."""


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedText:
    """Token ids of one text, ready for the model.

    Attributes:
        windows: one list of ids per piece that the model sees, special tokens included; one piece
            unless truncation is "windows" and the text is long.
        tokens: length of the whole text in tokens, special tokens included.
        truncated: whether the model sees less than the whole text.
    """

    windows: tuple[list[int], ...]
    tokens: int
    truncated: bool


class RobertaTokenizer:
    """The tokenizer of a model directory, with the model's limits.

    Args:
        tokenizer: byte-level BPE whose post-processor adds the special tokens.
        limit: tokens the model takes, special tokens included.
        overlap: tokens that neighbouring windows share.
    """

    def __init__(self, tokenizer: Tokenizer, *, limit: int, overlap: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._prefix, self._suffix = _special_tokens(tokenizer)
        self._body = limit - len(self._prefix) - len(self._suffix)
        self._overlap = min(overlap, self._body - 1)
        self.limit = limit

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, texts: Sequence[str], truncation: Truncation) -> list[TokenizedText]:
        """Tokenize texts.

        Args:
            texts: n texts.
            truncation: what to do with a text over the limit.

        Returns:
            n tokenized texts, in the same order.

        Raises:
            TextError: a text is not valid Unicode.
            TextTooLongError: truncation is "error" and a text is over the limit.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:
            raise _unreadable(texts) from None
        return [self._fit(i, e.ids, truncation) for i, e in enumerate(encodings)]

    def _fit(self, position: int, ids: list[int], truncation: Truncation) -> TokenizedText:
        tokens = len(self._prefix) + len(ids) + len(self._suffix)
        if len(ids) <= self._body:
            return TokenizedText((self._framed(ids),), tokens, False)
        if truncation == "error":
            raise TextTooLongError(position, tokens, self.limit)
        if truncation == "windows":
            return TokenizedText(tuple(map(self._framed, self._windows(ids))), tokens, False)
        return TokenizedText((self._framed(self._cut(ids, truncation)),), tokens, True)

    def _framed(self, ids: list[int]) -> list[int]:
        return [*self._prefix, *ids, *self._suffix]

    def _cut(self, ids: list[int], truncation: Truncation) -> list[int]:
        if truncation == "start":
            return ids[-self._body :]
        if truncation == "middle":
            head = (self._body + 1) // 2
            tail = self._body - head
            return ids[:head] + ids[len(ids) - tail :]
        return ids[: self._body]

    def _windows(self, ids: list[int]) -> list[list[int]]:
        """Cut ids into overlapping windows of full length; the last one ends with the text."""
        step = self._body - self._overlap
        starts = [*range(0, len(ids) - self._body, step), len(ids) - self._body]
        return [ids[start : start + self._body] for start in starts]


def load_tokenizer(artifact: Artifact, *, max_tokens: int, overlap: int) -> RobertaTokenizer:
    """Load the tokenizer of a model directory.

    `tokenizer.json` is read by the tokenizers library at once. A directory without it (vocab.json
    and merges.txt), or whose tokenizer_config.json asks for another add_prefix_space, goes through
    transformers, which starts slower and gives the same object.

    Args:
        artifact: the model directory.
        max_tokens: limit set by the user, 0 for the model's own.
        overlap: tokens that neighbouring windows share.

    Raises:
        ArtifactError: the files are damaged, or do not fit the model.
    """
    limit = artifact.position_limit
    if max_tokens > limit:
        raise ArtifactError(f"max_tokens is {max_tokens}, but the model takes {limit} tokens")
    loaded = RobertaTokenizer(_read_backend(artifact), limit=max_tokens or limit, overlap=overlap)
    if loaded.vocab_size > artifact.vocab_size:
        raise ArtifactError(
            f"the tokenizer in {artifact.path} knows {loaded.vocab_size} tokens, but the model "
            f"has {artifact.vocab_size}: tokenizer and model do not belong together"
        )
    return loaded


def _read_backend(artifact: Artifact) -> Tokenizer:
    path = artifact.path / "tokenizer.json"
    try:
        if path.exists() and not _prefix_space_differs(artifact):
            backend = Tokenizer.from_file(str(path))
        else:
            backend = _through_transformers(artifact)
        if isinstance(backend.model, (models.BPE, models.Unigram)):  # the others keep no words
            backend.model._resize_cache(_WORDS_KEPT)
        return backend
    except Exception as error:  # the tokenizers library raises plain Exception
        raise ArtifactError(f"the tokenizer in {artifact.path} can't be read: {error}") from error


def _prefix_space_differs(artifact: Artifact) -> bool:
    config_path = artifact.path / "tokenizer_config.json"
    if not config_path.exists():
        return False
    wanted = json.loads(config_path.read_text(encoding="utf-8")).get("add_prefix_space")
    stored = json.loads((artifact.path / "tokenizer.json").read_text(encoding="utf-8"))
    pre_tokenizer = stored.get("pre_tokenizer") or {}
    return wanted is not None and pre_tokenizer.get("add_prefix_space", wanted) != wanted


def _through_transformers(artifact: Artifact) -> Tokenizer:
    from transformers import RobertaTokenizerFast

    loaded = RobertaTokenizerFast.from_pretrained(artifact.path, local_files_only=True)
    backend: Tokenizer = loaded.backend_tokenizer
    return backend


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids that the post-processor puts before and after a text.

    Raises:
        ArtifactError: it adds none, so the file is not a RoBERTa tokenizer's.
    """
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a", add_special_tokens=True).ids
    added = len(framed) - len(bare)
    for start in range(added + 1):
        if added and framed[start : start + len(bare)] == bare:
            return framed[:start], framed[start + len(bare) :]
    raise ArtifactError(
        "the tokenizer adds no <s> and </s> around a text; its post-processor is missing"
    )


def _unreadable(texts: Sequence[str]) -> TextError:
    for position, text in enumerate(texts):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return TextError(
                f"text {position} holds a lone surrogate at character {error.start}; "
                "send valid Unicode"
            )
    return TextError("a text can't be read as Unicode")
