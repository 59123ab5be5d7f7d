import torch
from tests.compress.tasks import a_batch

from kdbench.compress.distill.mixup import MixedTargets, Mixup
from kdbench.training.features import Output


def test_images_and_labels_are_mixed_alike_and_the_teacher_sees_them(few):
    seen = []

    def teacher(batch):
        seen.append(batch)
        return Output(torch.zeros(12, 10))

    criterion = MixedTargets(Mixup(1.0, 0.5, 1.0), teacher, 10)
    batch = a_batch(few)
    mixed = criterion.prepare(batch, None)
    assert torch.allclose(mixed.labels.sum(1), torch.ones(12))
    shares = mixed.labels[torch.arange(12), batch.labels]
    share = 1 - shares[shares < 1].max() if (shares < 1).any() else torch.tensor(0.0)
    # Every image is a mean of its own and of another by this one share.
    apart = (mixed.images - (1 - share) * batch.images) / share.clamp_min(1e-6)
    nearest = torch.cdist(apart.flatten(1), batch.images.flatten(1)).min(1)
    assert nearest.values.max() < 1e-2
    criterion(Output(torch.zeros(12, 10)), mixed)
    assert seen[0] is mixed
    assert mixed.known_view is None


def test_the_loss_against_mixed_labels_is_the_mix_of_the_losses(few):
    criterion = MixedTargets(Mixup(1.0, 1.0, 1.0), lambda batch: Output(torch.zeros(12, 10)), 10)
    mixed = criterion.prepare(a_batch(few), None)
    logits = torch.randn(12, 10)
    expected = -(mixed.labels * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(criterion(Output(logits), mixed), expected)


def test_without_weight_of_the_labels_it_needs_none():
    assert not Mixup(2.0, 0.0, 1.0).needs_labels
    assert Mixup(2.0, 0.1, 1.0).needs_labels
