"""What methods put into trainings, where seeds are trained together: it comes out as alone, or is trained alone."""

import importlib
import pkgutil
from dataclasses import replace

import pytest
import torch
from tests.compress.tasks import task_of, used
from tests.training.methods import Double, flat, same

import kdbench.compress
import kdbench.training
from kdbench.compress.ensemble import joined
from kdbench.compress.layers import weight_names
from kdbench.compress.low_rank.factorize import Factorize
from kdbench.compress.max_norm import ShortRows
from kdbench.compress.prune import masks
from kdbench.compress.prune.channels import Channels
from kdbench.compress.prune.gradual import RisingSparsity
from kdbench.compress.prune.taylor import RisingByTaylor
from kdbench.compress.quantize.aware import QuantizeAware
from kdbench.compress.quantize.trained_weights import TrainedWeights
from kdbench.training.constraints import Constraint, KeepZeros
from kdbench.training.fit import fit, fit_all
from kdbench.training.learner import Learner
from kdbench.training.stacked import stackable
from kdbench.training.together import train_together

CONSTRAINTS = {
    KeepZeros: lambda network: KeepZeros(masks.over_the_network(magnitudes(network), 0.5)),
    RisingSparsity: lambda network: RisingSparsity(weight_names(network), 0.8, 0.5),
    RisingByTaylor: lambda network: RisingByTaylor(weight_names(network), 0.8, 0.5),
    ShortRows: lambda network: ShortRows(weight_names(network), 0.5),
}
UNTRAINED = {"finetune_epochs": 0, "finetune_lr_scale": 1.0}
MADE = {
    "fewer channels": Channels(macs=0.5, multiple=1, statistics=0, **UNTRAINED),
    "factors": Factorize(keep=0.5, statistics=0, **UNTRAINED),
    "members": lambda network, task: joined([network, task.another(task.seed + 10)]),
}
ON_GRIDS = {
    "weights": TrainedWeights(bits=4, learned=False, **UNTRAINED),
    "weights, learned": TrainedWeights(bits=4, learned=True, **UNTRAINED),
    "activations": QuantizeAware(bits=8, learned=False, images=32, **UNTRAINED),
    "activations, learned": QuantizeAware(bits=8, learned=True, images=32, **UNTRAINED),
}


def magnitudes(network):
    return {name: network.get_parameter(name).detach().abs() for name in weight_names(network)}


def made_by(method, family, splits):
    """What a method makes of the networks of two seeds, not trained yet."""
    task = task_of(splits, family=family)
    return [method(used(family, splits, seed), replace(task, seed=seed)) for seed in range(2)]


def assert_each_comes_out_as_alone(make, few, recipe, machine, constraint=None):
    """Train the networks that `make` gives, each under a constraint of its own, at once and one at a time."""

    def learners():
        doubled = [Double(network) for network in make()]
        return [
            Learner(network, seed, constraints=[constraint(network)] if constraint else [])
            for seed, network in enumerate(doubled)
        ]

    images, val = few.train[: 3 * recipe.batch_size], few.val[:40]
    together, alone = learners(), learners()
    assert stackable([one.model for one in together])
    fit_all(together, images, val, recipe, machine)
    for one, other in zip(together, alone, strict=True):
        fit(other, images, val, recipe, machine)
        assert torch.equal(flat(one.model) == 0, flat(other.model) == 0)
        assert torch.allclose(flat(one.model), flat(other.model), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(flat(together[0].model), flat(together[1].model), atol=1e-2)


@pytest.mark.parametrize("family", ["mlp", "cnn"])  # of which the second has batch norm
@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_under_every_constraint_each_comes_out_as_alone(kind, family, few, recipe, machine):
    assert_each_comes_out_as_alone(
        lambda: [used(family, few, seed) for seed in range(2)], few, recipe, machine, CONSTRAINTS[kind]
    )


def test_no_constraint_is_left_out():
    for package in (kdbench.compress, kdbench.training):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    waiting, found = [Constraint], set()
    while waiting:
        waiting += (kinds := waiting.pop().__subclasses__())
        found |= {kind for kind in kinds if kind.__module__.startswith("kdbench.")}
    assert found == set(CONSTRAINTS)


@pytest.mark.parametrize("name", MADE)
def test_networks_that_methods_make_come_out_as_alone(name, few, recipe, machine):
    assert_each_comes_out_as_alone(lambda: made_by(MADE[name], "cnn", few), few, replace(recipe, epochs=1), machine)


@pytest.mark.parametrize("name", ON_GRIDS)
def test_networks_on_grids_are_trained_alone(name, few, recipe, machine):
    one_epoch = replace(recipe, epochs=1)
    together, alone = (made_by(ON_GRIDS[name], "cnn", few) for _ in range(2))
    assert not stackable(together)

    def job(seed):
        def train(lane):
            lane.fit(Learner(together[seed], seed), few.train, few.val, one_epoch, machine)
            assert lane.together == 1

        return train

    assert train_together([job(seed) for seed in range(2)]) == [None] * 2
    for seed, network in enumerate(alone):
        fit(Learner(network, seed), few.train, few.val, one_epoch, machine)
        assert same(together[seed], network)
