from dataclasses import replace

import pytest
import torch

from kdbench.data.splits import Split
from kdbench.training.batches import Batches, plain


@pytest.mark.parametrize("size", [1, 7, 16, 49, 50, 51])
def test_an_epoch_holds_each_image_once_in_batches_of_nearly_one_size(noise, size):
    epoch = list(Batches(noise, size, 0, seed=0, device="cpu").epoch(1))
    assert sorted(torch.cat([batch.index for batch in epoch]).tolist()) == list(range(50))
    sizes = [len(batch.labels) for batch in epoch]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_is_what_its_index_says(noise):
    for batch in Batches(noise, 8, 0, seed=0, device="cpu").epoch(1):
        assert torch.equal(batch.images, noise.images[batch.index].float() / 255)
        assert torch.equal(batch.labels, noise.labels[batch.index])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 20)])
def test_shifts_move_the_image_in_all_its_channels_and_fill_with_black(shape):
    count = torch.tensor(shape).prod()
    image = torch.arange(count).remainder(251).add(1).to(torch.uint8).reshape(1, *shape)
    many = Split(image.expand(400, -1, -1, -1), torch.zeros(400, dtype=torch.int64))
    seen = set()
    for batch in Batches(many, 400, 2, seed=0, device="cpu").epoch(1):
        for moved in batch.images:
            found = [
                (down, right)
                for down in range(-2, 3)
                for right in range(-2, 3)
                if torch.equal(moved, shifted(image[0].float() / 255, down, right))
            ]
            assert len(found) == 1
            seen.update(found)
    assert len(seen) == 25


def shifted(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    rows, columns = (slice(max(by, 0), side + min(by, 0)) for by, side in ((down, height), (right, width)))
    from_rows, from_columns = (
        slice(max(-by, 0), side + min(-by, 0)) for by, side in ((down, height), (right, width))
    )
    moved[:, rows, columns] = image[:, from_rows, from_columns]
    return moved


def test_the_seed_decides_order_and_shifts_and_epochs_differ(noise):
    def epochs(seed: int) -> list[torch.Tensor]:
        batches = Batches(noise, 50, 2, seed, "cpu")
        return [next(batches.epoch(number)).images for number in (1, 2)]

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


def test_flips_mirror_half_of_the_moved_images_others_in_every_epoch_and_draw_nothing_else(noise):
    many = Split(noise.images.repeat(8, 3, 1, 1), noise.labels.repeat(8))
    plain_epochs, flipped_epochs = (Batches(many, 60, 2, 3, "cpu", flip=flip) for flip in (False, True))
    seen = []
    for number in (1, 2):
        mirrored = torch.zeros(400, dtype=torch.bool)
        for plainly, flipped in zip(plain_epochs.epoch(number), flipped_epochs.epoch(number), strict=True):
            assert torch.equal(plainly.index, flipped.index)
            same = (plainly.images == flipped.images).flatten(1).all(1)
            assert torch.equal(plainly.images[~same].flip(-1), flipped.images[~same])
            mirrored[flipped.index] = ~same
        assert 160 < mirrored.sum() < 240
        seen.append(mirrored)
    assert not torch.equal(*seen)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shift", [0, 2])
def test_a_view_shows_each_image_as_its_epoch_did(noise, shift, flip):
    batches = Batches(noise, 8, shift, 3, "cpu", flip=flip)
    view = list(Batches(noise, 20, shift, 3, "cpu", flip=flip).in_order(2))
    assert torch.cat([batch.index for batch in view]).tolist() == list(range(50))
    shown = torch.cat([batch.images for batch in view])
    for batch in batches.epoch(2):
        assert batch.known_view == (2 if shift or flip else 0)
        assert torch.equal(batch.images, shown[batch.index])


@pytest.fixture
def batch(noise):
    return next(Batches(noise, 8, 2, 3, "cpu").epoch(1))


CHANGES = {
    "other images": lambda batch: replace(batch, images=1 - batch.images),
    # As often changed in place as those that they replace.
    "other images of that version": lambda batch: replace(batch, images=batch.images.neg().add_(1)),
    "a copy of the images": lambda batch: replace(batch, images=batch.images.clone()),
    "images mixed": lambda batch: replace(batch, images=0.5 * batch.images + 0.5 * batch.images.flip(0)),
    "images changed in place": lambda batch: batch.images.mul_(0.5) is None or batch,
    "one pixel changed in place": lambda batch: batch.images[3, 0, 5].fill_(1.0) is None or batch,
    "images changed through a view": lambda batch: batch.images.view(-1)[7:9].zero_() is None or batch,
    "another index": lambda batch: replace(batch, index=batch.index.flip(0)),
    "the index changed in place": lambda batch: batch.index.copy_(batch.index.flip(0)) is None or batch,
    "both permuted": lambda batch: replace(batch, images=batch.images.flip(0), index=batch.index.flip(0)),
    "a part": lambda batch: replace(batch, images=batch.images[:4], labels=batch.labels[:4], index=batch.index[:4]),
    "a part by the index alone": lambda batch: replace(batch, index=batch.index[:4]),
    "no view": lambda batch: replace(batch, view=None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_of_a_batch_that_was_changed_no_view_is_known(batch, change):
    assert batch.known_view == 1
    assert change(batch).known_view is None


def test_labels_may_be_changed_since_views_are_of_images(batch):
    assert replace(batch, labels=torch.nn.functional.one_hot(batch.labels, 10).float()).known_view == 1


def test_images_of_a_methods_own_have_no_view(noise):
    assert all(batch.known_view is None for batch in Batches(noise, 8, 2, 0, "cpu", known=False).epoch(1))
    assert all(batch.known_view is None for batch in plain(noise, 8, "cpu"))


def test_an_epoch_does_not_depend_on_those_before_it(noise):
    fresh, used = (Batches(noise, 50, 2, 0, "cpu") for _ in range(2))
    list(used.epoch(1))
    assert torch.equal(next(fresh.epoch(2)).images, next(used.epoch(2)).images)


def test_an_epoch_from_its_middle_on_is_the_rest_of_it(noise):
    batches = Batches(noise, 8, 2, 0, "cpu")
    whole = list(batches.epoch(2))
    rest = list(batches.epoch(2, skip=3))
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole[3:], rest, strict=True))


def test_plain_batches_keep_the_order(noise):
    assert torch.cat([batch.index for batch in plain(noise, 7, "cpu")]).tolist() == list(range(50))
