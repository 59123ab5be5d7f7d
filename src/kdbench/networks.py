"""Networks on demand: taken from the store if they are there, trained and put there if not."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from kdbench.compress.step import NetworkStep, Task
from kdbench.data.splits import Splits
from kdbench.errors import Collapsed, NotFinite
from kdbench.models.network import build
from kdbench.settings import targets
from kdbench.settings.config import NetworkConfig, digest
from kdbench.storage import store as stored
from kdbench.storage.store import Speech, Store, Training
from kdbench.training.batches import Batches
from kdbench.training.checkpoint import Account, Checkpoint
from kdbench.training.fit import EVALUATION_BATCH, Epoch, fit
from kdbench.training.runtime import Runtime
from kdbench.training.teacher import Teacher
from kdbench.training.together import Seat

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network on the CPU in eval mode, the key that identifies it, and how it came about.

    `seconds` sums the trainings that lead to it, its teacher's not included; `history` is the last one's.
    """

    network: nn.Module
    key: str
    seconds: float
    history: list[Epoch]


@dataclass(frozen=True)
class Networks:
    """The network that ships, and those it is compared with."""

    shipped: Trained
    # What the compression started from: the trained network, or, where a method starts from scratch beside a
    # teacher, the initial one in use, of which only the size is compared.
    baseline: Trained
    teacher: Trained | None


@dataclass(frozen=True)
class Log:
    """What a training leaves behind while it runs: the histories of its fits, and its checkpoint."""

    history: list[Epoch]
    checkpoint: Checkpoint


