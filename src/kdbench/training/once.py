"""A training that happens once: what it made is taken from the store, or made and put there."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.models.network import fill
from kdbench.storage.store import Store
from kdbench.training.batches import scaled
from kdbench.training.checkpoint import Checkpoint
from kdbench.training.constraints import Constraint
from kdbench.training.fitting import Fitting
from kdbench.training.progress import Epoch
from kdbench.training.spent import Spent

log = logging.getLogger(__name__)

Architecture = Callable[[nn.Module, Mapping[str, torch.Size]], nn.Module]
LOOKED_AT = 8  # images


@dataclass(frozen=True)
class Trained:
    """A network on the CPU in eval mode, the key that identifies it, and how it came about.

    `spent` is what each training that leads to it took, by its key, and `spent_teaching` the same of its teachers and
    theirs; `history` is the last one's. `constraints` must hold in later trainings. `together` is how many networks
    were trained as one. `threads` are the numbers of threads of all trainings that lead to it, those of teachers
    included. `shaped_by` is what a file of its weights has to say of its shapes.
    """

    network: nn.Module
    key: str
    spent: Mapping[str, Spent] = field(default_factory=dict)
    history: tuple[Epoch, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    together: int = 1
    threads: frozenset[int] = frozenset()
    spent_teaching: Mapping[str, Spent] = field(default_factory=dict)
    shaped_by: tuple[Mapping[str, Any], ...] = ()

    @property
    def whole(self) -> Spent:
        """What all trainings that lead to it took, those of its teachers not included."""
        return sum(self.spent.values(), Spent())

    @property
    def whole_teaching(self) -> Spent:
        """What those of its teachers, and of theirs, took."""
        return sum(self.spent_teaching.values(), Spent())


@torch.no_grad()
def require_rebuilt(
    title: str, network: nn.Module, architecture: Architecture, start: nn.Module, images: Tensor
) -> None:
    """Raise `TypeError` unless `network` is what `architecture` makes of `start`, under its own weights.

    That is how it comes back from the store, where only weights are kept.
    """
    weights = network.state_dict()
    rebuilt = (
        copy.deepcopy(architecture(start, {name: tensor.shape for name, tensor in weights.items()})).cpu().eval()
    )
    try:
        fill(rebuilt, weights)
        alike = torch.allclose(rebuilt(images), network(images), rtol=1e-3, atol=1e-3, equal_nan=True)
    except RuntimeError:  # other names or other shapes
        alike = False
    if not alike:
        raise TypeError(f"{title}: the step changes more than weights, so it must define `architecture` too")


def train_once(
    store: Store,
    key: str,
    title: str,
    what: Mapping[str, Any],
    start: Trained,
    fitting: Callable[[], Fitting],
    train: Callable[[nn.Module, Fitting], nn.Module],
    architecture: Architecture,
    wait: bool,
) -> Trained:
    """Return what `train` makes of a copy of `start`, with the `fitting` that is made for it, under `key`.

    `what` is what the key is a hash of. `architecture` gives a network, of whatever weights, for stored ones of given
    shapes. Without `wait`, `Busy` is raised if another process
    trains the same. Raises `TypeError` if stored weights do not fit into that architecture.
    """

    def make() -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        fit = fitting()
        network, cost = fit.run(lambda: train(copy.deepcopy(start.network), fit))
        require_rebuilt(title, network, architecture, start.network, scaled(fit.val.images[:LOOKED_AT]))
        whole = cost.whole
        log.info("%s: trained in %.1f s, kept as %s", title, whole.seconds, key)
        return network.state_dict(), {
            "history": [asdict(epoch) for epoch in fit.history],
            **asdict(whole),
            "cached_seconds": cost.of_teachers.seconds,
            "together": fit.together,
            "threads": cost.threads,
        }

    entry = store.memo(key, title, what, make, wait=wait)
    if not store.frozen:
        Checkpoint.remove(store.checkpoint_folder(key))  # a kill may have come between the entry and this
    if entry.was_there:
        log.info("%s: taken from the store, entry %s", title, key)
    shapes = {name: tensor.shape for name, tensor in entry.tensors.items()}
    network = copy.deepcopy(architecture(start.network, shapes))
    if {name: tensor.shape for name, tensor in network.state_dict().items()} != shapes:
        raise TypeError(f"{title}: the step changes the shape of the network, so it must define `architecture` too")
    fill(network, entry.tensors)
    history = tuple(Epoch(**epoch) for epoch in entry.record["history"])
    record = entry.record
    return Trained(
        network.eval(),
        key,
        {**start.spent, key: Spent(record["seconds"], record["cpu_seconds"])},
        history,
        start.constraints,
        record["together"],
        start.threads | {record["threads"]},
        start.spent_teaching,
        start.shaped_by,
    )
