"""Stage `export`: the best student as a checkpoint in half precision, and texts to calibrate with.

`make model` turns them into the model directory, by the project's own commands.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from lab.training.batches import Example
from lab.training.corpus import Guard, read_tsv
from lab.training.glue import Gluer
from lab.training.head import HEAD
from lab.training.stages import Figures
from lab.training.texts import surface
from roberta_sentiment.model.integrity import sha256_of

SENTENCES, LONG = 376, 24
"""Calibration texts: sentences in their surface forms, and glued ones of 100 to 400 words."""


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def export_checkpoint(student: Path, tokenizer: Path, checkpoint: Path) -> Figures:
    """Write the student's tensors as float16 with their sha256, its config.json and its tokenizer.

    A head that was calibrated for an earlier student is removed.

    Args:
        student: Hugging Face directory in float32.
        tokenizer: directory of its tokenizer.
        checkpoint: directory to fill.
    """
    tensors = load_file(student / "model.safetensors")
    halved = {name: tensor.half() for name, tensor in tensors.items()}
    checkpoint.mkdir(parents=True, exist_ok=True)
    save_file(halved, checkpoint / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(student / "config.json", checkpoint / "config.json")
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, checkpoint / name)
    worst = max(float((tensors[n] - halved[n].float()).abs().max()) for n in tensors)
    size = sum((checkpoint / name).stat().st_size for name in ("model.safetensors", "config.json"))
    digest = sha256_of(checkpoint / "model.safetensors")
    (checkpoint / HEAD).unlink(missing_ok=True)
    (checkpoint / "SHA256SUMS").write_text(f"{digest}  model.safetensors\n", encoding="ascii")
    return {"checkpoint_bytes": size, "largest_rounding": worst}


def calibration_texts(data: Path, seed: int) -> list[str]:
    """Training texts as a server meets them, none of them from SST-2 dev, in random order."""
    draw = random.Random(seed)
    guard = Guard(read_tsv(data / "sst2_dev.tsv"))
    known = [
        text
        for text in read_tsv(data / "sst2_train.tsv")
        if len(text.text.split()) > 3 and not guard.touches(text.text)
    ]
    logits = ((1.0, -1.0), (-1.0, 1.0))
    gluer = Gluer([Example(text.text, text.label, logits[text.label]) for text in known])
    texts = [surface(text.text, draw) for text in draw.sample(known, SENTENCES)]
    texts += [gluer.text(draw.randint(100, 400), draw).text for _ in range(LONG)]
    draw.shuffle(texts)
    return texts
