"""What trainings a network takes, as far as the order of runs needs to know."""

from dataclasses import replace

from kdbench.networks.cost import trainings
from kdbench.settings.typed import config_of
from tests.conftest import distill, mlp


def keys(spec):
    return [one.key for one in trainings(spec)]


def network(**settings):
    return config_of({"model": "mlp_simple", **settings}).network


def test_what_is_the_same_training_has_the_same_key_whatever_run_needs_it():
    plain = network()
    assert keys(network(compress="quantize")) == keys(plain)
    assert keys(network(compress="prune"))[:1] == keys(plain)
    teacher, student = mlp(1), mlp(2, distill(mlp(1)))
    assert keys(teacher) == keys(student)[:1]
    assert len(set(keys(student))) == len(keys(student)) == 2  # it starts from scratch: without a baseline


def test_another_seed_or_recipe_is_another_training_and_a_name_is_not():
    spec = network(compress="distill")
    assert not set(keys(spec)) & set(keys(spec.with_seed(1)))
    assert keys(replace(spec, name="mine", compress="so")) == keys(spec)
    other = replace(spec, recipe=replace(spec.recipe, lr=0.5))
    assert keys(other)[-1] != keys(spec)[-1]


def test_what_computes_more_or_trains_longer_takes_longer():
    [plain] = trainings(network())
    [wider] = trainings(network(**{"model.widths": [512, 512]}))
    [longer] = trainings(network(**{"train.epochs": 100}))
    assert plain.seconds < wider.seconds
    assert plain.seconds < longer.seconds
    assert trainings(network(compress="prune"))[1].seconds < plain.seconds
    assert [one.seconds for one in trainings(config_of({"model": "resnet_deep"}).network)] > [plain.seconds]


def test_what_was_given_is_not_trained(tmp_path):
    (tmp_path / "net.pt").touch()
    spec = replace(mlp(epochs=0), weights=tmp_path / "net.pt")
    assert keys(spec) == []
