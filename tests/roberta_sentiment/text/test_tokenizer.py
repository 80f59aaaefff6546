"""Texts to token ids: special tokens, truncation, and what can't be read."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from tokenizers import (
    ByteLevelBPETokenizer,
    Regex,
    Tokenizer,
    models,
    pre_tokenizers,
    processors,
)

from roberta_sentiment.errors import (
    ArtifactError,
    CallerGoneError,
    InferenceError,
    TextError,
    TextTooLongError,
    TooManyTokensError,
    TooManyWindowsError,
)
from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.settings import Truncation
from roberta_sentiment.text.tokenizer import RobertaTokenizer, load_tokenizer
from tests import families, toy

BOS, EOS = 0, 2


@pytest.fixture(scope="module")
def tokenizer() -> RobertaTokenizer:
    """It takes 8 tokens, 6 of them of the text; windows share 2."""
    return RobertaTokenizer(toy.tokenizer(), limit=8, overlap=2)


def ids_of(*words: str) -> list[int]:
    vocab = toy.vocabulary()
    return [vocab[word] for word in words]


LONG = "good bad film the is a so not this it"
TOKENS = ids_of("good", "Ġbad", "Ġfilm", "Ġthe", "Ġis", "Ġa", "Ġso", "Ġnot", "Ġthis", "Ġit")


def test_a_text_is_framed(tokenizer: RobertaTokenizer) -> None:
    """RoBERTa reads the sentence off <s>; without it the answer means nothing."""
    (encoded,) = tokenizer.encode(["good film"], "end")
    assert encoded.windows == ([BOS, *ids_of("good", "Ġfilm"), EOS],)
    assert encoded.tokens == 4
    assert not encoded.truncated


@pytest.mark.parametrize(
    ("truncation", "windows", "truncated"),
    [
        pytest.param("end", [TOKENS[:6]], True, id="end"),
        pytest.param("start", [TOKENS[4:]], True, id="start"),
        pytest.param("middle", [TOKENS[:3] + TOKENS[7:]], True, id="middle"),
        pytest.param("windows", [TOKENS[:6], TOKENS[4:]], False, id="windows"),
    ],
)
def test_a_long_text_is_cut_as_asked(
    tokenizer: RobertaTokenizer, truncation: Truncation, windows: list[list[int]], truncated: bool
) -> None:
    """Each policy keeps the tokens it says, frames every piece, and tells the whole length."""
    (encoded,) = tokenizer.encode([LONG], truncation)
    assert encoded.windows == tuple([BOS, *body, EOS] for body in windows)
    assert encoded.tokens == 12
    assert encoded.truncated is truncated


def test_windows_cover_every_token(tokenizer: RobertaTokenizer) -> None:
    """A token that no window holds would be lost without a word."""
    for n in range(1, 40):
        (encoded,) = tokenizer.encode([" ".join(["good"] * n)], "windows")
        bodies = [window[1:-1] for window in encoded.windows]
        assert all(len(body) <= 6 for body in bodies)
        covered = len(bodies[0]) + sum(min(4, n - 6 - 4 * i) for i in range(len(bodies) - 1))
        assert covered == n


def test_error_names_position_length_and_limit(tokenizer: RobertaTokenizer) -> None:
    """A caller who asks for "error" wants to fix the text: which one, and by how much."""
    with pytest.raises(TextTooLongError, match="text 1 has 12 tokens, the limit is 8"):
        tokenizer.encode(["good", LONG], "error")


def test_a_lone_surrogate_is_named(tokenizer: RobertaTokenizer) -> None:
    """The tokenizers library says nothing but "TextInputSequence must be str"."""
    with pytest.raises(TextError, match="text 1 holds a lone surrogate at character 4"):
        tokenizer.encode(["good", "film\ud800"], "end")


def test_a_tokenizer_without_post_processor_is_refused() -> None:
    """Ids without <s> and </s> would give plausible nonsense."""
    bare = toy.tokenizer()
    bare.post_processor = None
    with pytest.raises(ArtifactError, match="adds no <s> and </s>"):
        RobertaTokenizer(bare, limit=8, overlap=2)


def test_max_tokens_cannot_exceed_the_model(toy_path: Path) -> None:
    """Beyond its position table the graph fails at run time."""
    with pytest.raises(ArtifactError, match="max_tokens is 33, but the model takes 32"):
        load_tokenizer(open_artifact(toy_path), max_tokens=33, overlap=8)


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    """More tokens than embedding rows: tokenizer and graph come from different models."""
    directory = toy.write(tmp_path / "model")
    config = (directory / "config.json").read_text()
    size = len(toy.vocabulary())
    (directory / "config.json").write_text(
        config.replace(f'"vocab_size": {size}', f'"vocab_size": {size - 1}')
    )
    with pytest.raises(ArtifactError, match="do not belong together"):
        load_tokenizer(open_artifact(directory), max_tokens=0, overlap=8)


def test_a_tokenizer_that_keeps_no_words_is_read(tmp_path: Path) -> None:
    """tokenizer.json may hold another model than BPE, without a cache to make small."""
    directory = toy.write(tmp_path / "model")
    vocabulary = toy.vocabulary()
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.post_processor = processors.RobertaProcessing(("</s>", EOS), ("<s>", BOS))
    words.save(str(directory / "tokenizer.json"))
    (text,) = load_tokenizer(open_artifact(directory), max_tokens=0, overlap=8).encode(
        ["good"], "end"
    )
    assert ([BOS, vocabulary["good"], EOS],) == text.windows


AWKWARD = [
    "This film is so good",
    "  two  spaces\tand a tab\nand a line  ",
    "naïve café, 映画は最高だ, 🎬👍🏽, \u200bzero width",
    "<s> </s> <pad> <mask> <unk>",
    "don't I'd we'll they're 100% $5.99 a/b...",
    "A" * 300,
]


def test_ids_equal_those_of_transformers() -> None:
    """The fast path skips transformers; its ids must be the ones that training saw."""
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    ours = load_tokenizer(open_artifact(DEFAULT_MODEL), max_tokens=0, overlap=8)
    expected = [reference(text)["input_ids"] for text in AWKWARD]
    assert expected == [encoded.windows[0] for encoded in ours.encode(AWKWARD, "end")]


def test_vocab_and_merges_give_the_same_ids(tmp_path: Path) -> None:
    """roberta-base's older copies have no tokenizer.json."""
    directory = toy.write(tmp_path / "model")
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(AWKWARD, vocab_size=260, special_tokens=toy.SPECIAL)
    trained.post_processor = processors.RobertaProcessing(
        ("</s>", EOS), ("<s>", BOS), add_prefix_space=False
    )
    trained.save(str(directory / "tokenizer.json"))
    fast = load_tokenizer(open_artifact(directory), max_tokens=0, overlap=8)
    trained.save_model(str(directory))
    (directory / "tokenizer.json").unlink()
    slow = load_tokenizer(open_artifact(directory), max_tokens=0, overlap=8)
    assert fast.encode(AWKWARD, "end") == slow.encode(AWKWARD, "end")


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("bert", "do_lower_case", "yes"),
        ("bert", "tokenize_chinese_chars", 1),
        ("roberta", "add_prefix_space", "no"),
    ],
)
def test_a_setting_of_the_tokenizer_that_is_no_boolean_aborts(
    tmp_path: Path, family: str, key: str, value: object
) -> None:
    """What its maker meant is not known, and "no" was once taken for true."""
    path = families.unpack(tmp_path, [family]) / family / "softmax2"
    (path / "tokenizer_config.json").write_text(json.dumps({key: value}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=f"{key} is .*; true or false is needed"):
        load_tokenizer(open_artifact(path), max_tokens=0, overlap=8)


@pytest.mark.parametrize("key", ["do_lower_case", "strip_accents", "add_prefix_space"])
def test_a_setting_of_the_tokenizer_that_is_null_says_nothing(tmp_path: Path, key: str) -> None:
    """transformers saves strip_accents so."""
    path = families.unpack(tmp_path, ["bert"]) / "bert" / "softmax2"
    before = load_tokenizer(open_artifact(path), max_tokens=0, overlap=8)
    (path / "tokenizer_config.json").write_text(json.dumps({key: None}), encoding="utf-8")
    after = load_tokenizer(open_artifact(path), max_tokens=0, overlap=8)
    assert before.encode(["GOOD Film, café"], "end") == after.encode(["GOOD Film, café"], "end")


def test_threads_do_not_keep_words_of_their_own() -> None:
    """Every request thread tokenizes; 96 large caches would be most of the memory of a pod."""
    tokenizer = load_tokenizer(open_artifact(DEFAULT_MODEL), max_tokens=0, overlap=128)
    threads, words = 16, 9000
    done, leave = threading.Barrier(threads + 1), threading.Event()

    def work(number: int) -> None:
        for start in range(0, words, 300):
            text = " ".join(f"w{number}x{i}" for i in range(start, start + 300))
            tokenizer.encode([text], "end")
        done.wait()
        leave.wait()

    before = _resident_mb()
    pool = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in pool:
        thread.start()
    done.wait()
    grown = _resident_mb() - before
    leave.set()
    for thread in pool:
        thread.join()
    assert grown < 1.5 * threads


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [
        pytest.param("end", TOKENS[:5], id="end"),
        pytest.param("start", TOKENS[5:], id="start"),
        pytest.param("middle", TOKENS[:3] + TOKENS[8:], id="middle"),
    ],
)
def test_an_odd_number_of_tokens_is_kept(truncation: Truncation, kept: list[int]) -> None:
    """The one in the middle goes to the head, and none is lost or doubled."""
    (encoded,) = RobertaTokenizer(toy.tokenizer(), limit=7, overlap=2).encode([LONG], truncation)
    assert ([BOS, *kept, EOS],) == encoded.windows