class Trainer:
    """Makes every network of a run, each training at most once per store. Sees no test images."""

    def __init__(self, splits: Splits, runtime: Runtime, store: Store) -> None:
        self.data = replace(splits, test=splits.val)
        self.fingerprint = splits.fingerprint
        self.runtime = runtime
        self.store = store
        self.seat: Seat | None = None
        self.clock = time.perf_counter

    def seated(self, seat: Seat) -> Trainer:
        """Return one that makes the same networks, but trains together with the others of a meeting."""
        other = copy.copy(self)
        other.seat, other.clock = seat, seat.clock
        return other

    def initial(self, config: NetworkConfig) -> Trained:
        """Return the network as its seed initialises it."""
        network = build(config.model, config.seed, self.data.pixel_statistics).eval()
        return Trained(network, self.key({"initial": describe(config)}), 0.0, [])

    def in_use(self, initial: Trained) -> Trained:
        """Return a copy that has seen some images, so that its file is as large as a trained one's.

        Before, the means of batch norm are zero, and the exporter leaves out biases that are zero.
        """
        network = copy.deepcopy(initial.network)
        with torch.no_grad():
            network.train()(self.data.train.images[:64].float() / 255)
        return replace(initial, network=network.eval(), key=self.key({"in use": initial.key}))

    def baseline(self, config: NetworkConfig) -> Trained:
        """Return the network trained on the labels alone."""
        identity = {"baseline": describe(config)}
        title = f"{config.name} baseline seed {config.seed}"

        def train(network: nn.Module, progress: Log) -> nn.Module:
            self.fit(config, progress, title, network)
            return network

        return self.trained(title, identity, self.initial(config), train, copy.deepcopy)

    def compressed(
        self,
        step: NetworkStep,
        node: dict[str, Any],
        start: Trained,
        config: NetworkConfig,
        teacher: Trained | None,
    ) -> Trained:
        """Return what `step`, described by `node`, makes of `start`."""
        identity = {
            "step": targets.identity(node),
            "start": start.key,
            "config": describe(config),
            "teacher": teacher.key if teacher else None,
        }

        title = f"{config.name} {type(step).__name__} seed {config.seed}"

        speaker = self.teacher(teacher, config) if teacher else None

        def train(network: nn.Module, progress: Log) -> nn.Module:
            torch.manual_seed(config.seed)  # what a step draws must not depend on what was trained before it
            return step(network, Task(partial(self.fit, config, progress, title), speaker))

        return self.trained(title, identity, start, train, step.architecture, speaker)

    def teacher(self, trained: Trained, config: NetworkConfig) -> Teacher:
        """Return `trained` as a teacher of students that see the training set as `config` shows it."""
        shift = config.train.shift

        def identity(view: int) -> dict[str, Any]:
            return {"teacher": trained.key, "shift": shift, "seed": config.seed if shift else None, "view": view}

        def memory(view: int, speak: Callable[[int], Speech]) -> tuple[Speech, bool]:
            key = self.key(identity(view))
            speech = self.store.speech(key)
            if speech is not None:
                return speech, True
            with self.store.making(key, f"logits of the teacher {trained.key[:8]}, view {view}"):
                speech = self.store.speech(key)
                if speech is not None:
                    return speech, True
                speech = speak(view)
                self.store.put_speech(key, speech, identity(view))
            return speech, False

        views = Batches(self.data.train, EVALUATION_BATCH, shift, config.seed, self.runtime.device)
        return Teacher(copy.deepcopy(trained.network), views, self.runtime, memory)

    def trained(
        self,
        title: str,
        identity: dict[str, Any],
        start: Trained,
        train: Callable[[nn.Module, Log], nn.Module],
        architecture: Callable[[nn.Module], nn.Module],
        teacher: Teacher | None = None,
    ) -> Trained:
        """Take `identity` from the store, or train it from `start` and put it there."""
        key = self.key(identity)
        network = architecture(start.network)
        training = self.store.get(key, network)
        if training is None:
            # In a meeting, waiting would make all wait: its own run trains such a network, alone.
            with self.store.making(key, title, wait=self.seat is None):
                training = self.store.get(key, network)
                if training is None:
                    network, training = self.make(key, title, start, train, teacher)
                    require_same_shapes(title, network, architecture(start.network))
                    self.store.put(key, network, training, identity)
                    self.store.drop_checkpoint(key)
                    log.info("%s: trained in %.1f s, kept as %s", title, training.seconds, key)
                    return Trained(network.eval(), key, start.seconds + training.seconds, training.history)
        self.store.drop_checkpoint(key)  # a kill may have come between the last two lines above
        log.info("%s: taken from the store, entry %s", title, key)
        return Trained(network.eval(), key, start.seconds + training.seconds, training.history)

    def make(
        self,
        key: str,
        title: str,
        start: Trained,
        train: Callable[[nn.Module, Log], nn.Module],
        teacher: Teacher | None,
    ) -> tuple[nn.Module, Training]:
        """Train from `start`, or from where the last process that did so was cut off."""
        checkpoint = self.store.checkpoint(key)
        before = checkpoint.account
        if checkpoint.fits:
            step = checkpoint.fits[-1].record["step"]
            log.info("%s: goes on from its checkpoint, %.0f s and %d steps", title, before.seconds, step)
        if teacher is not None:
            teacher.recalled_seconds, teacher.heard = before.recalled, before.heard
        began = self.clock() - before.seconds

        def tally() -> Account:
            recalled, heard = (teacher.recalled_seconds, teacher.heard) if teacher else (0.0, None)
            return Account(self.clock() - began, recalled, heard)

        checkpoint.tally = tally
        progress = Log([], checkpoint)
        try:
            network = train(copy.deepcopy(start.network), progress)
        except (NotFinite, Collapsed):
            self.store.drop_checkpoint(key)  # another try would only fail again
            raise
        network = network.to("cpu", memory_format=torch.contiguous_format)
        spent = tally()
        return network, Training(progress.history, spent.seconds + spent.recalled, spent.recalled)

    def fit(
        self,
        config: NetworkConfig,
        progress: Log,
        title: str,
        network: nn.Module,
        *,
        epochs: int | None = None,
        lr_scale: float = 1.0,
        **options: Any,
    ) -> None:
        """Train `network` in place by the recipe of `config`, changed where a method asks for it."""
        epochs = config.train.epochs if epochs is None else epochs
        settings = replace(config.train, epochs=epochs, lr=config.train.lr * lr_scale)
        train = self.seat.fit if self.seat else fit
        history = train(
            network,
            self.data.train,
            self.data.val,
            settings,
            self.runtime,
            config.seed,
            title=title,
            checkpoint=progress.checkpoint,
            **options,
        )
        progress.history.extend(history)

    def key(self, identity: dict[str, Any]) -> str:
        """Hash everything that decides weights: 32 hex digits."""
        everything = [stored.FORMAT, self.fingerprint, asdict(self.runtime), torch.__version__, identity]
        return digest(everything)[:32]


def require_same_shapes(title: str, made: nn.Module, expected: nn.Module) -> None:
    """Raise `TypeError` if stored weights of `made` could not be loaded into `expected` later."""
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in (made, expected)]
    if shapes[0] != shapes[1]:
        raise TypeError(f"{title}: the step changes the shape of the network, so it must define `architecture` too")


def describe(config: NetworkConfig) -> dict[str, Any]:
    """Everything of a network's configuration that decides its weights; its name does not."""
    return {"model": targets.identity(config.model), "train": asdict(config.train), "seed": config.seed}
