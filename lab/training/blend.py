"""Stage `blend`: the best student on the lines between the weights before and after training.

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
    folder: Path,
    before: Path,
    afters: Mapping[str, Path],
    corpus: Path,
    tokenizer: Path,
    reviews: int,
) -> Figures:
    """Write the student whose mean accuracy on SST-2 dev and on reviews set aside is the highest.

    Args:
        before: Hugging Face directory of the student before training.
        afters: the same of students after it, by name.
        reviews: number of reviews to judge by.
    """
    student = load_student(before, 0.0).float().eval()
    first = {name: rows.clone() for name, rows in student.state_dict().items()}
    judges = dev_sets(corpus, load_tokenizer(tokenizer), reviews)
    tried: dict[str, list[float]] = {}
    best = 0.0
    for name, path in afters.items():
        after = load_student(path, 0.0).float().state_dict()
        for share in SHARES:
            student.load_state_dict(between(first, after, share))
            found = [accuracy(student, student_logits, judge) for judge in judges]
            tried[f"{name}, {share}"] = [round(part, 4) for part in found]
            if sum(found) > best:
                best = sum(found)
                student.save_pretrained(folder)
    return {"tried": tried}
