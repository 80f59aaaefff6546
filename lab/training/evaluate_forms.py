"""Every figure of the model card, recomputed on any model directory through ONNX Runtime.

    python -m lab.training.evaluate_forms models/default --out build/training/default.json

Texts are run one at a time, so graphs whose int8 scales depend on the whole batch are judged on
the answers that a single request gets.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from tokenizers import Tokenizer

from lab.training.corpus import Text, read_tsv
from lab.training.settings import ID_TO_LABEL, MAX_TOKENS
from lab.training.texts import (
    first_upper,
    html_breaks,
    natural,
    spell_out_not,
    typographic_quotes,
    without_final_period,
)
from roberta_sentiment.run.session import open_session

Floats = NDArray[np.float64]
FORMS: dict[str, Callable[[str], str]] = {
    "first_letter_upper": first_upper,
    "lower_case": str.lower,
    "without_final_period": without_final_period,
    "as_people_write": natural,
    "as_people_write_first_letter_upper": lambda text: first_upper(natural(text)),
    "typographic_quotes": typographic_quotes,
    "not_spelt_out": spell_out_not,
    "html_breaks": html_breaks,
    "title_case": str.title,
    "upper_case": str.upper,
}
"""Surface forms of a dev text; the first three are required to keep 97 % of the labels."""
EXAMPLES = (
    Text(1, "This film is so good"),
    Text(0, "This film is so bad"),
    Text(1, "This film is had bad graphics but overall it is good"),
)
REVIEWS = Path(__file__).parent / "reviews.json"


class Judge:
    """Tokenizer and session of one model directory."""

    def __init__(self, folder: Path, threads: int = 2) -> None:
        (graph,) = folder.glob("*.onnx")
        self._session = open_session(graph, threads=threads)
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self.name = graph.name

    def positive(self, texts: Sequence[str], what: str = "") -> Floats:
        """Probability of `positive` for each text run alone, float64 [texts]."""
        found = [self._one(text) for text in track(texts, what, transient=True)]
        return np.array(found)

    def _one(self, text: str) -> float:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        logits = self._session.run(ids, np.array([ids.size]))
        negative, positive = (float(value) for value in logits[0])
        return float(1.0 / (1.0 + np.exp(negative - positive)))

    def tokens(self, text: str) -> int:
        """Tokens of `text` that the model sees, `<s>` and `</s>` included."""
        return len(self._tokenizer.encode(text).ids)


def matthews(labels: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    """Matthews correlation coefficient of two 0/1 vectors (Matthews, 1975)."""
    return float(np.corrcoef(labels, answers)[0, 1])


def score(judge: Judge, texts: list[Text], what: str) -> tuple[dict[str, Any], Floats]:
    """Accuracy and MCC on labelled texts, and the probabilities behind them."""
    labels = np.array([text.label for text in texts])
    positive = judge.positive([text.text for text in texts], what)
    answers = (positive > 0.5).astype(np.int64)
    figures = {
        "texts": len(texts),
        "accuracy": round(float((answers == labels).mean()), 4),
        "mcc": round(matthews(labels, answers), 4),
        "positive_share_of_answers": round(float(answers.mean()), 4),
        "mean_confidence": round(float(np.maximum(positive, 1 - positive).mean()), 4),
    }
    return figures, positive


def same_label(judge: Judge, texts: list[Text], positive: Floats) -> dict[str, Any]:
    """For each form: the part of texts with an unchanged label, and the accuracy on the form."""
    labels = np.array([text.label for text in texts])
    figures = {}
    for name, form in FORMS.items():
        found = judge.positive([form(text.text) for text in texts], name) > 0.5
        figures[name] = {
            "same_label": round(float((found == (positive > 0.5)).mean()), 4),
            "accuracy": round(float((found == labels).mean()), 4),
        }
    return figures


def examples(judge: Judge, texts: Sequence[Text]) -> list[dict[str, Any]]:
    """Label and score of each text beside the wanted label."""
    rows = []
    for text, positive in zip(texts, judge.positive([t.text for t in texts]), strict=True):
        answer = int(positive > 0.5)
        rows.append(
            {
                "text": text.text if len(text.text) < 80 else f"{text.text[:60]}...",
                "words": len(text.text.split()),
                "tokens": judge.tokens(text.text),
                "wanted": ID_TO_LABEL[text.label],
                "answer": ID_TO_LABEL[answer],
                "score": round(float(max(positive, 1 - positive)), 4),
            }
        )
    return rows


def read_reviews() -> list[Text]:
    """The long reviews written for this test."""
    rows = json.loads(REVIEWS.read_text(encoding="utf-8"))
    return [Text(row["label"], row["text"]) for row in rows]


def evaluate(folder: Path, data: Path, heldout: Path | None) -> dict[str, Any]:
    """All figures of the model directory `folder`."""
    judge = Judge(folder)
    start = time.time()
    dev = read_tsv(data / "sst2_dev.tsv")
    figures: dict[str, Any] = {
        "graph_bytes": (folder / judge.name).stat().st_size,
        "directory_bytes": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
    }
    figures["sst2_dev"], positive = score(judge, dev, "dev")
    figures["seconds_a_dev_text_alone"] = round((time.time() - start) / len(dev), 5)
    if heldout and heldout.is_file():
        figures["rt_polarity_heldout"], _ = score(judge, read_tsv(heldout), "held out")
    figures["forms"] = same_label(judge, dev, positive)
    figures["examples"] = examples(judge, EXAMPLES)
    if REVIEWS.is_file():
        rows = examples(judge, read_reviews())
        right = sum(row["wanted"] == row["answer"] for row in rows)
        figures["long_reviews"] = {"right": right, "of": len(rows), "rows": rows}
    return figures


def main() -> None:
    """Evaluate the model directory named on the command line; print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--heldout", type=Path, default=Path("build/training/data/heldout.tsv"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures = evaluate(options.folder, options.data, options.heldout)
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    Console().print_json(text)


if __name__ == "__main__":
    main()
