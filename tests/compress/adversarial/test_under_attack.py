"""What methods have in common that train under attacks."""

import pytest
import torch
from tests.compress.tasks import a_batch, in_full, used

from kdbench.compress.adversarial.pgd_training import AttackedLabels, PGDTraining
from kdbench.compress.adversarial.under_attack import attacked
from kdbench.errors import BadSetting
from kdbench.training.attack import Attack
from kdbench.training.criteria import cross_entropy


def test_attacked_images_are_harder_for_the_network_and_it_stays_in_its_mode(few):
    network, batch = used("cnn", few).train(), a_batch(few)
    changed = attacked(Attack(0.2, 0.05, 8), in_full, network, batch.images, batch.labels)
    assert network.training
    network.eval()
    before, after = (cross_entropy(network(images), batch.labels) for images in (batch.images, changed))
    assert after > before + 0.01


def test_the_loss_of_adversarial_training_is_that_of_the_labels_of_harder_images(few):
    network, batch = used("cnn", few), a_batch(few)
    criterion = AttackedLabels(Attack(0.2, 0.05, 8), in_full)
    shown = criterion.prepare(batch, network)
    assert torch.equal(shown.labels, batch.labels)
    assert shown.known_view is None  # no teacher has been asked about these
    loss = criterion(in_full(network, shown.images), shown)
    assert torch.allclose(loss, cross_entropy(network(shown.images), batch.labels))
    assert loss > cross_entropy(network(batch.images), batch.labels) + 0.01


@pytest.mark.parametrize(("eps", "steps"), [(0.3, 10), (0.1, 10), (0.1, 4)])
def test_without_a_step_all_of_them_reach_two_and_a_half_times_as_far(eps, steps):
    assert PGDTraining(eps, None, steps).attack.step * steps == pytest.approx(2.5 * eps)
    assert PGDTraining(eps, 0.01, steps).attack.step == 0.01


@pytest.mark.parametrize(
    ("knobs", "name"), [((0, None, 1), "eps"), ((0.3, 0, 1), "attack_step"), ((0.3, None, 0), "attack_steps")]
)
def test_knobs_out_of_range_are_named(knobs, name):
    with pytest.raises(BadSetting, match=rf"compress\.{name}=0"):
        PGDTraining(*knobs)
