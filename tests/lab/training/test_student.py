"""Word embeddings for a new vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed here; run make test-torch")

from lab.training.student import Donor, load_student, student_config, transfer_embeddings
from lab.training.tokenizer import (
    END,
    MASK,
    PAD,
    START,
    UNKNOWN_TOKEN,
    train_tokenizer,
    word_counts,
)

SPECIAL = {START: 0, PAD: 1, END: 2, UNKNOWN_TOKEN: 3, MASK: 4}


def donor(words: Mapping[str, list[int]], offset: float) -> Donor:
    """A donor that spells the given texts; row r holds `offset + r` throughout."""
    rows = torch.arange(50, dtype=torch.float32).unsqueeze(1).expand(50, 4) + offset
    return Donor(lambda text: words.get(text.strip(), []), rows, SPECIAL)


def test_a_token_takes_the_rows_of_the_donor_that_spells_it_shortest() -> None:
    """An earlier student wins over MiniLM where both have the word, and only there."""
    tokenizer = train_tokenizer(
        word_counts([f"a good film, a bad film, {n}" for n in range(9)], []), 300
    )
    first = donor({"good": [10], "film": [11, 13]}, 0.0)
    second = donor({"good": [20], "film": [21], "bad": [22, 24]}, 100.0)
    rows, lost = transfer_embeddings(tokenizer, [first, second])
    vocabulary = tokenizer.get_vocab()
    found = {word: float(rows[vocabulary[f"\u0120{word}"], 0]) for word in ("good", "film", "bad")}
    assert {"good": 10.0, "film": 121.0, "bad": 123.0} == found
    assert [0.0, 1.0, 2.0, 3.0, 4.0] == [float(rows[vocabulary[name], 0]) for name in SPECIAL]
    assert lost == sum(float(row[0]) == 3.0 for row in rows) - 1


def test_a_student_is_a_roberta_that_transformers_loads(tmp_path: Path) -> None:
    """Saved and loaded it gives the same logits, and takes 512 tokens."""
    from transformers import RobertaForSequenceClassification

    config = student_config(300, {"layer_norm_eps": 1e-12}, 0.0)
    config.num_hidden_layers, config.intermediate_size = 1, 8
    model = RobertaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    loaded = load_student(tmp_path, 0.0).eval()
    ids = torch.randint(5, 300, (1, 512))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(wanted, loaded(input_ids=ids, attention_mask=mask).logits)
