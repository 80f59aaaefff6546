"""Stage `blend`: the best student on the line between the weights before and after training.

Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022: weights between two models, of
which one was trained on from the other, know what both know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lab.training.distil import dev_sets
from lab.training.loop import accuracy
from lab.training.plain import student_logits
from lab.training.stages import Figures
from lab.training.student import load_student
from lab.training.tokenizer import load_tokenizer

SHARES = (0.3, 0.5, 0.7, 1.0)
"""Ways from the student before training (0) to the one after it (1)."""


def between(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Each tensor so far on its way from `before` to `after`."""
    return {name: rows.lerp(after[name], share) for name, rows in before.items()}


def blend(
    folder: Path, before: Path, after: Path, corpus: Path, tokenizer: Path, reviews: int
) -> Figures:
    """Write the student whose mean accuracy on SST-2 dev and on reviews set aside is the highest.

    Args:
        before, after: Hugging Face directories of the student.
        reviews: number of reviews to judge by.
    """
    student = load_student(before, 0.0).float().eval()
    first = {name: rows.clone() for name, rows in student.state_dict().items()}
    last = load_student(after, 0.0).float().state_dict()
    judges = dev_sets(corpus, load_tokenizer(tokenizer), reviews)
    tried: dict[float, list[float]] = {}
    for share in SHARES:
        student.load_state_dict(between(first, last, share))
        tried[share] = [accuracy(student, student_logits, judge) for judge in judges]
    best = max(SHARES, key=lambda share: sum(tried[share]))
    student.load_state_dict(between(first, last, best))
    student.save_pretrained(folder)
    return {
        "share": best,
        "tried": {str(share): [round(part, 4) for part in parts] for share, parts in tried.items()},
    }
