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


def test_shifts_move_the_image_and_fill_with_black():
    image = torch.arange(784).remainder(255).add(1).to(torch.uint8).reshape(1, 1, 28, 28)
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
    rows, columns = slice(max(down, 0), 28 + min(down, 0)), slice(max(right, 0), 28 + min(right, 0))
    from_rows, from_columns = slice(max(-down, 0), 28 + min(-down, 0)), slice(max(-right, 0), 28 + min(-right, 0))
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


@pytest.mark.parametrize("shift", [0, 2])
def test_a_view_shows_each_image_as_its_epoch_did(noise, shift):
    batches = Batches(noise, 8, shift, 3, "cpu")
    view = list(Batches(noise, 20, shift, 3, "cpu").in_order(2))
    assert torch.cat([batch.index for batch in view]).tolist() == list(range(50))
    shown = torch.cat([batch.images for batch in view])
    for batch in batches.epoch(2):
        assert batch.view == (2 if shift else 0)
        assert torch.equal(batch.images, shown[batch.index])


def test_an_epoch_does_not_depend_on_those_before_it(noise):
    fresh, used = (Batches(noise, 50, 2, 0, "cpu") for _ in range(2))
    list(used.epoch(1))
    assert torch.equal(next(fresh.epoch(2)).images, next(used.epoch(2)).images)


def test_plain_batches_keep_the_order(noise):
    assert torch.cat([batch.index for batch in plain(noise, 7, "cpu")]).tolist() == list(range(50))
