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

from kdbench import targets
from kdbench.compress.step import NetworkStep, Task
from kdbench.config import NetworkConfig, digest
from kdbench.data.splits import Splits
from kdbench.models.network import build
from kdbench.training import store as stored
from kdbench.training.batches import Batches
from kdbench.training.fit import EVALUATION_BATCH, Epoch, fit
from kdbench.training.meeting import Seat
from kdbench.training.runtime import Runtime
from kdbench.training.store import Speech, Store, Training
from kdbench.training.teacher import Teacher

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

        def train(network: nn.Module, history: list[Epoch]) -> nn.Module:
            self.fit(config, history, title, network)
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

        def train(network: nn.Module, history: list[Epoch]) -> nn.Module:
            return step(network, Task(partial(self.fit, config, history, title), speaker))

        return self.trained(title, identity, start, train, step.architecture, speaker)

    def teacher(self, trained: Trained, config: NetworkConfig) -> Teacher:
        """Return `trained` as a teacher of students that see the training set as `config` shows it."""
        shift = config.train.shift

        def identity(view: int) -> dict[str, Any]:
            return {"teacher": trained.key, "shift": shift, "seed": config.seed if shift else None, "view": view}

        def recall(view: int) -> Speech | None:
            return self.store.speech(self.key(identity(view)))

        def remember(view: int, speech: Speech) -> None:
            self.store.put_speech(self.key(identity(view)), speech, identity(view))

        views = Batches(self.data.train, EVALUATION_BATCH, shift, config.seed, self.runtime.device)
        return Teacher(copy.deepcopy(trained.network), views, self.runtime, recall, remember)

    def trained(
        self,
        title: str,
        identity: dict[str, Any],
        start: Trained,
        train: Callable[[nn.Module, list[Epoch]], nn.Module],
        architecture: Callable[[nn.Module], nn.Module],
        teacher: Teacher | None = None,
    ) -> Trained:
        """Take `identity` from the store, or train it from `start` and put it there."""
        key = self.key(identity)
        network = architecture(start.network)
        training = self.store.get(key, network)
        if training is not None:
            log.info("%s: taken from the store, entry %s", title, key)
        else:
            began = self.clock()
            history: list[Epoch] = []
            network = train(copy.deepcopy(start.network), history)
            network = network.to("cpu", memory_format=torch.contiguous_format)
            require_same_shapes(title, network, architecture(start.network))
            recalled = teacher.recalled_seconds if teacher else 0.0
            training = Training(history, self.clock() - began + recalled, recalled)
            self.store.put(key, network, training, identity)
            log.info("%s: trained in %.1f s, kept as %s", title, training.seconds, key)
        return Trained(network.eval(), key, start.seconds + training.seconds, training.history)

    def fit(
        self,
        config: NetworkConfig,
        history: list[Epoch],
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
        history += train(
            network,
            self.data.train,
            self.data.val,
            settings,
            self.runtime,
            config.seed,
            title=title,
            **options,
        )

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
