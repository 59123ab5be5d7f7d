"""What of an image a network is shown."""

import numpy as np
import pytest
import torch

from kdbench.errors import BadSetting
from kdbench.models import views
from kdbench.models.views import VIEWS, ImageView, statistics, view


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_a_view_has_the_shape_of_its_image_and_lies_between_black_and_white(name, shape):
    images = torch.rand(5, *shape)
    seen = ImageView(name, shape)(images)
    assert seen.shape == images.shape
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert not torch.equal(seen, images)
    assert list(ImageView(name, shape).state_dict()) == []  # it adds nothing to the weights


def test_edges_are_steep_where_black_meets_white_and_nowhere_else():
    images = torch.zeros(1, 1, 8, 8)
    images[..., 4:] = 1
    seen = views.edges(images)[0, 0]
    assert torch.allclose(seen[:, 3:5], torch.ones(8, 2))
    assert seen[:, [0, 1, 2, 5, 6, 7]].max() < 1e-5
    assert torch.allclose(views.edges(images.mT), views.edges(images).mT)


def test_low_resolution_is_the_mean_of_squares():
    images = torch.rand(2, 1, 28, 28)
    seen = views.low_resolution(images)
    assert len(seen[0].unique()) == 49
    assert torch.allclose(seen[1, 0, 4:8, 8:12], images[1, 0, 4:8, 8:12].mean().expand(4, 4))


def test_the_upper_half_is_as_it_is_and_the_rest_black():
    images = torch.rand(2, 3, 32, 32)
    seen = views.upper_half(images)
    assert torch.equal(seen[:, :, :16], images[:, :, :16])
    assert not seen[:, :, 16:].any()


def test_one_bit_is_black_or_white():
    assert torch.equal(views.one_bit(torch.tensor([0.2, 0.5, 0.51, 1.0])), torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_a_view_that_the_images_cannot_give_is_refused():
    with pytest.raises(BadSetting, match="which images of 30x30 are not made of: choose another view"):
        view("low_resolution", (1, 30, 30))
    assert view("whole", (1, 30, 30)) is None


def test_statistics_are_those_of_what_is_seen():
    images = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8)
    means, deviations = statistics(images, ImageView("upper_half", (3, 8, 8)))
    seen = views.upper_half(images.double() / 255).numpy()
    assert np.allclose(means, seen.mean((0, 2, 3)))
    assert np.allclose(deviations, seen.std((0, 2, 3)))


def test_one_bit_can_be_attacked_since_its_gradient_is_that_of_the_pixels():
    images = torch.rand(2, 1, 8, 8, requires_grad=True)
    seen = views.one_bit(images)
    assert torch.allclose(seen, views.one_bit(images.detach()))
    seen.sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))
