"""The one training loop, for the plain recipe, the teacher and the distillation alike."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from lab.training.batches import Batch
from lab.training.settings import Schedule
from lab.training.stages import Figures

Forward = Callable[[nn.Module, Batch], Tensor]
"""Model and batch -> float [texts, 2 or more]; the first two columns are the logits."""
Loss = Callable[[Tensor, Batch], Tensor]
"""What `Forward` gave and the batch -> scalar."""
SAVE_EVERY = 100
"""Steps between two saved states."""
LOG_EVERY = 20
"""Steps between two lines of the log where there is no terminal to draw a bar on."""


@dataclass(frozen=True)
class Task:
    """What a run learns and how it is judged."""

    forward: Forward
    loss: Loss
    epoch: Callable[[int], list[Batch]]
    """Number of the epoch, from 0 -> its batches; must give the same batches every time."""
    dev: list[list[Batch]]
    """Labelled sets; the mean of their accuracies judges."""


def accuracy(model: nn.Module, forward: Forward, batches: list[Batch]) -> float:
    """Part of the texts whose larger logit is that of the label."""
    right = total = 0
    for batch, logits in predict(model, forward, batches):
        right += int((logits[:, :2].argmax(dim=1) == batch.labels).sum())
        total += len(batch.rows)
    return right / total


def predict(
    model: nn.Module, forward: Forward, batches: list[Batch]
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with what `forward` gives for it, float32, under bfloat16 autocast."""
    training = model.training
    model.eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for batch in batches:
            yield batch, forward(model, batch).float()
    model.train(training)


def _groups(model: nn.Module, schedule: Schedule) -> list[dict[str, object]]:
    """Optimiser groups: word embeddings apart, no decay on biases and norms."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        words = "word_embeddings" in name
        rate = schedule.embedding_learning_rate if words else schedule.learning_rate
        if rate == 0 or not parameter.requires_grad:
            parameter.requires_grad_(False)
            continue
        decay = schedule.weight_decay if parameter.ndim > 1 and not words else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def _factor(step: int, steps: int, warmup: float) -> float:
    """Linear rise over the warm-up, linear fall to 0 after it."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))


class Average:
    """Exponential moving average of a model's weights (Polyak averaging)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval()
        self._decay = decay
        self._updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`; early updates weigh more."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)


class Run:
    """One optimisation run, resumable from its folder."""

    def __init__(self, model: nn.Module, schedule: Schedule, task: Task, folder: Path) -> None:
        self.model, self.schedule, self.task, self.folder = model, schedule, task, folder
        self.average = Average(model, schedule.ema_decay) if schedule.ema_decay else None
        self.groups = _groups(model, schedule)
        self.optimizer = torch.optim.AdamW(self.groups, lr=schedule.learning_rate, fused=True)
        self.best = -1.0
        self.step = 0
        self.history: list[dict[str, Any]] = []

    @property
    def judged(self) -> nn.Module:
        """The model that is judged and kept: the average where there is one."""
        return self.average.model if self.average else self.model

    def fit(self, console: Console) -> Figures:
        """Train; the best weights on dev end in `best.pt`, the last ones in `last.pt`."""
        start = time.time()
        steps = len(self.task.epoch(0)) * self.schedule.epochs
        steps = min(steps, self.schedule.max_steps or steps)
        self._resume()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task("training", total=steps, completed=self.step)
            done = 0
            for epoch in range(self.schedule.epochs):
                batches = self.task.epoch(epoch)
                if done + len(batches) > self.step:
                    for batch in batches[max(0, self.step - done) : steps - done]:
                        loss = self._one(batch, steps)
                        text = f"epoch {epoch + 1} loss {loss:.3f} best {self.best:.4f}"
                        progress.update(bar, completed=self.step, description=text)
                        if not console.is_terminal and self.step % LOG_EVERY == 0:
                            console.print(f"{time.strftime('%H:%M:%S')} {self.step}/{steps} {text}")
                        self._look(console, self.schedule.evaluate_every)
                    self._look(console, 1)
                done += len(batches)
                if self.step >= steps:
                    break
        torch.save(self.judged.state_dict(), self.folder / "last.pt")
        (self.folder / "state.pt").unlink(missing_ok=True)
        return {
            "steps": self.step,
            "training_seconds": round(time.time() - start, 1),
            "dev_best": self.best,
            "history": self.history,
        }

    def _one(self, batch: Batch, steps: int) -> float:
        factor = _factor(self.step, steps, self.schedule.warmup)
        for group, first in zip(self.optimizer.param_groups, self.groups, strict=True):
            group.setdefault("peak", first["lr"])
            group["lr"] = group["peak"] * factor
        self.model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.task.forward(self.model, batch)
        loss = self.task.loss(logits.float(), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.average:
            self.average.update(self.model)
        return float(loss.detach())

    def _look(self, console: Console, every: int) -> None:
        seen = bool(self.history) and self.history[-1]["step"] == self.step
        if every and self.step % every == 0 and not seen:
            found = [accuracy(self.judged, self.task.forward, part) for part in self.task.dev]
            value = sum(found) / len(found)
            parts = " ".join(f"{part:.4f}" for part in found)
            self.history.append({"step": self.step, "dev": [round(part, 5) for part in found]})
            console.print(f"{time.strftime('%H:%M:%S')} step {self.step} dev {parts}")
            if value > self.best:
                self.best = value
                torch.save(self.judged.state_dict(), self.folder / "best.pt")
            (self.folder / "history.json").write_text(json.dumps(self.history), encoding="utf-8")
        if self.step % SAVE_EVERY == 0:
            self._save()

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.model.state_dict() if self.average else {},
            "step": self.step,
            "best": self.best,
            "history": self.history,
        }
        torch.save(state, self.folder / "state.tmp")
        (self.folder / "state.tmp").replace(self.folder / "state.pt")

    def _resume(self) -> None:
        path = self.folder / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.model.load_state_dict(state["average"])
        self.step, self.best, self.history = state["step"], state["best"], state["history"]
