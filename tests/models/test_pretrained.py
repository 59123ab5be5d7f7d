import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdbench.errors import BadSetting
from kdbench.models.network import Network, Normalise, build
from kdbench.models.pretrained import load_weights
from kdbench.models.weights_file import written
from kdbench.settings.earlier_run import file_steps, shaped_by

CNN = {"_target_": "kdbench.models.cnn.CNN", "widths": [4, 6], "convs": 1, "head": "flatten"}
MLP = {"_target_": "kdbench.models.mlp.MLP", "widths": [5]}
SHAPE, CLASSES = (3, 8, 8), 4


def network(seed: int, model=CNN, mean: float = 0.5) -> Network:
    return build(model, seed, SHAPE, CLASSES, ([mean] * 3, [0.25] * 3))


def trained(seed: int) -> Network:
    """One whose statistics of batch norm are no longer those of an untrained one."""
    other = network(seed, mean=0.1)
    other.train()(torch.rand(16, *SHAPE))
    return other.eval()


pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

WRITERS = {
    "safetensors": lambda tensors, path: save_file({name: t.contiguous() for name, t in tensors.items()}, path),
    "state_dict": torch.save,
    "checkpoint": lambda tensors, path: torch.save({"state_dict": dict(tensors), "epoch": 3}, path),
    "old torch": lambda tensors, path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("whole", [True, False], ids=["with normalisation", "the model alone"])
@pytest.mark.parametrize("writer", WRITERS)
def test_weights_come_back_from_every_kind_of_file(tmp_path, writer, whole):
    source, target = trained(1), network(2)
    WRITERS[writer]((source if whole else source.model).state_dict(), tmp_path / "weights")
    before = target[0].mean.clone()
    load_weights(target, tmp_path / "weights")
    for name, tensor in source.model.state_dict().items():
        assert torch.equal(tensor, target.model.state_dict()[name]), name
    # The normalisation of the data at hand stays where the file has none.
    assert torch.equal(target[0].mean, source[0].mean if whole else before)


def test_a_linear_network_comes_back_too(tmp_path):
    source, target = network(1, MLP), network(2, MLP)
    torch.save(source.model.state_dict(), tmp_path / "weights.pt")
    load_weights(target, tmp_path / "weights.pt")
    images = torch.rand(3, *SHAPE)
    assert torch.equal(source(images), target(images))


def refused(target: Network, path: Path) -> str:
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(BadSetting) as error:
        load_weights(target, path)
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in before.items())
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"weights={path}")
    return message


def altered(tmp_path: Path, change, whole: bool) -> Path:
    source = trained(1)
    tensors = dict((source if whole else source.model).state_dict())
    change(tensors, "1." if whole else "")
    save_file(tensors, tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("whole", [True, False])
def test_names_that_do_not_fit_are_listed_as_the_model_has_them(tmp_path, whole):
    def rename(tensors, prefix):
        tensors[f"{prefix}first.weight"] = tensors.pop(f"{prefix}0.weight")

    message = refused(network(2), altered(tmp_path, rename, whole))
    assert ": 0.weight is missing, first.weight is unknown" in message


@pytest.mark.parametrize("whole", [True, False])
def test_shapes_that_do_not_fit_are_listed(tmp_path, whole):
    def reshape(tensors, prefix):
        tensors[f"{prefix}0.weight"] = torch.zeros(4, 3, 5, 5)

    message = refused(network(2), altered(tmp_path, reshape, whole))
    assert message.endswith("do not fit the model: 0.weight is 4x3x5x5 there and 4x3x3x3 in the model")


def test_only_the_first_few_that_do_not_fit_are_listed(tmp_path):
    torch.save(network(1, MLP).model.state_dict(), tmp_path / "weights")
    message = refused(network(2), tmp_path / "weights")
    listed, _, more = message.partition(", and ")
    assert listed.count(",") == 3
    own, others = (network(0, model).model.state_dict() for model in (CNN, MLP))
    own = {name: tensor for name, tensor in own.items() if not name.endswith("num_batches_tracked")}
    of_another_shape = [name for name in own if name in others and own[name].shape != others[name].shape]
    assert more == f"{len(own.keys() ^ others.keys()) + len(of_another_shape) - 4} more"


def test_half_a_network_is_not_taken_for_a_model_alone(tmp_path):
    def drop(tensors, prefix):
        del tensors["0.mean"]

    assert "0.mean is missing" in refused(network(2), altered(tmp_path, drop, whole=True))


def test_a_missing_file_is_named(tmp_path):
    assert refused(network(2), tmp_path / "nowhere").endswith("there is no such file")
    assert refused(network(2), tmp_path).endswith("there is no such file")


class Code:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


@pytest.mark.parametrize("write", [lambda value, path: path.write_bytes(pickle.dumps(value)), torch.save])
def test_a_pickle_with_code_is_refused_and_nothing_of_it_executed(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write({"0.weight": Code()}, tmp_path / "weights")
    refused(network(2), tmp_path / "weights")
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"rubbish"),
        lambda path: torch.save(network(1), path),
        lambda path: torch.save([torch.zeros(3)], path),
        lambda path: torch.save({}, path),
        lambda path: torch.save({"epoch": 3}, path),
        lambda path: torch.save(torch.zeros(3), path),
        lambda path: path.write_bytes(pickle.dumps(3)),
        lambda path: path.write_bytes(b"\x80\x02}q\x00."),
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)),
    ],
    ids=[
        "empty",
        "rubbish",
        "a module",
        "a list",
        "nothing",
        "no tensors",
        "one tensor",
        "a number",
        "a pickle",
        "a zip",
    ],
)
def test_what_is_no_file_of_tensors_by_name_is_refused_in_one_line_that_says_how_to_write_one(tmp_path, write):
    write(tmp_path / "weights")
    assert "torch.save(model.state_dict(), FILE)" in refused(network(2), tmp_path / "weights")


