"""Networks from their descriptions: taken from the store if they are there, made once and put there if not."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.compress.order import method_of
from kdbench.compress.reshaped import shaped_like, shaping
from kdbench.compress.step import Examples, NetworkStep, Task
from kdbench.data.load import load
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, Collapsed
from kdbench.models.network import Network, build, require_a_file_holds
from kdbench.models.pretrained import load_weights
from kdbench.models.trained_on import require_classes
from kdbench.settings import identity, normalisation
from kdbench.settings.config import digest
from kdbench.settings.earlier_run import shaped_by
from kdbench.settings.network import NetworkSpec, StepSpec
from kdbench.storage.store import Store
from kdbench.training.batches import Batches
from kdbench.training.checkpoint import Checkpoint
from kdbench.training.fit import EVALUATION_BATCH
from kdbench.training.fitting import Fitting
from kdbench.training.once import Trained, train_once
from kdbench.training.runtime import Runtime
from kdbench.training.spent import Spent
from kdbench.training.teacher import Teacher
from kdbench.training.together import Lane, train_together

log = logging.getLogger(__name__)

# Part of every key. To be raised whenever entries have another form than before.
FORMAT = 5


@dataclass(frozen=True)
class Compared:
    """The network that ships, and those it is compared with: itself before any step, and its teachers."""

    shipped: Trained
    baseline: Trained
    teachers: tuple[Trained, ...] = ()
    teacher_weights: Sequence[float] | None = None

    @property
    def train_threads(self) -> int | None:
        """The number of threads of every training that led to what ships; None if there were several, or none."""
        numbers = set(self.shipped.threads)
        return numbers.pop() if len(numbers) == 1 else None


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
        self.splits = replace(splits, test=splits.val)
        self.fingerprint = splits.fingerprint
        self.runtime = runtime
        self.store = store
        self.checkpoint_seconds = checkpoint_seconds
        self.together = together
        self.processes = processes
        self.lane: Lane | None = None
        self.made: dict[str, Trained] = {}  # a teacher is wanted by its student and by what is measured

    def in_lane(self, lane: Lane) -> Maker:
        """Return one that makes the same networks, but trains together with those of other lanes."""
        other = copy.copy(self)
        other.lane = lane
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
            raise Collapsed(
                f"{spec.title} ended in a network that predicts one class for every image: "
                f"try more train.epochs than {spec.recipe.epochs}, or a lower train.lr than {spec.recipe.lr:g}"
            )
        return made

    def initial(self, spec: NetworkSpec) -> Trained:
        """Return the network as its seed initialises it, or with the weights that were given."""
        splits = self.splits
        network = initialised(spec, splits.shape, splits.classes, splits.pixel_statistics)
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
        teachers = [self.make(teacher) for teacher in last.teachers]
        transfer = self.transfer(last)
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
            known = [self.teacher(teacher, spec, transfer, fitting) for teacher in teachers]
            data = Examples(transfer.train, self.splits.val, self.splits.class_names)
            fitting.examples = transfer.train
            fitting.constraints = start.constraints
            return method(network, Task(data, known, fitting, spec.seed, initial.network))

        made = self.once(title, spec, what, start, train, method.architecture)
        constraint = method.constraint(made.network)
        constraints = (*start.constraints, *([constraint] if constraint else []))
        threads = made.threads.union(*(one.threads for one in teachers))
        shaped = (*start.shaped_by, *shaping(method, last.method, made.network))
        return replace(made, constraints=constraints, threads=threads, shaped_by=shaped)

    def unchecked(self, spec: NetworkSpec) -> Trained:
        """Return the network, in which layers may not be trained yet if a further step starts from it."""
        return self.step(spec) if spec.steps else self.trained(spec)

    def compared(self, spec: NetworkSpec) -> Compared:
        """Return the network that `spec` describes, and those it is compared with."""
        teachers = tuple(map(self.make, spec.teachers))
        shipped = self.make(spec)
        taught = [method_of(step) for step in spec.steps if step.teachers]
        weights = taught[-1].teacher_weights if taught and isinstance(taught[-1], NetworkStep) else None
        return Compared(shipped, self.baseline(spec) if spec.steps else shipped, teachers, weights)

    def baseline(self, spec: NetworkSpec) -> Trained:
        """Return the network before any step.

        Where a method starts from scratch under a teacher only sizes are compared, and it need not be trained.
        """
        first = spec.steps[0] if spec.steps else None
        plain = spec.uncompressed
        if first is not None and first.teachers and getattr(method_of(first), "from_scratch", False):
            return self.in_use(self.initial(plain))
        return self.make(plain)

    def in_use(self, initial: Trained) -> Trained:
        """Return a copy that has seen some images, so that its file is as large as a trained one's.

        Before, the means of batch norm are zero, and the exporter leaves out biases that are zero.
        """
        network = copy.deepcopy(initial.network)
        with torch.no_grad():
            network.train()(self.splits.train.images[:64].float() / 255)
        return replace(initial, network=network.eval(), key=self.key({"in use": initial.key}))

    def transfer(self, step: StepSpec) -> Splits:
        """Return the data that a step learns from. Raises `BadSetting` if its images have another shape."""
        if step.transfer is None:
            return self.splits
        splits = load(step.transfer)[1]
        if splits.shape != self.splits.shape or splits.classes > self.splits.classes:
            raise BadSetting(
                f"compress.transfer={step.transfer.name} has images {splits.shape} in {splits.classes} classes: "
                f"the network takes {self.splits.shape} in {self.splits.classes}"
            )
        return splits

    def teacher(self, trained: Trained, spec: NetworkSpec, examples: Splits, fitting: Fitting) -> Teacher:
        """Return `trained` as a teacher of students that see `examples` as the recipe of `spec` shows them.

        The logits for a view of them are kept in the store, where all its students that train with as many threads
        find them.
        """
        shift, flip = spec.recipe.shift, spec.recipe.flip
        views = Batches(examples.train, EVALUATION_BATCH, shift, spec.seed, self.runtime.device, flip=flip)
        teacher = Teacher(copy.deepcopy(trained.network), self.runtime)

        def cached(view: int) -> Tensor:
            seed = spec.seed if shift or flip else None
            what = {"teacher": trained.key, "shift": shift, "flip": flip, "seed": seed, "view": view}
            what |= {"examples": examples.fingerprint, "threads": fitting.runtime.threads}
            key = self.key(what)

            def answer() -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
                logits, spent = teacher.logits_of(views, view)
                return {"logits": logits}, asdict(spent)

            entry = self.store.memo(key, f"logits of the teacher {trained.key[:8]}, view {view}", what, answer)
            # What this training made itself is among its own time, also after it was cut off.
            took = Spent(entry.record["seconds"], entry.record["cpu_seconds"]) if entry.was_there else Spent()
            fitting.cost.cached.setdefault(key, took)
            return entry.tensors["logits"]

        teacher.cached = cached
        return teacher

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
            return Fitting(title, spec.recipe, spec.seed, train_set, val, self.runtime_now(), checkpoint, self.lane)

        # In a lane, waiting would make all wait: its own run trains such a network, alone.
        wait = self.lane is None
        self.made[key] = train_once(self.store, key, title, what, start, fitting, train, architecture, wait)
        return self.made[key]

    def key(self, what: Mapping[str, Any]) -> str:
        """Hash everything that decides weights: 32 hex digits."""
        data = [self.fingerprint, self.splits.shape, self.splits.classes]
        everything = [FORMAT, data, self.runtime.identity, self.together, torch.__version__, what]
        return digest(everything)[:32]


def initialised(
    spec: NetworkSpec, shape: tuple[int, int, int], classes: int, pixels: tuple[Sequence[float], Sequence[float]]
) -> Network:
    """Return the network that is trained, or taken as it is: as its seed, or the weights that were given, decide.

    `pixels` are means and deviations of the training images, by which it normalises unless it has its own.
    """
    own = normalisation.statistics(spec.normalise) or pixels
    network = build(spec.model, spec.seed, shape, classes, own)
    if spec.weights is not None:
        network = shaped_like(network, spec.weights)
        load_weights(network, spec.weights, spec.name, spec.normalise, spec.weights_except)
    return network


def train_ahead(maker: Maker, spec: NetworkSpec) -> None:
    """Train the networks of all seeds of `maker.together` at once, into the store, unless that of `spec` lies there.

    What cannot be trained so is only reported: its own run trains it alone, and fails there if it must.
    """
    there = Store(maker.store.folder, remake=maker.store.remake, frozen=True)
    with contextlib.suppress(BadSetting):
        Maker(maker.splits, maker.runtime, there, together=maker.together).compared(spec)
        return

    maker = maker.settled()  # what is stacked runs on the same threads
    for teacher in fixed_teachers(spec):
        maker.make(teacher)  # once, before all lanes want it at the same time

    def job(seed: int) -> Callable[[Lane], Compared]:
        return lambda lane: maker.in_lane(lane).compared(spec.with_seed(seed))

    for seed, error in zip(maker.together, train_together([job(seed) for seed in maker.together]), strict=True):
        if error is not None:
            log.warning("seed %d could not be trained with the others (%s): it is trained alone", seed, error)


def fixed_teachers(spec: NetworkSpec) -> list[NetworkSpec]:
    """Return the teachers of every depth whose seed does not follow the student's: all its seeds share them."""
    found = []
    for step in spec.steps:
        for teacher in step.teachers:
            found += [teacher] if teacher.seed_is_fixed else fixed_teachers(teacher)
    return found
