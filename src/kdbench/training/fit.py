"""The only training loop: baselines, teachers, students and fine-tuning all run through it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kdbench.config import TrainConfig
from kdbench.data.splits import Split
from kdbench.errors import NotFinite, OutOfMemory
from kdbench.training.batches import Batch, Batches, plain
from kdbench.training.losses import cross_entropy
from kdbench.training.runtime import Runtime

Loss = Callable[[Tensor, Batch], Tensor]  # logits (n, 10) float32 and their batch -> scalar
EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Epoch:
    """One line of a training history; losses are means over images, accuracy a fraction."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


def label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy against the labels: the loss of everything that has no teacher."""
    return cross_entropy(logits, batch.labels)


def fit(
    model: nn.Module,
    train: Split,
    val: Split,
    settings: TrainConfig,
    runtime: Runtime,
    seed: int,
    *,
    loss: Loss = label_loss,
    after_step: Callable[[], None] = lambda: None,
    title: str = "training",
) -> list[Epoch]:
    """Train `model` in place and return its history; the weights that count are those of the last epoch.

    AdamW (Loshchilov and Hutter 2019) under one cycle of the learning rate (Smith and Topin 2018), whose
    last epoch is its best; nothing is chosen between epochs, so `val` is only watched. `after_step` runs after
    every optimiser step, for constraints on weights. The model is left in eval mode on the training device;
    zero epochs leave its weights as they are. Raises `NotFinite` after the first epoch whose loss is not finite,
    and `OutOfMemory` if a step does not fit.
    """
    runtime.prepare()
    torch.manual_seed(seed)  # dropout and the like; the order of images has its own generator
    model.to(runtime.device, memory_format=torch.channels_last).eval()
    if settings.epochs == 0:
        return []
    batches = Batches(train, settings.batch_size, settings.shift, seed, runtime.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    total = settings.epochs * batches.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=settings.lr, total_steps=total)
    history = []
    with (
        fits_in_memory(settings.batch_size),
        tqdm(total=total, desc=title, unit="step", disable=None, leave=False) as bar,
    ):
        for epoch in range(1, settings.epochs + 1):
            start = time.perf_counter()
            model.train()
            total_loss = torch.zeros((), device=runtime.device)
            for batch in batches.epoch(epoch):
                with runtime.autocast:
                    logits = model(batch.images)
                value = loss(logits.float(), batch)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                after_step()
                schedule.step()
                total_loss += value.detach() * len(batch.labels)
                bar.update()
            train_loss = float(total_loss) / len(train)
            val_loss, val_accuracy = validate(model, val, runtime)
            if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
                raise NotFinite(
                    f"{title} diverged in epoch {epoch}: the loss is not finite; "
                    f"try a lower train.lr than {settings.lr:g}"
                )
            seconds = time.perf_counter() - start
            history.append(Epoch(epoch, train_loss, val_loss, val_accuracy, seconds))
            bar.set_postfix(epoch=epoch, val=f"{val_accuracy:.2%}")
    return history


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
