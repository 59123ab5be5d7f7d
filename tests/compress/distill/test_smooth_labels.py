import pytest
import torch
import torch.nn.functional as F
from tests.compress.tasks import a_batch, fitting, task_of
from tests.training.methods import built, same

from kdbench.compress.distill.smooth_labels import SmoothedLabels, SmoothLabels
from kdbench.errors import BadSetting
from kdbench.training.criteria import LABELS
from kdbench.training.features import Output


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.9])
def test_the_loss_is_the_cross_entropy_against_the_smoothed_distribution(few, smoothing):
    batch, logits = a_batch(few), torch.randn(12, 10, dtype=torch.float64, requires_grad=True)
    loss = SmoothedLabels(smoothing)(Output(logits), batch)
    target = (1 - smoothing) * F.one_hot(batch.labels, 10) + smoothing / 10
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(loss, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(gradient, (logits.softmax(1) - target) / 12)


def test_the_share_of_each_class_depends_on_how_many_there_are(colours):
    batch, logits = a_batch(colours), torch.randn(12, 7)
    target = 0.8 * F.one_hot(batch.labels, 7) + 0.2 / 7
    expected = -(target * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(SmoothedLabels(0.2)(Output(logits), batch), expected)


def test_without_smoothing_it_is_training_alone_bit_for_bit(few, recipe, machine):
    start, alone = built("mlp", few), built("mlp", few)
    fit_one = fitting(few, recipe, machine)
    smoothed = SmoothLabels(0)(start, task_of(few, fit_one))
    fit_one(alone, LABELS)
    assert same(smoothed, alone)
    assert same(start, built("mlp", few))
    assert not same(SmoothLabels(0.1)(start, task_of(few, fit_one)), alone)


def test_a_network_of_smoothed_labels_is_less_sure(few, recipe, machine):
    def confidence(smoothing):
        fit_one = fitting(few, recipe, machine)
        network = SmoothLabels(smoothing)(built("mlp", few), task_of(few, fit_one))
        with torch.no_grad():
            return network(few.val.images.float() / 255).softmax(1).amax(1).mean()

    assert confidence(0.5) < confidence(0.0)


@pytest.mark.parametrize("smoothing", [-0.1, 1, 1.5, "much", float("nan")])
def test_smoothing_out_of_range_is_named(smoothing):
    with pytest.raises(BadSetting, match=r"compress\.smoothing="):
        SmoothLabels(smoothing)
