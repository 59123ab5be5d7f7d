"""The only training loop: baselines, teachers, students and fine-tuning all run through it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kdbench.data.splits import Split
from kdbench.errors import Collapsed, NotFinite, OutOfMemory
from kdbench.settings.config import TrainConfig
from kdbench.training.batches import Batch, Batches, plain
from kdbench.training.checkpoint import Checkpoint
from kdbench.training.losses import cross_entropy
from kdbench.training.progress import Epoch, Progress, Watched
from kdbench.training.runtime import Runtime
from kdbench.training.stacked import Alone, Stacked

Loss = Callable[[Tensor, Batch], Tensor]  # logits (n, 10) float32 and their batch -> scalar
EVALUATION_BATCH = 500


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy against the labels: the loss of everything that has no teacher."""
    return cross_entropy(logits, batch.labels)


@dataclass(frozen=True)
class Learner:
    """A network to be trained in place: the seed of its images, its loss, and what runs after every step.

    `after_step` is for constraints on weights, which it changes in place. A training with a `checkpoint` goes on
    where that stands, to the same weights bit for bit on a CPU.
    """

    model: nn.Module
    seed: int
    loss: Loss = label_loss
    after_step: Callable[[], None] = lambda: None
    title: str = "training"
    checkpoint: Checkpoint | None = None

    @property
    def step(self) -> int:
        """How many steps are done already, by a process that was cut off."""
        return self.checkpoint.step if self.checkpoint else 0


def fit(
    model: nn.Module,
    train: Split,
    val: Split,
    settings: TrainConfig,
    runtime: Runtime,
    seed: int,
    **options: Any,
) -> list[Epoch]:
    """Train `model` alone and return its history (see `fit_all`); `options` are those of a `Learner`.

    Raises `NotFinite` if its loss is not finite, and `Collapsed` if it comes to predict one class only.
    """
    (history,) = fit_all([Learner(model, seed, **options)], train, val, settings, runtime)
    if isinstance(history, Exception):
        raise history
    return history


def fit_all(
    learners: Sequence[Learner], train: Split, val: Split, settings: TrainConfig, runtime: Runtime
) -> list[list[Epoch] | Exception]:
    """Train the networks in place, all at once, and return the history of each, or how it failed.

    AdamW (Loshchilov and Hutter 2019) under one cycle of the learning rate (Smith and Topin 2018), whose
    last epoch is its best; nothing is chosen between epochs, so `val` is only watched. The models are left in
    eval mode on the training device; zero epochs leave their weights as they are. Several must be `stackable` and
    stand at one `step`, and come out as each would alone, up to rounding. Training ends after the first epoch in
    which all have diverged.
    Raises `OutOfMemory` if a step does not fit.
    """
    runtime.prepare()
    torch.manual_seed(learners[0].seed)  # dropout and the like; the order of images has its own generator
    models = [learner.model.to(runtime.device, memory_format=torch.channels_last).eval() for learner in learners]
    if settings.epochs == 0:
        return [[] for _ in learners]
    network = Stacked(models, runtime) if len(models) > 1 else Alone(models[0], runtime)
    batches = [Batches(train, settings.batch_size, settings.shift, one.seed, runtime.device) for one in learners]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )
    total = settings.epochs * batches[0].steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=settings.lr, total_steps=total)
    progress = Progress(
        models,
        network,
        optimizer,
        schedule,
        [learner.checkpoint for learner in learners],
        torch.zeros(len(learners), device=runtime.device),
        [[] for _ in learners],
    )
    progress.resume()
    watched: list[Watched] = []
    with (
        fits_in_memory(settings.batch_size),
        tqdm(
            total=total, initial=progress.step, desc=titled(learners), unit="step", disable=None, leave=False
        ) as bar,
    ):
        for number in range(len(progress.histories[0]) + 1, settings.epochs + 1):
            train_epoch(number, progress, learners, batches, bar)
            watched = [validate(model, val, runtime) for model in models]
            progress.end_epoch(len(train), watched)
            if all(map(diverged, progress.histories)):
                break
            bar.set_postfix(epoch=number, val=f"{watched[0].accuracy:.2%}")
    progress.end()
    classes = [found.classes for found in watched] or [0] * len(learners)  # none, if a checkpoint was at the end
    return [
        outcome(learner, history, settings.lr, seen)
        for learner, history, seen in zip(learners, progress.histories, classes, strict=True)
    ]


def train_epoch(
    number: int, progress: Progress, learners: Sequence[Learner], batches: Sequence[Batches], bar: tqdm[Any]
) -> None:
    """Train the networks of `progress` through what is left of epoch `number`."""
    network, optimizer, schedule = progress.network, progress.optimizer, progress.schedule
    skip = progress.step - (number - 1) * batches[0].steps
    progress.begin_epoch()
    network.train()
    for own in zip(*(order.epoch(number, skip) for order in batches), strict=True):
        logits = network([batch.images for batch in own])
        losses = [one.loss(y.float(), batch) for one, y, batch in zip(learners, logits, own, strict=True)]
        values = torch.stack(losses)
        optimizer.zero_grad(set_to_none=True)
        values.sum().backward()
        optimizer.step()
        for learner in learners:
            learner.after_step()
        schedule.step()
        progress.loss += values.detach() * len(own[0].labels)
        progress.step += 1
        if progress.due:
            progress.save()
        bar.update()


def diverged(history: Sequence[Epoch]) -> Epoch | None:
    """Return the first epoch with a loss that is not finite."""
    return next((e for e in history if not (math.isfinite(e.train_loss) and math.isfinite(e.val_loss))), None)


def outcome(learner: Learner, history: list[Epoch], lr: float, classes: int) -> list[Epoch] | Exception:
    """Return the history, or the error that says how it went wrong; `classes` were predicted at the end."""
    broken = diverged(history)
    if broken is not None:
        return NotFinite(
            f"{learner.title} diverged in epoch {broken.epoch}: the loss is not finite; "
            f"try a lower train.lr than {lr:g}"
        )
    if classes == 1:
        return Collapsed(
            f"{learner.title} ended in a network that predicts one class for every image: "
            f"try a lower train.lr than {lr:g}, or more train.epochs"
        )
    return history


def titled(learners: Sequence[Learner]) -> str:
    """Return what the progress bar says."""
    others = f" and {len(learners) - 1} more" if len(learners) > 1 else ""
    return learners[0].title + others


@contextlib.contextmanager
def fits_in_memory(batch_size: int) -> Iterator[None]:
    """Turn what torch raises on each device when memory runs out into `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = str(error).lower()
        if isinstance(error, MemoryError) or "out of memory" in told or "can't allocate memory" in told:
            raise OutOfMemory(
                f"out of memory with train.batch_size={batch_size}: try train.batch_size={max(batch_size // 2, 2)}"
            ) from error
        raise


@torch.inference_mode()
def validate(model: nn.Module, split: Split, runtime: Runtime) -> Watched:
    """Look at `split`, every image counted once. Leaves eval mode on."""
    model.eval()
    loss, right = 0.0, 0
    predicted: set[int] = set()
    for batch in plain(split, EVALUATION_BATCH, runtime.device):
        with runtime.autocast:
            logits = model(batch.images).float()
        loss += float(cross_entropy(logits, batch.labels)) * len(batch.labels)
        classes = logits.argmax(1)
        right += int((classes == batch.labels).sum())
        predicted |= set(classes.tolist())
    return Watched(loss / len(split), right / len(split), len(predicted))
