"""What methods that zero weights or change layers hold to, in networks of layers that are easily got wrong."""

import copy

import pytest
import torch
from tests.compress.awkward import NETWORKS
from tests.compress.tasks import task_of
from torch import nn

from kdbench.compress.layers import WEIGHTED
from kdbench.compress.low_rank.factorize import Factorize
from kdbench.compress.prune.at_random import AtRandom
from kdbench.compress.prune.channels import Channels
from kdbench.compress.prune.global_magnitude import GlobalMagnitude
from kdbench.compress.prune.gradual import Gradual
from kdbench.compress.prune.layerwise_magnitude import LayerwiseMagnitude
from kdbench.compress.prune.lottery import Lottery
from kdbench.compress.prune.n_of_m import NOfM
from kdbench.compress.prune.taylor import Taylor
from kdbench.compress.resized import macs
from kdbench.models.network import parameters

AS_CUT = {"finetune_epochs": 0, "finetune_lr_scale": 1, "statistics": 0}
SPARSE = [
    *(kind(sparsity=0.6, **AS_CUT) for kind in (GlobalMagnitude, LayerwiseMagnitude, AtRandom)),
    *(kind(sparsity=0.6, epochs=1, ramp=0.5, lr_scale=1) for kind in (Gradual, Taylor)),
    *(Lottery(sparsity=0.6, rate=0.4, across=across, rewind="initial") for across in ("network", "layer")),
    NOfM(n=1, m=2, layers=None, **AS_CUT),
]
CHANNELS, FACTORIZE = Channels(macs=0.8, multiple=1, **AS_CUT), Factorize(keep=0.7, **AS_CUT)


def named(value) -> str:
    return getattr(value, "__name__", type(value).__name__)


networks = pytest.mark.parametrize("of", NETWORKS, ids=named)


def made_by(of) -> nn.Module:
    torch.manual_seed(0)
    return of().eval()


def noise(network, *_, constraint=None, **__):
    """Stand in for a training: random gradients, and weights that follow them."""
    for step in range(1, 5):
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
            parameter.data -= 0.01 * parameter.grad
        if constraint is not None:
            constraint.apply(network, step, 4)


def prunable(network) -> list[torch.Tensor]:
    """Weights of layers, each once, but those that are computed from others."""
    layers = [module for module in network.modules() if isinstance(module, WEIGHTED)]
    own = {id(layer.weight): layer.weight for layer in layers if "weight" in dict(layer.named_parameters())}
    return [weight.detach() for weight in own.values()]


def require_rebuilt(method, network, made, few) -> None:
    """It gives logits, and its weights in what is made of their shapes give the same."""
    again = method.architecture(network, {name: tensor.shape for name, tensor in made.state_dict().items()})
    again.load_state_dict(made.state_dict())
    images = few.val.images[:5].float() / 255
    logits = made.eval()(images)
    assert logits.shape == (5, few.classes)
    assert torch.equal(again.eval()(images), logits)
    assert parameters(again) == parameters(made)


@networks
@pytest.mark.parametrize("method", SPARSE, ids=named)
def test_the_sparsity_is_exact(of, method, few):
    network = made_by(of)
    task = task_of(few, noise, initial=copy.deepcopy(network))
    method.check(network, [], task.data)
    made = method(network, task)
    zeros = [int((weight == 0).sum()) for weight in prunable(made)]
    sizes = [weight.numel() for weight in prunable(made)]
    if isinstance(method, LayerwiseMagnitude):
        assert zeros == [round(0.6 * size) for size in sizes]
    elif isinstance(method, NOfM):
        assert zeros == [0 if weight.shape[1] % 2 else weight.numel() // 2 for weight in prunable(made)]
    else:
        assert sum(zeros) == round(0.6 * sum(sizes))
    require_rebuilt(method, network, made, few)
    kept = method.constraint(made)
    noise(made, constraint=kept)
    assert [int((weight == 0).sum()) for weight in prunable(made)] == zeros


@networks
def test_channels_go_until_so_many_multiply_adds_are_left(of, few):
    network, task = made_by(of), task_of(few)
    CHANNELS.check(network, [], task.data)
    made = CHANNELS(network, task)
    assert 0.4 < macs(made, few.shape) / macs(network, few.shape) <= 0.8
    assert parameters(made) < parameters(network)
    require_rebuilt(CHANNELS, network, made, few)


@networks
def test_factors_have_fewer_weights(of, few):
    network, task = made_by(of), task_of(few)
    FACTORIZE.check(network, [], task.data)
    made = FACTORIZE(network, task)
    assert parameters(made) < parameters(network)
    require_rebuilt(FACTORIZE, network, made, few)
