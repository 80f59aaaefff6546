"""From texts to token ids: the tokenizer, special tokens, truncation."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from roberta_sentiment.errors import (
    ArtifactError,
    InferenceError,
    TextError,
    TextTooLargeError,
    TextTooLongError,
    TooManyTokensError,
    TooManyWindowsError,
    first_line,
)
from roberta_sentiment.model import families
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.settings import SpecialTokens, Truncation
from roberta_sentiment.text.budget import Budget
from roberta_sentiment.text.long_texts import IDEOGRAPHS, PUNCTUATION, SPACE, LongTexts, Part

WHOLE_BYTES = 131_072
"""UTF-8 bytes of the longest text that is always encoded as a whole, for an exact count."""
_MOST_BYTES = 2**21
"""UTF-8 bytes of the longest text that is encoded as a whole where no part of it decides."""
_CHARACTERS_AT_ONCE = 262_144
"""Characters that all threads encode at once; each takes up to 600 bytes while it is encoded."""
_CHARACTERS_AT_ANY_TIME = 4_096
"""Characters of a request that waits for no other."""
_MOST_BYTES_A_CHARACTER = 4
_LONGEST_TOKEN = 128
"""Characters; vocabularies hold a few longer tokens, of one sign repeated."""
_BETWEEN_WORDS = {IDEOGRAPHS: "\u4e00\u4e00", PUNCTUATION: "a,"}
"""Positions between two words, with a text that shows whether a tokenizer splits there."""
_WORDS_KEPT = 300
"""Words whose tokens the library keeps for each thread. Its own 10,000 are 2 MB a thread."""
_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Settings of BERT's normaliser, by their names in tokenizer_config.json."""
_MAKE_IT = (
    "{directory} has no tokenizer.json, and it can't be made here; make it where transformers and "
    "sentencepiece are installed: from transformers import AutoTokenizer; "
    "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
)
_NO_TRANSFORMERS = (
    "{directory} has no tokenizer.json, and transformers, which makes it, is not installed here; "
    "where it is, run AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR), or build the image "
    "with --build-arg REQUIREMENTS=requirements.txt"
)


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedText:
    """Token ids of one text, ready for the model.

    Attributes:
        windows: one list of ids per piece that the model sees, special tokens included; one piece
            unless truncation is "windows" and the text is long.
        tokens: length of the whole text in tokens, special tokens included; of a truncated text
            over `WHOLE_BYTES`, the tokens that were read of it.
        truncated: whether the model sees less than the whole text.
    """

    windows: tuple[list[int], ...]
    tokens: int
    truncated: bool


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a model needs around the token ids of a text.

    Attributes:
        prefix, suffix: ids of the special tokens before and after it.
        limit: tokens the model takes, special tokens included.
    """

    prefix: list[int]
    suffix: list[int]
    limit: int

    @property
    def smallest(self) -> int:
        """Tokens of the shortest text."""
        return len(self.prefix) + len(self.suffix) + 1

    def around(self, ids: list[int]) -> list[int]:
        """Token ids of a text with the special tokens around them."""
        return [*self.prefix, *ids, *self.suffix]


class RobertaTokenizer:
    """The tokenizer of a model directory, with the model's limits.

    Args:
        tokenizer: its post-processor adds the special tokens.
        limit: tokens the model takes, special tokens included.
        overlap: tokens that neighbouring windows share.
        framed: whether the model needs special tokens around a text.
        special_tokens: what a special token's name in a text is.
        whole_bytes: a longer text is read in part.

    Raises:
        ArtifactError: the tokenizer adds no special tokens, or the limit leaves no room for text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        limit: int,
        overlap: int,
        framed: bool = True,
        special_tokens: SpecialTokens = "as_transformers",
        whole_bytes: int = WHOLE_BYTES,
    ) -> None:
        # Truncation and padding in tokenizer.json are leftovers of its last use.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.frame = Frame(*_special_tokens(tokenizer, needed=framed), limit)
        if limit < self.frame.smallest:
            raise ArtifactError(
                f"the model takes {limit} tokens, but special tokens and one token of the text are "
                f"{self.frame.smallest} (max_position_embeddings in config.json, model_max_length "
                "in tokenizer_config.json, parameter max_tokens)"
            )
        tokenizer.encode_special_tokens = special_tokens == "as_text"
        if special_tokens == "as_text":
            _hide_special_names(tokenizer)
        self._body = limit - self.frame.smallest + 1
        self._overlap = min(overlap, self._body - 1)
        self._whole_bytes = whole_bytes
        self._memory = Budget(_CHARACTERS_AT_ONCE, _CHARACTERS_AT_ANY_TIME)
        self.limit = limit

    @functools.cached_property
    def _long_texts(self) -> LongTexts:
        longest = max(map(len, self._tokenizer.get_vocab()))
        is_wordpiece = isinstance(self._tokenizer.model, models.WordPiece)
        breaks = [p for p, words in _BETWEEN_WORDS.items() if is_wordpiece and self._splits(words)]
        return LongTexts(
            self._encode_one,
            longest_token=min(longest, _LONGEST_TOKEN),
            most_bytes=max(_MOST_BYTES, self._whole_bytes),
            word_breaks=[SPACE, *breaks],
            cut_words=not is_wordpiece,
        )

    def _splits(self, text: str) -> bool:
        """Whether the tokenizer takes a text for several words."""
        normalizer, splitter = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        normal = normalizer.normalize_str(text) if normalizer else text
        return splitter is not None and len(splitter.pre_tokenize_str(normal)) > 1

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return len(set(self._tokenizer.get_vocab(with_added_tokens=True).values()))

    def token_id(self, token: str) -> int | None:
        """Id of a token; None if it is unknown."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def highest(self) -> tuple[str, int]:
        """The token with the highest id, and the id."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        token = max(vocabulary, key=vocabulary.__getitem__)
        return token, int(vocabulary[token])

    def framed(self, ids: list[int]) -> list[int]:
        """Token ids of a text with the special tokens around them."""
        return self.frame.around(ids)

    def encode(
        self,
        texts: Sequence[str],
        truncation: Truncation,
        *,
        max_windows: int | None = None,
        max_tokens: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> list[TokenizedText]:
        """Tokenize texts.

        Args:
            texts: n texts.
            truncation: what to do with a text over the limit.
            max_windows: most windows of one text.
            max_tokens: most tokens of all texts together, as the model would see them.
            check: called after each text; it raises if the caller has disconnected.

        Returns:
            n tokenized texts, in the same order.

        Raises:
            TextError: a text is not valid Unicode.
            TextTooLongError: truncation is "error" and a text is over the limit.
            TextTooLargeError: a very long text that can't be cut.
            TooManyWindowsError, TooManyTokensError: a text or all of them are over their limit.
            InferenceError: the tokenizer failed on a text.
        """
        encoded: list[TokenizedText] = []
        total = 0
        for part in self._parts(texts, truncation, max_windows):
            if part is None:
                raise TextTooLargeError(len(encoded), _MOST_BYTES)
            text = self._fit(len(encoded), part, truncation, max_windows)
            total += sum(map(len, text.windows))
            if max_tokens is not None and total > max_tokens:
                raise TooManyTokensError(len(encoded), total, max_tokens)
            encoded.append(text)
            check()
        return encoded

    def _parts(
        self, texts: Sequence[str], truncation: Truncation, max_windows: int | None
    ) -> Iterator[Part | None]:
        """The ids of each text, or of the parts that decide, None where none does.

        Few texts are encoded at once.
        """
        if sum(map(len, texts)) * _MOST_BYTES_A_CHARACTER <= self._whole_bytes:
            yield from self._encode_together(texts)
            return
        together: list[str] = []
        room = self._whole_bytes
        for text, size in zip(texts, _sizes(texts), strict=True):
            if size > room:
                yield from self._encode_together(together)
                together, room = [], self._whole_bytes
            if size > room:
                yield self._part(text, truncation, max_windows)
            else:
                together.append(text)
                room -= size
        yield from self._encode_together(together)

    def _part(self, text: str, truncation: Truncation, max_windows: int | None) -> Part | None:
        """So many ids of a long text that truncation asks for no others."""
        if truncation == "windows":
            if max_windows is None:
                return Part(self._encode_one(text), whole=True)
            return self._long_texts.first(text, self._most_in_windows(max_windows) + 1)
        enough = self._body + 1
        if truncation == "start":
            return self._long_texts.last(text, enough)
        first = self._long_texts.first(text, enough)
        if truncation != "middle" or first is None or first.whole:
            return first
        last = self._long_texts.last(text, enough)
        return last if last is None or last.whole else Part(first.ids + last.ids, whole=False)

    def _encode_one(self, text: str) -> list[int]:
        return self._encode_together([text])[0].ids

    def _encode_together(self, texts: Sequence[str]) -> list[Part]:
        if not texts:
            return []
        try:
            with self._memory.take(sum(map(len, texts))):
                encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:
            raise _unreadable(texts) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust, which names no better base
                raise
            raise InferenceError("the tokenizer failed on a text of this request") from error
        return [Part(encoding.ids, whole=True) for encoding in encodings]

    def _fit(
        self, position: int, part: Part, truncation: Truncation, max_windows: int | None
    ) -> TokenizedText:
        ids = part.ids
        tokens = self.frame.smallest - 1 + len(ids)
        if len(ids) <= self._body:
            return TokenizedText((self.framed(ids),), tokens, False)
        if truncation == "error":
            raise TextTooLongError(position, tokens, self.limit, at_least=not part.whole)
        if truncation == "windows":
            if max_windows is not None and len(ids) > self._most_in_windows(max_windows):
                raise TooManyWindowsError(position, max_windows)
            return TokenizedText(tuple(map(self.framed, self._windows(ids))), tokens, False)
        return TokenizedText((self.framed(self._cut(ids, truncation)),), tokens, True)

    def _cut(self, ids: list[int], truncation: Truncation) -> list[int]:
        if truncation == "start":
            return ids[-self._body :]
        if truncation == "middle":
            head = (self._body + 1) // 2
            tail = self._body - head
            return ids[:head] + ids[len(ids) - tail :]
        return ids[: self._body]

    def _most_in_windows(self, windows: int) -> int:
        """Ids of the longest text that so many windows cover."""
        return self._body + (windows - 1) * (self._body - self._overlap)

    def _windows(self, ids: list[int]) -> list[list[int]]:
        """Cut ids into overlapping windows of full length; the last one ends with the text."""
        step = self._body - self._overlap
        starts = [*range(0, len(ids) - self._body, step), len(ids) - self._body]
        return [ids[start : start + self._body] for start in starts]


def load_tokenizer(
    artifact: Artifact,
    *,
    max_tokens: int,
    overlap: int,
    special_tokens: SpecialTokens = "as_transformers",
) -> RobertaTokenizer:
    """Load the tokenizer of a model directory.

    `tokenizer.json` is read by the tokenizers library at once. A directory without it goes through
    transformers, which starts slower and gives the same object.

    Args:
        artifact: the model directory.
        max_tokens: limit set by the user, 0 for the model's own.
        overlap: tokens that neighbouring windows share.
        special_tokens: what a special token's name in a text is.

    Raises:
        ArtifactError: the files are damaged, or do not fit the model.
    """
    if artifact.pad_id >= artifact.vocab_size:
        raise ArtifactError(
            f"config.json: pad_token_id is {artifact.pad_id}, but the model has rows for 0 to "
            f"{artifact.vocab_size - 1}; correct it"
        )
    known = artifact.known_limit
    limit = max_tokens if max_tokens and known is None else artifact.position_limit
    if max_tokens > limit:
        raise ArtifactError(f"max_tokens is {max_tokens}, but the model takes {limit} tokens")
    loaded = RobertaTokenizer(
        _read_backend(artifact),
        limit=max_tokens or limit,
        overlap=overlap,
        framed=families.needs_special_tokens(artifact.config),
        special_tokens=special_tokens,
    )
    token, highest = loaded.highest()
    if highest >= artifact.vocab_size:
        raise ArtifactError(
            f"the tokenizer in {artifact.path} gives ids up to {highest} ({token[:40]!r}), but the "
            f"model has rows for 0 to {artifact.vocab_size - 1}: tokenizer and model do not belong "
            "together; take the tokenizer that the model was trained with"
        )
    return loaded


def _read_backend(artifact: Artifact) -> Tokenizer:
    path = artifact.path / "tokenizer.json"
    try:
        # `from_file` takes a third longer.
        text = path.read_text(encoding="utf-8") if path.exists() else None
        backend = _through_transformers(artifact) if text is None else Tokenizer.from_str(text)
    except ArtifactError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception
        raise ArtifactError(
            f"the tokenizer in {artifact.path} can't be read: {first_line(error)}"
        ) from error
    _follow_configuration(backend, artifact.tokenizer_config)
    _make_deterministic(backend)
    _limit_cache(backend)
    return backend


def _make_deterministic(backend: Tokenizer) -> None:
    """Switch off the random parts of training: dropped merges, sampled pieces."""
    if isinstance(backend.model, models.BPE):
        backend.model.dropout = None
    if isinstance(backend.model, models.Unigram):
        backend.model.alpha = backend.model.nbest_size = None


def _limit_cache(backend: Tokenizer) -> None:
    if isinstance(backend.model, (models.BPE, models.Unigram)):  # the others keep no words
        backend.model._resize_cache(_WORDS_KEPT)


def _hide_special_names(backend: Tokenizer) -> None:
    """Keep the vocabulary itself from finding special tokens' names in a text.

    SentencePiece vocabularies hold them as pieces. They get names that no text can hold.
    """
    special = {
        token.content for token in backend.get_added_tokens_decoder().values() if token.special
    }
    state = json.loads(backend.model.__getstate__())
    special.discard(state.get("unk_token"))
    vocabulary = state["vocab"]
    if isinstance(vocabulary, dict):
        state["vocab"] = {_hidden(name, special): i for name, i in vocabulary.items()}
    else:
        state["vocab"] = [(_hidden(name, special), score) for name, score in vocabulary]
    model = type(backend.model)()
    model.__setstate__(json.dumps(state).encode())
    backend.model = model
    _limit_cache(backend)


def _hidden(name: str, special: Set[str]) -> str:
    return f"\0{name}" if name in special else name


def _follow_configuration(backend: Tokenizer, config: Mapping[str, Any]) -> None:
    """Let tokenizer_config.json win over tokenizer.json where transformers does so."""
    normalizer, pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        for key, name in _NORMALIZER.items():
            value = _yes_or_no(config, key)
            if value is not None or (key in config and key == "strip_accents"):
                setattr(normalizer, name, value)  # without a value accents go with capitals
        backend.normalizer = normalizer
    space = _yes_or_no(config, "add_prefix_space")
    if isinstance(pre_tokenizer, pre_tokenizers.ByteLevel) and space is not None:
        pre_tokenizer.add_prefix_space = space
        backend.pre_tokenizer = pre_tokenizer


def _yes_or_no(config: Mapping[str, Any], key: str) -> bool | None:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise ArtifactError(
            f"tokenizer_config.json: {key} is {repr(value)[:60]}; true or false is needed"
        )
    return value


def _through_transformers(artifact: Artifact) -> Tokenizer:
    if importlib.util.find_spec("transformers") is None:
        raise ArtifactError(_NO_TRANSFORMERS.format(directory=artifact.path))
    if any(artifact.path.glob("*.model")) and importlib.util.find_spec("sentencepiece") is None:
        raise ArtifactError(_MAKE_IT.format(directory=artifact.path))
    from transformers import AutoTokenizer, RobertaTokenizerFast

    kind = RobertaTokenizerFast if (artifact.path / "vocab.json").exists() else AutoTokenizer
    try:
        loaded = kind.from_pretrained(artifact.path, local_files_only=True, trust_remote_code=False)
        backend: Tokenizer = loaded.backend_tokenizer
    except Exception as error:  # transformers has no common base class for its errors
        raise ArtifactError(_MAKE_IT.format(directory=artifact.path)) from error
    return backend


def _special_tokens(tokenizer: Tokenizer, *, needed: bool) -> tuple[list[int], list[int]]:
    """Ids that the post-processor puts before and after a text.

    Raises:
        ArtifactError: it adds none where the model needs them.
    """
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a", add_special_tokens=True).ids
    added = len(framed) - len(bare)
    for start in range(added + 1):
        if (added or not needed) and framed[start : start + len(bare)] == bare:
            return framed[:start], framed[start + len(bare) :]
    raise ArtifactError(
        "the tokenizer adds no <s> and </s> (or [CLS] and [SEP]) around a text; its post-processor "
        "is missing"
    )


def _sizes(texts: Sequence[str]) -> list[int]:
    """UTF-8 bytes of each text.

    Raises:
        TextError: a text is not valid Unicode.
    """
    try:
        return [len(text) if text.isascii() else len(text.encode("utf-8")) for text in texts]
    except UnicodeEncodeError:
        raise _unreadable(texts) from None


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
