"""One training as a method sees it: a `fit` that knows recipe, images and device, and goes on from a checkpoint."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdbench.data.splits import Split
from kdbench.errors import Collapsed, NotFinite
from kdbench.settings.network import Recipe
from kdbench.training import features
from kdbench.training.checkpoint import Checkpoint, Cost
from kdbench.training.constraints import Constraint
from kdbench.training.criteria import LABELS, Criterion
from kdbench.training.features import Output
from kdbench.training.fit import fit
from kdbench.training.learner import Learner
from kdbench.training.progress import Epoch
from kdbench.training.runtime import Runtime
from kdbench.training.spent import Spent
from kdbench.training.together import Lane

log = logging.getLogger(__name__)


class Fitting:
    """The `fit` of one training (see `compress.step.Fit`): by a recipe, from a checkpoint, alone or in a lane.

    `examples` are the images to train on, `val` those that are watched. `constraints` of earlier steps hold in every
    fit. `watch` is called with every epoch. `history` and `cost` fill up as it goes.
    """

    def __init__(
        self,
        title: str,
        recipe: Recipe,
        seed: int,
        examples: Split,
        val: Split,
        runtime: Runtime,
        checkpoint: Checkpoint,
        lane: Lane | None = None,
        watch: Callable[[Epoch], None] = lambda _: None,
    ) -> None:
        self.title = title
        self.recipe = recipe
        self.seed = seed
        self.examples = examples
        self.val = val
        self.checkpoint = checkpoint
        self.lane = lane
        self.watch = watch
        self.clock = lane.clock if lane else Spent.now
        self.cost = checkpoint.cost
        self.cost.threads = self.cost.threads or runtime.threads
        self.runtime = replace(runtime, threads=self.cost.threads)
        self.history: list[Epoch] = []
        self.constraints: Sequence[Constraint] = ()
        self.together = 1  # how many networks were trained as one, at most

    def __call__(
        self,
        network: nn.Module,
        criterion: Criterion = LABELS,
        *,
        epochs: int | None = None,
        share: float = 1.0,
        until: int | None = None,
        lr_scale: float = 1.0,
        constraint: Constraint | None = None,
        examples: Split | None = None,
    ) -> None:
        """Train `network` in place; see `compress.step.Fit`."""
        recipe = self.recipe
        recipe = replace(recipe, epochs=recipe.share(share) if epochs is None else epochs, lr=recipe.lr * lr_scale)
        constraints = [*copy.deepcopy(self.constraints), *([constraint] if constraint else [])]
        learner = Learner(network, self.seed, criterion, constraints, self.title, self.checkpoint, watch=self.watch)
        if examples is not None:
            learner = replace(learner, views_known=False)  # what teachers are cached for is the transfer set
        images = self.examples if examples is None else examples
        train = self.lane.fit if self.lane else fit
        self.history += train(learner, images, self.val, recipe, self.runtime, until)
        if self.lane:
            self.together = max(self.together, self.lane.together)

    def forward(self, network: nn.Module, images: Tensor, layers: Sequence[str] = ()) -> Output:
        """Return what a network gives, in the precision of the training; see `compress.step.Run`."""
        with self.runtime.autocast:
            return features.in_float32(features.run(network, images, layers))

    def run(self, train: Callable[[], nn.Module]) -> tuple[nn.Module, Cost]:
        """Train, or go on from where the last process was cut off; return the network, and what it took."""
        self.runtime.prepare()
        before = self.cost.own
        if self.checkpoint.fits:
            step = self.checkpoint.fits[-1].record["step"]
            log.info("%s: goes on from its checkpoint, %.0f s and %d steps", self.title, before.seconds, step)
        began = self.clock() - before

        def now() -> Cost:
            return Cost(self.clock() - began, self.cost.cached, self.cost.threads)

        self.checkpoint.now = now
        try:
            network = train()
        except (NotFinite, Collapsed):
            self.checkpoint.drop()  # another try would only fail again
            raise
        return network.to("cpu", memory_format=torch.contiguous_format).eval(), now()
