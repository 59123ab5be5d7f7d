"""Training and distilling: one epoch of ours against one epoch of the ordinary way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import nn

from benchmark import ceiling
from benchmark.ordinary import Ordinary
from benchmark.race import Race, race
from kdbench.compress.distill.soft_targets import Distill
from kdbench.compress.step import Task
from kdbench.data.splits import Splits
from kdbench.models.network import build
from kdbench.settings.config import NetworkConfig
from kdbench.storage.store import Speech
from kdbench.training.batches import Batches
from kdbench.training.fit import EVALUATION_BATCH, Loss, fit, label_loss
from kdbench.training.runtime import Runtime
from kdbench.training.teacher import Teacher


@dataclass(frozen=True)
class Track:
    """What every race runs on: the same networks, images, threads and number of samples for both."""

    networks: dict[str, NetworkConfig]
    splits: Splits
    machine: Runtime
    rounds: int

    def network(self, name: str) -> nn.Module:
        """Return the network of that name, as its seed initialises it."""
        return build(self.networks[name].model, 0, self.splits.pixel_statistics)

    def bare(self, name: str) -> nn.Module:
        """Return it without our normalisation, which the transforms of the ordinary way do themselves."""
        return self.network(name)[1]  # type: ignore[index]

    def epoch(self, network: nn.Module, name: str, shift: int, loss: Loss = label_loss) -> None:
        """Train for one epoch of the network's own recipe, validation included, as the ordinary way does too."""
        settings = replace(self.networks[name].train, epochs=1, shift=shift)
        fit(network, self.splits.train, self.splits.val, settings, self.machine, 0, loss=loss)


def train(track: Track, name: str) -> Race:
    """Race an epoch on the labels, images as they are; add the share of what convolutions alone can reach."""
    theirs = Ordinary(track.bare(name), None, track.splits.train, track.splits.val, 0)

    def ours() -> float:
        network = track.network(name)
        return timed(lambda: track.epoch(network, name, 0))

    result = race(f"train {name}", ours, lambda: timed(theirs), track.rounds)
    return replace(result, note=share(track, name, median(result.ours)))


def share(track: Track, name: str, seconds: float) -> str:
    """Say how much of an epoch the convolutions of its training steps would take alone."""
    dtype = torch.bfloat16 if track.machine.precision == "bf16" else torch.float32
    batch = track.networks[name].train.batch_size
    step, operations = ceiling.of_training(track.network(name), batch, dtype)
    if not step:
        return ""
    # Validation runs forward only, about a third of a training step for each image.
    steps = (len(track.splits.train) + len(track.splits.val) / 3) / batch
    return f"{steps * step / seconds:.0%} of the convolution ceiling ({operations / step / 1e9:.0f} GFLOP/s)"


def distill(track: Track, student: str, teacher: str, shift: int = 0) -> Race:
    """Race an epoch under a teacher. What ours spends on the teacher is counted over the run's epochs."""
    taught = track.bare(teacher)
    theirs = Ordinary(track.bare(student), taught, track.splits.train, track.splits.val, shift)
    epochs = track.networks[student].train.epochs
    spoken: list[float] = []

    def ours() -> float:
        said: list[float] = []

        def memory(view: int, speak: Callable[[int], Speech]) -> tuple[Speech, bool]:
            speech = speak(view)
            said.append(speech.seconds)
            return speech, False

        views = Batches(track.splits.train, EVALUATION_BATCH, shift, 0, track.machine.device)
        speaker = Teacher(track.network(teacher), views, track.machine, memory)

        def train_student(network: nn.Module, *, loss: Loss) -> None:
            track.epoch(network, student, shift, loss)

        wall = timed(lambda: Distill(2, 0.1)(track.network(student), Task(train_student, speaker)))
        spoken.append(sum(said))
        return wall if shift else wall - sum(said) + sum(said) / epochs

    name = f"distill {student}" + (f" shift {shift}" if shift else "")
    result = race(name, ours, lambda: timed(theirs), track.rounds)
    once = "in every epoch" if shift else f"once in {epochs} epochs"
    return replace(result, note=f"{teacher} speaks for {median(spoken):.2f} s, {once}")


def timed(work: object) -> float:
    """Return the seconds that `work()` takes."""
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began