@pytest.mark.parametrize("writer", ["safetensors", "state_dict"])
def test_a_file_that_was_cut_off_is_refused(tmp_path, writer):
    path = tmp_path / "weights"
    WRITERS[writer](network(1).state_dict(), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        assert refused(network(2), path)


KINDS = {
    "DataParallel": lambda model: nn.DataParallel(model).state_dict(),
    "torch.compile": lambda model: {f"_orig_mod.{name}": tensor for name, tensor in model.state_dict().items()},
    "a checkpoint": lambda model: {"model": model.state_dict(), "optimizer": {"lr": 0.1}, "epoch": 3},
    "another one": lambda model: {"model_state_dict": model.state_dict()},
    "float64": lambda model: {
        name: tensor.double() for name, tensor in model.state_dict().items() if "num_" not in name
    },
    "early torch": lambda model: {name: tensor for name, tensor in model.state_dict().items() if "num_" not in name},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_training_scripts_write_is_read(tmp_path, kind):
    source, target = trained(1), network(2)
    torch.save(KINDS[kind](source.model), tmp_path / "weights")
    load_weights(target, tmp_path / "weights")
    for name, tensor in source.model.named_parameters():
        found = target.model.get_parameter(name)
        assert torch.equal(tensor, found), name
        assert found.dtype == torch.float32
    assert torch.equal(source.model[1].running_var, target.model[1].running_var)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight.to(torch.int8), "0.weight holds int8, and the network takes float32"),
        (lambda weight: weight.bool(), "0.weight holds bool, and the network takes float32"),
        (lambda weight: weight.double() * 1e300, "0.weight holds NaN or infinity"),
        (lambda weight: weight.index_fill(0, torch.tensor([1]), float("nan")), "0.weight holds NaN or infinity"),
        (lambda weight: weight.index_fill(0, torch.tensor([1]), -float("inf")), "0.weight holds NaN or infinity"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(tmp_path, change, message, whole):
    def edit(tensors, prefix):
        tensors[f"{prefix}0.weight"] = change(tensors[f"{prefix}0.weight"])

    assert f": {message}" in refused(network(2), altered(tmp_path, edit, whole))


def other_classes(tmp_path: Path, whole: bool) -> Path:
    source = build(CNN, 1, SHAPE, CLASSES + 3, ([0.1] * 3, [0.25] * 3))
    torch.save((source if whole else source.model).state_dict(), tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("whole", [True, False])
def test_weights_for_other_classes_are_refused_with_what_to_type_and_taken_but_for_that_layer(tmp_path, whole):
    path, target = other_classes(tmp_path, whole), network(2)
    message = refused(target, path)
    assert ": 9.weight is " in message  # as the model calls it
    assert message.endswith("in the model; weights_except=9 trains that layer anew, for other classes")
    head = target.model[9].weight.clone()
    load_weights(target, path, left_out=["9"])
    assert torch.equal(target.model[9].weight, head)
    assert torch.equal(target.model[0].weight, build(CNN, 1, SHAPE, 7, ([0] * 3, [1] * 3)).model[0].weight)


def test_names_that_are_left_out_may_stand_on_either_side_alone(tmp_path):
    def rename(tensors, prefix):
        tensors["aux.weight"] = tensors.pop("9.weight")

    path, target = altered(tmp_path, rename, whole=False), network(2)
    load_weights(target, path, left_out=["aux", "9.weight"])
    with pytest.raises(BadSetting, match=r"weights_except=ax is nothing in the model: did you mean 'aux'\?"):
        load_weights(target, path, left_out=["9", "ax"])


@pytest.mark.parametrize("normalise", ["data", "0.1/0.25"])
def test_the_normalisation_in_a_file_is_that_of_its_weights(tmp_path, normalise):
    source, target = trained(1), network(2, mean=0.1 if normalise != "data" else 0.5)
    torch.save(source.state_dict(), tmp_path / "weights")
    load_weights(target.eval(), tmp_path / "weights", normalise=normalise)
    images = torch.rand(2, *SHAPE)
    assert torch.equal(source(images), target(images))


def test_one_normalisation_for_all_channels_is_one_for_each(tmp_path):
    source, target = trained(1), network(2)
    source[0] = Normalise([0.1], [0.25])
    torch.save(source.state_dict(), tmp_path / "weights")
    load_weights(target.eval(), tmp_path / "weights")
    images = torch.rand(2, *SHAPE)
    assert torch.equal(source(images), target(images))


def test_another_normalisation_than_that_in_the_file_is_refused(tmp_path):
    torch.save(trained(1).state_dict(), tmp_path / "weights")
    target = network(2)
    with pytest.raises(BadSetting, match="bring their own normalisation, which normalise=imagenet is not"):
        load_weights(target, tmp_path / "weights", normalise="imagenet")


def test_what_a_run_writes_is_read_and_says_what_came_after_it(tmp_path):
    source, target = trained(1), network(2)
    (tmp_path / "weights").write_bytes(written(source, ["DynamicInt8"]))
    assert file_steps(tmp_path / "weights") == "DynamicInt8"
    load_weights(target, tmp_path / "weights")
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )
    (tmp_path / "weights").write_bytes(written(source, []))
    assert file_steps(tmp_path / "weights") == ""


@pytest.mark.parametrize("content", [b"", b"x" * 30, b"\xff" * 8 + b"{}", b"\x02" + bytes(7) + b"[]"])
def test_a_file_that_is_none_of_kdbench_says_nothing(tmp_path, content):
    (tmp_path / "weights").write_bytes(content)
    assert file_steps(tmp_path / "weights") == ""
    assert shaped_by(tmp_path / "weights") == []
