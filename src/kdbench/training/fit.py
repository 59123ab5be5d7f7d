"""The only training loop: baselines, teachers, students and fine-tuning all run through it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kdbench.config import TrainConfig
from kdbench.data.splits import Split
from kdbench.errors import NotFinite, OutOfMemory
from kdbench.training.batches import Batch, Batches, plain
from kdbench.training.losses import cross_entropy
from kdbench.training.runtime import Runtime
from kdbench.training.stacked import Alone, Stacked

Loss = Callable[[Tensor, Batch], Tensor]  # logits (n, 10) float32 and their batch -> scalar
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Epoch:
    """One line of a training history; losses are means over images, accuracy a fraction.

    `seconds` include validation; networks trained together share them equally.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy against the labels: the loss of everything that has no teacher."""
    return cross_entropy(logits, batch.labels)


@dataclass(frozen=True)
class Learner:
    """A network to be trained in place: the seed of its images, its loss, and what runs after every step.

    `after_step` is for constraints on weights, which it changes in place.
    """

    model: nn.Module
    seed: int
    loss: Loss = label_loss
    after_step: Callable[[], None] = lambda: None
    title: str = "training"


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

    Raises `NotFinite` if its loss is not finite.
    """
    (history,) = fit_all([Learner(model, seed, **options)], train, val, settings, runtime)
    if isinstance(history, Exception):
        raise history
    return history


def fit_all(
    learners: Sequence[Learner], train: Split, val: Split, settings: TrainConfig, runtime: Runtime
) -> list[list[Epoch] | Exception]:
    """Train the networks in place, all at once, and return the history of each, or how it diverged.

    AdamW (Loshchilov and Hutter 2019) under one cycle of the learning rate (Smith and Topin 2018), whose
    last epoch is its best; nothing is chosen between epochs, so `val` is only watched. The models are left in
    eval mode on the training device; zero epochs leave their weights as they are. Several must be `stackable`, and
    come out as each would alone, up to rounding. Training ends after the first epoch in which all have diverged.
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
    histories: list[list[Epoch]] = [[] for _ in learners]
    with (
        fits_in_memory(settings.batch_size),
        tqdm(total=total, desc=titled(learners), unit="step", disable=None, leave=False) as bar,
    ):
        for number in range(1, settings.epochs + 1):
            start = time.perf_counter()
            network.train()
            total_loss = torch.zeros(len(learners), device=runtime.device)
            for own in zip(*(order.epoch(number) for order in batches), strict=True):
                logits = network([batch.images for batch in own])
                losses = [one.loss(y.float(), batch) for one, y, batch in zip(learners, logits, own, strict=True)]
                values = torch.stack(losses)
                optimizer.zero_grad(set_to_none=True)
                values.sum().backward()
                optimizer.step()
                for learner in learners:
                    learner.after_step()
                schedule.step()
                total_loss += values.detach() * len(own[0].labels)
                bar.update()
            watched = [validate(model, val, runtime) for model in models]
            seconds = (time.perf_counter() - start) / len(learners)
            for history, loss, (val_loss, val_accuracy) in zip(histories, total_loss.tolist(), watched, strict=True):
                history.append(Epoch(number, loss / len(train), val_loss, val_accuracy, seconds))
            if all(map(diverged, histories)):
                break
            bar.set_postfix(epoch=number, val=f"{watched[0][1]:.2%}")
    return [outcome(one, history, settings.lr) for one, history in zip(learners, histories, strict=True)]


def diverged(history: Sequence[Epoch]) -> Epoch | None:
    """Return the first epoch with a loss that is not finite."""
    return next((e for e in history if not (math.isfinite(e.train_loss) and math.isfinite(e.val_loss))), None)


def outcome(learner: Learner, history: list[Epoch], lr: float) -> list[Epoch] | Exception:
    """Return the history, or the error that says in which epoch it went wrong."""
    broken = diverged(history)
    if broken is None:
        return history
    return NotFinite(
        f"{learner.title} diverged in epoch {broken.epoch}: the loss is not finite; try a lower train.lr than {lr:g}"
    )


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
def validate(model: nn.Module, split: Split, runtime: Runtime) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on `split`, every image counted once. Leaves eval mode on."""
    model.eval()
    loss, right = 0.0, 0
    for batch in plain(split, EVALUATION_BATCH, runtime.device):
        with runtime.autocast:
            logits = model(batch.images).float()
        loss += float(cross_entropy(logits, batch.labels)) * len(batch.labels)
        right += int((logits.argmax(1) == batch.labels).sum())
    return loss / len(split), right / len(split)
