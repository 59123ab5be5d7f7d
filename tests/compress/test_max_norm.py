import pytest
import torch
from tests.compress.tasks import fitting, task_of
from tests.training.methods import built

from kdbench.compress.max_norm import MaxNorm, ShortRows
from kdbench.errors import BadSetting


def test_no_unit_has_longer_weights(few, recipe, machine):
    made = MaxNorm(0.5)(built("cnn", few), task_of(few, fitting(few, recipe, machine)))
    rows = [p.flatten(1).norm(dim=1) for name, p in made.named_parameters() if p.dim() > 1]
    assert max(row.max().item() for row in rows) <= 0.5 + 1e-5
    assert min(row.max().item() for row in rows) > 0.4  # and the bound is felt


def test_what_is_shorter_stays_and_what_is_longer_keeps_its_direction():
    layer = torch.nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    ShortRows(["weight"], 1.0).apply(layer, 1, 1)
    assert torch.allclose(layer.weight, torch.tensor([[0.6, 0.8], [0.3, 0.4]]), atol=1e-6)


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(BadSetting, match=r"compress\.limit=0"):
        MaxNorm(0)
