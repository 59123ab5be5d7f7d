"""Images to learn from that are made of the training set, or are a part of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench.data import joined, own, pseudo, some_classes
from kdbench.data.load import find, limited
from kdbench.data.overlap import require_apart
from kdbench.data.splits import Split
from kdbench.errors import BadSetting, DataUnavailable
from kdbench.settings.network import DataSpec, plain

HERE = Path()


@pytest.fixture
def source(few):
    return few.without_test


def test_noise_uses_all_levels_alike(source):
    images = pseudo.noise(None, HERE, 500, 0, source).train.images
    assert images.shape == (500, 1, 28, 28)
    counts = torch.bincount(images.flatten(), minlength=256).float()
    assert (counts / counts.mean() - 1).abs().max() < 0.15


def test_resampled_pixels_have_the_distribution_of_their_own_place_and_nothing_to_do_with_others(source):
    made = pseudo.resampled(None, HERE, 4000, 0, source).train.images.flatten(1).float()
    own_pixels = source.train.images.flatten(1).float()
    assert (made.mean(0) - own_pixels.mean(0)).abs().max() < 12
    dark = own_pixels.amax(0) == 0
    assert made[:, dark].amax() == 0
    lively = own_pixels.std(0).topk(2).indices
    assert abs(float(torch.corrcoef(made[:, lively].T)[0, 1])) < 0.06


def test_neighbours_are_the_nearest_others(source):
    images = source.train.images[:100].flatten(1)
    distances = (images[:, None].float() - images[None].float()).pow(2).sum(2) + torch.eye(100) * 1e9
    assert torch.equal(pseudo.nearest(images), distances.argmin(1))


def test_exchanging_every_pixel_without_noise_exchanges_the_images():
    own_images = np.array([[0, 10], [200, 250], [90, 91]], np.uint8)
    made = pseudo.munged(own_images, np.array([1, 0, 1]), 1, 1.0, 1e9, np.random.default_rng(0))
    # 0 and 1 exchanged, and exchanged back; then 2 with 1.
    assert made.tolist() == [[[0, 10], [90, 91], [200, 250]]]


def test_of_rare_exchanges_nearly_all_stays():
    own_images = np.random.default_rng(0).integers(0, 256, (50, 40), np.uint8)
    made = pseudo.munged(own_images, np.roll(np.arange(50), 1), 4, 0.02, 1.0, np.random.default_rng(1))
    changed = (made != own_images).mean()
    assert 0.01 < changed < 0.08  # each image takes part twice


def test_passes_differ_and_the_same_seed_gives_the_same_images(source):
    few_images = replace(source, train=source.train[:30])
    one, again = (pseudo.munge(None, HERE, 75, 0.5, 1.0, 3, few_images) for _ in range(2))
    assert one.fingerprint == again.fingerprint
    assert len(one.train) == 75
    assert torch.equal(one.train.labels, few_images.train.labels[(torch.arange(75) * 90 // 75) % 30])  # of 3 passes
    whole = pseudo.munge(None, HERE, 90, 0.5, 1.0, 3, few_images).train.images
    assert not torch.equal(whole[:30], whole[30:60])
    assert torch.equal(one.train.images, whole[torch.arange(75) * 90 // 75])
    assert pseudo.munge(None, HERE, 75, 0.5, 1.0, 4, few_images).fingerprint != one.fingerprint


def test_classes_are_left_out_of_training_images_alone(source):
    found = some_classes.load(None, HERE, None, [3, "5"], source)
    assert set(found.train.labels.tolist()) == set(range(10)) - {3, 5}
    assert (found.val, found.classes) == (source.val, 10)
    kept = some_classes.load(None, HERE, ["7", 8], None, source)
    assert set(kept.train.labels.tolist()) == {7, 8}
    for keep, leave_out, message in [
        (None, None, "type {data:some_classes"),
        (["x"], None, "there is no class x: choose from 0, 1"),
        (None, list(range(10)), "leaves no image"),
        (None, "36", r"leave_out=36 is not a list"),
        (3, None, r"keep=3 is not a list"),
    ]:
        with pytest.raises(BadSetting, match=message):
            some_classes.load(None, HERE, keep, leave_out, source)


def test_parts_are_joined_in_their_order(source):
    first = DataSpec("train", {"_target_": "kdbench.data.own.load", "images": 5}, None, HERE)
    noise = DataSpec("noise", {"_target_": "kdbench.data.pseudo.noise", "images": 7, "seed": 0}, None, HERE)
    both = joined.load(None, HERE, [plain(first), plain(noise)], source)
    assert len(both.train) == 12
    assert torch.equal(both.train.images[:5], source.train.evenly(5).images)
    assert torch.equal(both.train.images[5:], pseudo.noise(None, HERE, 7, 0, source).train.images)


def test_more_images_than_there_are_is_one_line(source):
    with pytest.raises(BadSetting, match=r"there are 300 training images, and not 301"):
        own.load(None, HERE, 301, source)
    with pytest.raises(BadSetting, match=r"data\.train_images=301: mine has 300"):
        limited(source, DataSpec("mine", {}, None, HERE, train_images=301))


def test_few_training_images_are_the_first_of_each_class_in_turn(source):
    labels = torch.tensor([0, 0, 0, 1, 0, 2, 1, 0])
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 28, 28).contiguous()
    data = replace(source, train=Split(images, labels))
    found = limited(data, DataSpec("mine", {}, None, HERE, train_images=5)).train
    assert found.images[:, 0, 0, 0].tolist() == [0, 1, 3, 5, 6]


def test_what_is_made_of_other_data_is_given_them(source):
    spec = DataSpec("noise", {"_target_": "kdbench.data.pseudo.noise", "images": 7, "seed": 0}, None, HERE)
    assert len(find(spec, None, source)[1].train) == 7


def test_a_transfer_set_that_cannot_be_had_says_how_its_folder_is_typed(source, monkeypatch):
    def nowhere(*_):
        raise DataUnavailable("CIFAR10 is nowhere")

    monkeypatch.setattr("kdbench.data.load.targets.instantiate", nowhere)
    spec = DataSpec("cifar10", {"_target_": "kdbench.data.cifar10.load"}, None, HERE)
    with pytest.raises(DataUnavailable, match=r"\(compress\.transfer=\{data:cifar10,root:FOLDER\}\)$"):
        find(spec, None, source)


def test_some_of_a_split_are_from_all_over_it(source):
    sorted_by_class = source.train[source.train.labels.argsort(stable=True)]
    assert set(sorted_by_class.evenly(40).labels.tolist()) == set(range(10))
    assert len(source.train.evenly(7)) == 7
    assert source.train.evenly(300) is source.train


def test_images_that_a_run_is_judged_by_are_not_learnt_from(few):
    require_apart("mine", few.train, few)
    with pytest.raises(BadSetting, match=r"compress\.transfer=mine holds \d+ of the images that this run is"):
        require_apart(
            "mine", Split(torch.cat([few.train.images, few.test.images[:30]]), torch.zeros(330).long()), few
        )
