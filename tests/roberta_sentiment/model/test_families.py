"""Families of models: what the type of a model says about its tokens."""

from __future__ import annotations

from typing import Any

import pytest

from roberta_sentiment.model import families


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        pytest.param({"model_type": "bert"}, "bert", id="named"),
        pytest.param(
            {"model_type": "new", "architectures": ["BertModel"]}, "new", id="the name wins"
        ),
        pytest.param({"architectures": ["XLMRobertaForSequenceClassification"]}, "xlm-roberta",
                     id="by class"),
        pytest.param({"architectures": ["DebertaV2Model"]}, "deberta-v2", id="by bare class"),
        pytest.param({"architectures": ["NewForSequenceClassification"]}, "", id="unknown class"),
        pytest.param({"architectures": []}, "", id="no class"),
        pytest.param({"architectures": "BertModel"}, "", id="no list of classes"),
        pytest.param({"model_type": 3, "architectures": ["BertModel"]}, "bert", id="no text"),
        pytest.param({"model_type": "", "architectures": ["BertModel"]}, "bert", id="empty"),
        pytest.param({}, "", id="nothing"),
    ],
)  # fmt: skip
def test_the_type_of_a_model(config: dict[str, Any], kind: str) -> None:
    """`model_type`, else the class that transformers saved, as old exports have it."""
    assert kind == families.model_type(config)
    assert families.is_known(config) == (kind not in ("", "new"))


def limit(config: dict[str, Any], **found: Any) -> int | None:
    unknown: dict[str, Any] = {
        "rows": None, "counted": False, "pad_id": None, "tokenizer_limit": None
    }  # fmt: skip
    return families.position_limit(config, **{**unknown, **found})


@pytest.mark.parametrize(
    ("kind", "found", "tokens"),
    [
        pytest.param("roberta", {"pad_id": 1}, 512, id="after the padding"),
        pytest.param("roberta", {"pad_id": 0}, 513, id="after padding 0"),
        pytest.param("camembert", {}, 512, id="padding not given"),
        pytest.param("mpnet", {"pad_id": 0}, 512, id="from 2"),
        pytest.param("bert", {"pad_id": 0}, 514, id="from 0"),
        pytest.param("bert", {"counted": True, "pad_id": 0}, 514, id="the family wins"),
        pytest.param("gpt2", {"pad_id": 50_256}, 514, id="decoder"),
        pytest.param("bert", {"rows": 128}, 128, id="smaller table"),
        pytest.param("bert", {"rows": 900}, 514, id="larger table"),
        pytest.param("bert", {"tokenizer_limit": 256}, 256, id="smaller tokenizer"),
        pytest.param("bert", {"tokenizer_limit": 256.0}, 256, id="tokenizer with a point"),
        pytest.param("bert", {"tokenizer_limit": 3}, 3, id="least sensible"),
        pytest.param("bert", {"tokenizer_limit": 2}, 514, id="too small"),
        pytest.param("bert", {"tokenizer_limit": True}, 514, id="no number"),
        pytest.param("bert", {"tokenizer_limit": 10**30}, 514, id="none"),
        pytest.param("roberta", {"pad_id": 1, "tokenizer_limit": 512}, 512, id="both"),
        pytest.param("deberta-v2", {}, 514, id="relative"),
        pytest.param("deberta-v2", {"tokenizer_limit": 1000}, 1000, id="relative, as trained"),
        pytest.param("deberta-v2", {"tokenizer_limit": 1_000_000}, 1_000_000, id="most sensible"),
        pytest.param("deberta-v2", {"tokenizer_limit": 1_000_001}, 514, id="relative, too large"),
        pytest.param("deberta-v2", {"tokenizer_limit": 1000, "rows": 600}, 600, id="with a table"),
        pytest.param("new", {}, None, id="unknown"),
        pytest.param("new", {"tokenizer_limit": 256}, None, id="unknown, with a tokenizer"),
        pytest.param("new", {"rows": 514}, 514, id="unknown, from 0"),
        pytest.param("new", {"rows": 600}, 600, id="unknown: config is not believed"),
        pytest.param("new", {"rows": 514, "counted": True, "pad_id": 1}, 512, id="unknown, counts"),
        pytest.param("new", {"rows": 514, "counted": True}, 512, id="unknown, no padding"),
    ],
)
def test_the_tokens_that_a_family_takes(
    kind: str, found: dict[str, Any], tokens: int | None
) -> None:
    """One too many fails at the first long text; one too few is lost without a word."""
    assert tokens == limit({"model_type": kind, "max_position_embeddings": 514}, **found)


@pytest.mark.parametrize("key", ["max_position_embeddings", "n_positions", "max_seq_len"])
@pytest.mark.parametrize(("said", "tokens"), [(1, 1), (40, 40), (0, None), (True, None)])
def test_the_limit_has_several_names(key: str, said: object, tokens: int | None) -> None:
    """GPT-2 and others write it under their own; what is no number of tokens says nothing."""
    assert tokens == limit({"model_type": "gpt2", key: said})


@pytest.mark.parametrize(
    ("kind", "pad_id"),
    [("roberta", 1), ("mpnet", 1), ("bert", 0), ("deberta-v2", 0), ("gpt2", None), ("new", None)],
)
def test_the_padding_of_a_family(kind: str, pad_id: int | None) -> None:
    """A configuration that does not name it leaves it to the family, as transformers does."""
    assert pad_id == families.default_pad_id({"model_type": kind})


@pytest.mark.parametrize(
    ("kind", "needed"), [("roberta", True), ("new", True), ("gpt2", False), ("llama", False)]
)
def test_decoders_need_no_special_tokens(kind: str, needed: bool) -> None:
    """A GPT's tokenizer adds none, and an encoder's that adds none is broken."""
    assert needed is families.needs_special_tokens({"model_type": kind})


@pytest.mark.parametrize(
    ("kind", "said", "rows"), [("bert", 512, 512), ("bart", 1024, 1026), ("bert", "512", None)]
)
def test_rows_of_the_position_table(kind: str, said: object, rows: int | None) -> None:
    """BART's table has two more than it says."""
    assert rows == families.position_rows({"model_type": kind, "max_position_embeddings": said})
