"""Everything that changes while networks are trained, and its way into checkpoints and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from kdbench.errors import DamagedFile
from kdbench.models.network import fill
from kdbench.training.checkpoint import Checkpoint, Saved
from kdbench.training.learner import Learner
from kdbench.training.stacked import Alone, Stacked

SCHEDULE = ("last_epoch", "_step_count", "_last_lr")


@dataclass(frozen=True)
class Epoch:
    """One line of a training history; losses are means over images, accuracy a fraction.

    `seconds` include validation; networks trained together share them equally. `classes` is how many classes the
    network gave to the validation images: one is a network that has broken down, or whose head is not trained yet.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float
    classes: int


class Watched(NamedTuple):
    """What validation found after an epoch: mean cross-entropy, accuracy, and how many classes were predicted."""

    loss: float
    accuracy: float
    classes: int


@dataclass
class Progress:
    """Where the training of the models of `learners`, which are `network` together, stands.

    `parameters` are those that the optimiser holds. `loss` sums over the images of this epoch so far, one number a
    network; `seconds` is what this epoch took.
    """

    learners: Sequence[Learner]
    network: Alone | Stacked
    parameters: Sequence[Tensor]
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    loss: Tensor
    histories: list[list[Epoch]] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    began: float = 0.0

    def begin_epoch(self) -> None:
        """Start the clock of an epoch, or of what is left of it."""
        self.began = time.perf_counter() - self.seconds

    def end_epoch(self, images: int, watched: Sequence[Watched]) -> None:
        """Write a line into each history, and be ready for the next epoch."""
        seconds = (time.perf_counter() - self.began) / len(self.learners)
        for history, loss, found in zip(self.histories, self.loss.tolist(), watched, strict=True):
            history.append(Epoch(len(history) + 1, loss / images, found.loss, found.accuracy, seconds, found.classes))
        self.loss.zero_()
        self.seconds = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time for checkpoints."""
        return any(checkpoint is not None and checkpoint.due() for checkpoint in self._checkpoints())

    def save(self) -> None:
        """Write a checkpoint for each network that has one."""
        self.seconds = time.perf_counter() - self.began
        for position, checkpoint in enumerate(self._checkpoints()):
            if checkpoint is not None:
                checkpoint.save(Saved(self._tensors(position) | self._moments(position), self._record(position)))

    def end(self) -> None:
        """Have the checkpoints remember how it ended, in case their trainings go on with another fit."""
        for position, checkpoint in enumerate(self._checkpoints()):
            if checkpoint is not None:
                weights = {name: tensor.clone() for name, tensor in self._tensors(position).items()}
                checkpoint.end(Saved(weights, self._record(position)))

    def resume(self) -> None:
        """Go to where the checkpoints stand, all at one step. Raises `DamagedFile` if they do not fit."""
        for position, checkpoint in enumerate(self._checkpoints()):
            saved = checkpoint.begin() if checkpoint else None
            if checkpoint is None or saved is None:
                continue
            try:
                self._restore(position, saved)
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise DamagedFile(f"{checkpoint.folder} belongs to another training ({reason}): delete it") from error

    def _checkpoints(self) -> list[Checkpoint | None]:
        return [learner.checkpoint for learner in self.learners]

    def _tensors(self, position: int) -> dict[str, Tensor]:
        learner = self.learners[position]
        states = {"random": torch.get_rng_state()}
        if self.loss.is_cuda:
            states["random cuda"] = torch.cuda.get_rng_state()
        parts = {"model": learner.model.state_dict()}
        if learner.criterion.modules is not None:
            parts["criterion"] = learner.criterion.modules.state_dict()
        parts |= {f"constraint{number}": one.state() for number, one in enumerate(learner.constraints)}
        return states | {f"{part} {name}": tensor for part, own in parts.items() for name, tensor in own.items()}

    def _moments(self, position: int) -> dict[str, Tensor]:
        return {
            f"optimizer {number} {name}": value if name == "step" else self.network.part(value, position)
            for number, parameter in enumerate(self.parameters)
            for name, value in self.optimizer.state[parameter].items()
        }

    def _record(self, position: int) -> dict[str, Any]:
        return {
            "step": self.step,
            "loss": float(self.loss[position]),
            "history": [asdict(epoch) for epoch in self.histories[position]],
            "seconds": self.seconds,
            "schedule": {name: self.schedule.state_dict()[name] for name in SCHEDULE},
            "groups": [{"lr": float(group["lr"]), "betas": group["betas"]} for group in self.optimizer.param_groups],
        }

    @torch.no_grad()
    def _restore(self, position: int, saved: Saved) -> None:
        record, tensors = saved.record, saved.tensors
        learner = self.learners[position]
        fill(learner.model, _named(tensors, "model "))
        if learner.criterion.modules is not None:
            fill(learner.criterion.modules, _named(tensors, "criterion "))
        for number, constraint in enumerate(learner.constraints):
            constraint.restore(_named(tensors, f"constraint{number} "))
        torch.set_rng_state(tensors["random"])
        if self.loss.is_cuda:
            torch.cuda.set_rng_state(tensors["random cuda"])
        for number, parameter in enumerate(self.parameters):
            for name, value in _named(tensors, f"optimizer {number} ").items():
                if name == "step":  # which the networks share
                    self.optimizer.state[parameter][name] = value.to(parameter.device)
                    continue
                # In the memory format of the parameter, as the optimiser makes them.
                kept = self.optimizer.state[parameter].setdefault(name, torch.zeros_like(parameter))
                self.network.part(kept, position).copy_(value)
        for group, before in zip(self.optimizer.param_groups, record["groups"], strict=True):
            group["lr"], group["betas"] = before["lr"], tuple(before["betas"])
        self.schedule.load_state_dict(record["schedule"])
        self.histories[position] = [Epoch(**epoch) for epoch in record["history"]]
        self.loss[position] = record["loss"]
        self.step, self.seconds = record["step"], record["seconds"]


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