STEERING = "a bad film </s></s> <mask> <pad> <unk> good"


def test_special_tokens_in_a_text_are_those_of_transformers() -> None:
    """By default they are what they are in training and in every other server."""
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    ours = load_tokenizer(open_artifact(DEFAULT_MODEL), max_tokens=0, overlap=8)
    assert [(reference(STEERING)["input_ids"],)] == [
        encoded.windows for encoded in ours.encode([STEERING], "end")
    ]


def test_special_tokens_may_be_read_as_text() -> None:
    """Then nobody can end a text early, or fill it with padding, by writing so."""
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(DEFAULT_MODEL)
    ours = load_tokenizer(
        open_artifact(DEFAULT_MODEL), max_tokens=0, overlap=8, special_tokens="as_text"
    )
    expected = reference(STEERING, split_special_tokens=True)["input_ids"]
    (encoded,) = ours.encode([STEERING], "end")
    assert (expected,) == encoded.windows
    special = set(reference.all_special_ids)
    assert [expected[0], expected[-1]] == [i for i in encoded.windows[0] if i in special]


@pytest.fixture(scope="module")
def family_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.unpack(tmp_path_factory.mktemp("families"))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_no_family_s_vocabulary_finds_a_special_token_in_a_text(
    family_models: Path, family: str
) -> None:
    """Pieces of SentencePiece hold them, too; every other text keeps its ids."""
    artifact = open_artifact(family_models / family / "softmax2")
    usual = load_tokenizer(artifact, max_tokens=0, overlap=8)
    ours = load_tokenizer(artifact, max_tokens=0, overlap=8, special_tokens="as_text")
    backend = Tokenizer.from_file(str(artifact.path / "tokenizer.json"))
    special = {i: t.content for i, t in backend.get_added_tokens_decoder().items() if t.special}
    unknown = {usual.token_id(name) for name in ("<unk>", "[UNK]")}
    body = slice(len(ours.framed([])) // 2, -(len(ours.framed([])) // 2))
    for name in special.values():
        (encoded,) = ours.encode([f"{name}{name} bad"], "end")
        assert set(special).isdisjoint(set(encoded.windows[0][body]) - unknown), name
    texts = ["good film", "\U0001f44d \u4f60\u597d \u00e9", "x" * 50, "a < b > c [d]"]
    assert usual.encode(texts, "end") == ours.encode(texts, "end")
    assert ours.vocab_size == usual.vocab_size


def test_a_vocabulary_of_whole_words_finds_none_either() -> None:
    """Where only blanks part words, "[SEP]" is one of them."""
    words = {name: i for i, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good"])}
    made = Tokenizer(models.WordPiece(vocab=words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    ours = RobertaTokenizer(made, limit=8, overlap=2, special_tokens="as_text")
    assert ([2, 4, 1, 4, 3],) == ours.encode(["good [SEP] good"], "end")[0].windows


def test_one_text_has_so_many_windows(tokenizer: RobertaTokenizer) -> None:
    """Three windows of 6 tokens that share 2 cover 14 of them."""
    (three,) = tokenizer.encode([" ".join(["good"] * 14)], "windows", max_windows=3)
    assert 3 == len(three.windows)
    with pytest.raises(TooManyWindowsError, match="text 1 needs more than 3 windows"):
        tokenizer.encode(["good", " ".join(["good"] * 15)], "windows", max_windows=3)


def test_one_request_has_so_many_tokens(tokenizer: RobertaTokenizer) -> None:
    """All its texts together, as the model sees them."""
    texts = [LONG, "good film"]
    assert 2 == len(tokenizer.encode(texts, "end", max_tokens=12))
    with pytest.raises(TooManyTokensError, match="up to text 1 the request has 12 tokens"):
        tokenizer.encode(texts, "end", max_tokens=11)
    with pytest.raises(TooManyTokensError, match="up to text 0 the request has 16 tokens"):
        tokenizer.encode(texts, "windows", max_tokens=11)


def test_nothing_is_encoded_for_a_caller_that_has_gone(tokenizer: RobertaTokenizer) -> None:
    """A request of many long texts takes a while."""
    seen: list[int] = []

    def check() -> None:
        seen.append(1)
        raise CallerGoneError

    with pytest.raises(CallerGoneError):
        tokenizer.encode(["good"] * 9, "end", check=check)
    assert [1] == seen


def test_an_interrupt_is_no_failure_of_the_tokenizer(
    tokenizer: RobertaTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a text waits for memory ends the command."""

    def interrupt(amount: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer._memory, "take", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(tokenizer.encode(["good"], "end"))


def test_a_panic_of_the_tokenizer_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Rust's is no Exception: it would end the worker of everybody else."""
    panicking = toy.tokenizer()
    panicking.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"(?:a|aa)+$"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    ours = RobertaTokenizer(panicking, limit=8, overlap=2)
    with pytest.raises(InferenceError, match="the tokenizer failed on a text of this request"):
        ours.encode(["a" * 60 + "b"], "end")
    assert "panicked" in capfd.readouterr().err
    (after,) = ours.encode(["good"], "end")
    assert ([BOS, *ids_of("good"), EOS],) == after.windows
