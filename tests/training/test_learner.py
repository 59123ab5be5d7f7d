import pytest
import torch
from tests.training.methods import Hint, Scaled, mlp_of

from kdbench.training.checkpoint import Checkpoint, Saved
from kdbench.training.criteria import Criterion
from kdbench.training.learner import Learner


class Prepares(Scaled):
    def prepare(self, batch, network):
        return batch


class Reads(Scaled):
    layers = ("1",)


@pytest.mark.parametrize(
    ("criterion", "alone"), [(Scaled(1.0), False), (Hint(), True), (Prepares(1.0), True), (Reads(1.0), True)]
)
def test_what_reads_or_trains_more_than_logits_needs_the_network_alone(criterion: Criterion, alone):
    assert Learner(mlp_of(), 0, criterion).needs_the_network_alone is alone


def test_a_learner_stands_where_its_checkpoint_does(tmp_path):
    assert Learner(mlp_of(), 0).step == 0
    checkpoint = Checkpoint(tmp_path / "key", 0)
    assert Learner(mlp_of(), 0, checkpoint=checkpoint).step == 0
    checkpoint.begin()
    checkpoint.save(Saved({"a": torch.zeros(1)}, {"step": 7}))
    assert Learner(mlp_of(), 0, checkpoint=Checkpoint(tmp_path / "key", 0)).step == 7
