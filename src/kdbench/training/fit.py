"""The only training loop: baselines, teachers, students and fine-tuning all run through it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kdbench.data.splits import Split
from kdbench.errors import NotFinite, OutOfMemory
from kdbench.settings import bars
from kdbench.settings.network import Recipe
from kdbench.training.batches import Batches, plain
from kdbench.training.criteria import cross_entropy
from kdbench.training.learner import Learner
from kdbench.training.progress import Epoch, Progress, Watched
from kdbench.training.runtime import Runtime
from kdbench.training.schedule import one_cycle
from kdbench.training.stacked import Alone, Stacked

EVALUATION_BATCH = 500


def fit(
    learner: Learner, train: Split, val: Split, recipe: Recipe, runtime: Runtime, until: int | None = None
) -> list[Epoch]:
    """Train one network and return its history (see `fit_all`). Raises `NotFinite` if its loss is not finite."""
    (history,) = fit_all([learner], train, val, recipe, runtime, until)
    if isinstance(history, Exception):
        raise history
    return history


def fit_all(
    learners: Sequence[Learner], train: Split, val: Split, recipe: Recipe, runtime: Runtime, until: int | None = None
) -> list[list[Epoch] | Exception]:
    """Train the networks in place, all at once, and return the history of each, or how it failed.

    AdamW (Loshchilov and Hutter 2019) under one cycle of the learning rate (Smith and Topin 2018), whose last epoch
    is its best; nothing is chosen between epochs, so `val` is only watched. `until` ends it after that epoch of the
    cycle. The models are left in eval mode on the training device; zero epochs leave their weights as they are.
    Several must be `stackable` and stand at one `step`, and come out as each would alone, up to rounding. Training
    ends after the first epoch in which all have diverged. Raises `OutOfMemory` if a step does not fit.
    """
    runtime.prepare()
    torch.manual_seed(learners[0].seed)  # dropout and the like; the order of images has its own generator
    for learner in learners:
        learner.model.to(runtime.device, memory_format=torch.channels_last).eval()
    last = recipe.epochs if until is None else min(until, recipe.epochs)
    if last == 0:
        return [[] for _ in learners]
    progress = start(learners, train, recipe, runtime)
    progress.resume()
    batches = [
        Batches(
            *(train, recipe.batch_size, recipe.shift, one.seed, runtime.device),
            flip=recipe.flip,
            known=one.views_known,
        )
        for one in learners
    ]
    with (
        fits_in_memory(recipe.batch_size),
        tqdm(
            total=last * batches[0].steps,
            initial=progress.step,
            desc=title_of(learners),
            unit="step",
            disable=bars.hidden(),
            leave=False,
        ) as bar,
    ):
        for number in range(len(progress.histories[0]) + 1, last + 1):
            train_epoch(number, progress, batches, recipe.epochs * batches[0].steps, bar)
            watched = [validate(learner.model, val, runtime) for learner in learners]
            progress.end_epoch(len(train), watched)
            for learner, history in zip(learners, progress.histories, strict=True):
                learner.watch(history[-1])
            if all(map(diverged, progress.histories)):
                break
            bar.set_postfix(epoch=number, val=f"{watched[0].accuracy:.2%}")
    progress.end()
    return [
        outcome(learner, history, recipe.lr) for learner, history in zip(learners, progress.histories, strict=True)
    ]


def start(learners: Sequence[Learner], train: Split, recipe: Recipe, runtime: Runtime) -> Progress:
    """Return a training of `learners` that has not begun."""
    first = learners[0]
    if len(learners) > 1:
        network: Alone | Stacked = Stacked([learner.model for learner in learners], runtime)
    else:
        network = Alone(first.model, runtime, first.criterion.layers)
    parameters = network.parameters()
    groups = [{"params": parameters}]
    peaks = [recipe.lr]
    if first.criterion.modules is not None:
        own = [*first.criterion.modules.to(runtime.device, memory_format=torch.channels_last).parameters()]
        if own:
            groups.append({"params": own})
            peaks.append(recipe.lr * first.criterion.modules_lr_scale)
        parameters = [*parameters, *own]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    total = recipe.epochs * -(-len(train) // recipe.batch_size)
    schedule = one_cycle(optimizer, peaks, total)
    loss = torch.zeros(len(learners), device=runtime.device)
    return Progress(learners, network, parameters, optimizer, schedule, loss, [[] for _ in learners])


def train_epoch(number: int, progress: Progress, batches: Sequence[Batches], total: int, bar: tqdm[Any]) -> None:
    """Train the networks of `progress` through what is left of epoch `number`; `total` steps make the schedule."""
    learners, network = progress.learners, progress.network
    skip = progress.step - (number - 1) * batches[0].steps
    progress.begin_epoch()
    network.train()
    for learner in learners:
        if learner.criterion.modules is not None:
            learner.criterion.modules.train()
    checked = False
    for drawn in zip(*(order.epoch(number, skip) for order in batches), strict=True):
        own = [one.criterion.prepare(batch, one.model) for one, batch in zip(learners, drawn, strict=True)]
        outputs = network([batch.images for batch in own])
        losses = [one.criterion(output, batch) for one, output, batch in zip(learners, outputs, own, strict=True)]
        values = torch.stack(losses)
        if not checked:
            require_optimised(values, progress.parameters)
            checked = True
        progress.optimizer.zero_grad(set_to_none=True)
        values.sum().backward()
        progress.optimizer.step()
        progress.step += 1
        if any(learner.constraints for learner in learners):
            network.share_gradients()  # which constraints may read; not for nothing: it takes a millisecond
        for learner in learners:
            for constraint in learner.constraints:
                constraint.apply(learner.model, progress.step, total)
        progress.schedule.step()
        progress.loss += values.detach() * len(drawn[0].index)
        if progress.due:
            progress.save()
        bar.update()


def require_optimised(loss: Tensor, parameters: Sequence[Tensor]) -> None:
    """Raise `TypeError` if `loss` depends on parameters that no optimiser holds: they would never be trained."""
    held = {id(parameter) for parameter in parameters}
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in held:
            raise TypeError(
                f"the loss depends on a parameter of shape {tuple(leaf.shape)} that is not trained: "
                "it must stand in the network, or in the criterion's `modules`"
            )
        waiting += [following for following, _ in node.next_functions]


def diverged(history: Sequence[Epoch]) -> Epoch | None:
    """Return the first epoch with a loss that is not finite."""
    return next((e for e in history if not (math.isfinite(e.train_loss) and math.isfinite(e.val_loss))), None)


def outcome(learner: Learner, history: list[Epoch], lr: float) -> list[Epoch] | Exception:
    """Return the history, or the error that says how it went wrong."""
    broken = diverged(history)
    if broken is None:
        return history
    return NotFinite(
        f"{learner.title} diverged in epoch {broken.epoch}: the loss is not finite; try a lower train.lr than {lr:g}"
    )


def title_of(learners: Sequence[Learner]) -> str:
    """Return what the progress bar says."""
    others = f" and {len(learners) - 1} more" if len(learners) > 1 else ""
    return learners[0].title + others


@contextlib.contextmanager
def fits_in_memory(batch_size: int) -> Iterator[None]:
    """Turn what torch raises on each device when memory runs out into `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = str(error).lower()
        if isinstance(error, MemoryError) or "out of memory" in reason or "can't allocate memory" in reason:
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
