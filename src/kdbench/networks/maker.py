"""Makes networks from their descriptions: takes them from the store, or trains them and puts them there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from kdbench.compress.order import method_of
from kdbench.compress.reshaped import shaping
from kdbench.compress.step import Examples, NetworkStep, Task
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, Collapsed
from kdbench.models.network import require_a_file_holds
from kdbench.models.trained_on import require_classes
from kdbench.models.views import statistics, view
from kdbench.networks.cached_teacher import teacher_of
from kdbench.networks.initial import initialised
from kdbench.networks.transfer import transfer_for
from kdbench.settings import identity
from kdbench.settings.config import digest
from kdbench.settings.earlier_run import shaped_by
from kdbench.settings.network import NetworkSpec
from kdbench.storage.store import Store
from kdbench.training.checkpoint import Checkpoint
from kdbench.training.fitting import Fitting
from kdbench.training.once import Trained, train_once
from kdbench.training.progress import Epoch
from kdbench.training.runtime import Runtime
from kdbench.training.together import Lane

# Part of every key. To be raised whenever entries have another form than before.
FORMAT = 5


class Maker:
    """Makes networks from their descriptions, each training at most once per store. Sees no test images.

    `together` are the seeds whose networks are trained as one, this one's among them; `checkpoint_seconds` is the
    least time between two checkpoints of a training. `processes` counts those that share the cores, which each
    training asks when it begins; without it trainings take the threads of `runtime`.
    """

    def __init__(
        self,
        splits: Splits,
        runtime: Runtime,
        store: Store,
        checkpoint_seconds: float = 30.0,
        together: tuple[int, ...] = (),
        processes: Callable[[], int] | None = None,
    ) -> None:
        self.splits = splits.without_test
        self.fingerprint = splits.fingerprint
        self.runtime = runtime
        self.store = store
        self.checkpoint_seconds = checkpoint_seconds
        self.together = together
        self.processes = processes
        self.lane: Lane | None = None
        # A network, and what is called with every epoch of its last training.
        self.watched: tuple[NetworkSpec, Callable[[Epoch], None]] | None = None
        self.made: dict[str, Trained] = {}  # a teacher is wanted by its student and by what is measured

    def in_lane(self, lane: Lane) -> Maker:
        """Return one that makes the same networks, but trains together with those of other lanes."""
        other = copy.copy(self)
        other.lane = lane
        return other

    def looking_only(self) -> Maker:
        """Return one that finds the same networks in the store, and raises `BadSetting` for what is not there."""
        other = copy.copy(self)
        other.store = Store(self.store.folder, remake=self.store.remake, frozen=True)
        other.made = {}
        return other

    def settled(self) -> Maker:
        """Return one that makes the same networks, all of its trainings on as many threads as one that begins now."""
        other = copy.copy(self)
        other.runtime, other.processes = self.runtime_now(), None
        return other

    def runtime_now(self) -> Runtime:
        """Return what a training uses that begins now."""
        return self.runtime if self.processes is None else self.runtime.shared_by(self.processes())

    def make(self, spec: NetworkSpec) -> Trained:
        """Return the network that `spec` describes: trained, and compressed step by step.

        Raises `Collapsed` if it comes to give one class to every image, `NotFinite` if a training diverges.
        """
        made = self.unchecked(spec)
        if made.history and made.history[-1].classes == 1:
            milder = "a milder compression (compress.*), " if spec.steps else ""
            raise Collapsed(
                f"{spec.title} ended in a network that predicts one class for every image: try {milder}"
                f"more train.epochs than {spec.recipe.epochs}, or a lower train.lr than {spec.recipe.lr:g}"
            )
        return made

    def initial(self, spec: NetworkSpec) -> Trained:
        """Return the network as its seed initialises it, or with the weights that were given."""
        splits, seen = self.splits, view(spec.view, self.splits.shape)
        pixels = statistics(splits.train.images, seen) if seen else splits.pixel_statistics
        network = initialised(spec, splits.shape, splits.classes, pixels)
        require_a_file_holds(network, spec.name)
        if spec.weights is not None and spec.recipe.epochs == 0:
            require_classes(spec.weights, splits.class_names)
        key = self.key({"initial": identity.of_network(spec)})
        return Trained(network.eval(), key, shaped_by=tuple(shaped_by(spec.weights)))

    def trained(self, spec: NetworkSpec) -> Trained:
        """Return the network trained on the labels alone."""
        start = self.initial(spec)
        if spec.recipe.epochs == 0:  # it was given, and stays as it is
            return start

        def train(network: nn.Module, fitting: Fitting) -> nn.Module:
            fitting(network)
            return network

        title = f"{spec.name} baseline seed {spec.seed}"
        return self.once(title, spec, {"baseline": identity.of_network(spec)}, start, train)

    def step(self, spec: NetworkSpec) -> Trained:
        """Return what the last step of `spec` makes of the network before it."""
        last = spec.steps[-1]
        method = method_of(last)
        if not isinstance(method, NetworkStep):
            raise BadSetting(f"{type(method).__name__} makes a file, which cannot teach: leave it out of the teacher")
        before = replace(spec, steps=spec.steps[:-1])
        initial = self.initial(spec)
        start = initial if method.from_scratch and not before.steps else self.unchecked(before)
        transfer = transfer_for(last, self.splits, method.needs_labels)
        teachers = [self.make(teacher) for teacher in last.teachers]
        what = {
            "step": identity.of_node(last.method),
            "start": start.key,
            "config": identity.of_network(spec),
            "teachers": [teacher.key for teacher in teachers],
            "examples": transfer.fingerprint,
        }
        title = f"{spec.name} {type(method).__name__} seed {spec.seed}"

        def train(network: nn.Module, fitting: Fitting) -> nn.Module:
            torch.manual_seed(spec.seed)  # what a step draws must not depend on what was trained before it
            known = [teacher_of(self, teacher, spec, transfer, fitting) for teacher in teachers]
            data = Examples(transfer.train, self.splits.val, self.splits.class_names)
            fitting.examples = transfer.train
            fitting.constraints = start.constraints

            def another(seed: int) -> nn.Module:
                return self.initial(replace(spec, seed=seed)).network

            def scaled(widths: float) -> nn.Module:
                return self.initial(replace(spec.with_widths_times(widths), weights=None)).network

            task = Task(data, known, fitting, spec.seed, initial.network, fitting.forward, another, scaled)
            return method(network, task)

        made = self.once(title, spec, what, start, train, method.architecture)
        constraint = method.constraint(made.network)
        constraints = (*start.constraints, *([constraint] if constraint else []))
        taught = dict(made.spent_teaching)
        for teacher in teachers:
            taught |= {**teacher.spent, **teacher.spent_teaching}
        threads = made.threads.union(*(teacher.threads for teacher in teachers))
        shaped = (*start.shaped_by, *shaping(method, last.method, made.network))
        return replace(made, constraints=constraints, threads=threads, spent_teaching=taught, shaped_by=shaped)

    def unchecked(self, spec: NetworkSpec) -> Trained:
        """Return the network, in which layers may not be trained yet if a further step starts from it."""
        return self.step(spec) if spec.steps else self.trained(spec)

    def in_use(self, initial: Trained) -> Trained:
        """Return a copy that has seen some images, so that its file is as large as a trained one's.

        Before, the means of batch norm are zero, and the exporter leaves out biases that are zero.
        """
        network = copy.deepcopy(initial.network)
        with torch.no_grad():
            network.train()(self.splits.train.images[:64].float() / 255)
        return replace(initial, network=network.eval(), key=self.key({"in use": initial.key}))

    def once(
        self,
        title: str,
        spec: NetworkSpec,
        what: Mapping[str, Any],
        start: Trained,
        train: Callable[[nn.Module, Fitting], nn.Module],
        architecture: Callable[[nn.Module, Mapping[str, torch.Size]], nn.Module] = lambda network, _: network,
    ) -> Trained:
        """Return what `train` makes of `start`, which `what` describes: from the store if it is there."""
        key = self.key(what)
        if key in self.made:
            return self.made[key]

        def fitting() -> Fitting:
            if self.store.remake:
                Checkpoint.remove(self.store.checkpoint_folder(key))
            checkpoint = Checkpoint(self.store.checkpoint_folder(key), self.checkpoint_seconds)
            train_set, val = self.splits.train, self.splits.val
            watch = self.watched[1] if self.watched and self.watched[0] == spec else lambda _: None
            run = self.runtime_now()
            return Fitting(title, spec.recipe, spec.seed, train_set, val, run, checkpoint, self.lane, watch)

        # In a lane, waiting would make all wait: its own run trains such a network, alone.
        wait = self.lane is None
        self.made[key] = train_once(self.store, key, title, what, start, fitting, train, architecture, wait)
        return self.made[key]

    def key(self, what: Mapping[str, Any]) -> str:
        """Hash everything that decides weights: 32 hex digits."""
        names = [*self.splits.class_names]  # by which settings name classes
        data = [self.fingerprint, self.splits.shape, self.splits.classes, names]
        everything = [FORMAT, data, self.runtime.identity, self.together, torch.__version__, what]
        return digest(everything)[:32]
