"""What other runs left: their weights, and their networks as they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.conftest import mlp

from kdbench.errors import BadSetting, DamagedFile
from kdbench.models.network import build
from kdbench.models.weights_file import written
from kdbench.settings.config import to_plain
from kdbench.settings.earlier_run import CONFIG, WEIGHTS, network_in, require_as_trained, weights_in
from kdbench.storage.checksums import SUMS, sums

NETWORK = build(mlp().model, 0, (1, 8, 8), 3, ((0.4,), (0.3,)))


@pytest.fixture
def folder(make_config, tmp_path) -> Path:
    """One of a distilled network, as far as it says what the network is."""
    return leave(tmp_path / "run", make_config("distill", {"_target_": "x"}, network=mlp(seed=3, normalise="none")))


def leave(folder: Path, config, file_steps=()) -> Path:
    folder.mkdir(exist_ok=True)
    files = {CONFIG: yaml.safe_dump(to_plain(config)).encode(), WEIGHTS: written(NETWORK, file_steps)}
    for name, content in (files | {SUMS: sums(files)}).items():
        (folder / name).write_bytes(content)
    return folder


def test_the_network_of_a_run_is_fixed_and_stays_as_it_is(folder):
    network = network_in(folder, "compress.teacher")
    before = mlp(seed=3, normalise="none")
    recipe = replace(before.recipe, epochs=0)
    expected = replace(before, name="mlp_tiny-distill", weights=folder / WEIGHTS, recipe=recipe, seed_is_fixed=True)
    assert network == expected
    assert network.with_seed(8) == network
    network.check("teacher_train")


def test_weights_of_a_run_are_shown_images_as_they_were_there_unless_they_are_trained_on(folder):
    given = mlp(epochs=0, normalise="none", weights=folder / WEIGHTS)
    require_as_trained(given)
    require_as_trained(mlp(epochs=1, view="edges", weights=folder / WEIGHTS))
    with pytest.raises(
        BadSetting, match=r"weights=.*run were trained under view=whole, and not edges: type view=whole"
    ):
        require_as_trained(replace(given, view="edges"))
    with pytest.raises(BadSetting, match=r"were trained under normalise=none, and not data: type normalise=none"):
        require_as_trained(replace(given, normalise="data"))


def test_a_run_that_ended_in_a_file_has_weights_to_give_and_no_network_that_could_teach(folder, make_config):
    leave(folder, make_config("quantize"), ["DynamicInt8"])
    assert weights_in(folder, "weights") == folder / WEIGHTS
    with pytest.raises(
        BadSetting, match=r"compress.teacher=.*: DynamicInt8 made a file of that mlp_tiny, which cannot"
    ):
        network_in(folder, "compress.teacher")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda folder: (folder / CONFIG).unlink(), BadSetting, "weights=.*run is not the folder of a run"),
        (lambda folder: (folder / SUMS).unlink(), BadSetting, "that run is not finished: type its command again"),
        (
            lambda folder: (folder / SUMS).write_bytes(sums({CONFIG: (folder / CONFIG).read_bytes()})),
            BadSetting,
            r"holds no weights\.safetensors, which earlier versions did not write",
        ),
        (lambda folder: (folder / WEIGHTS).unlink(), DamagedFile, r"run is damaged: weights\.safetensors is missing"),
        (
            lambda folder: (folder / WEIGHTS).write_bytes(b"other"),
            DamagedFile,
            "run is damaged: its checksum is not the one in",
        ),
        (lambda folder: (folder / SUMS).write_bytes(b"other"), DamagedFile, "SHA256SUMS does not hold checksums"),
    ],
)
def test_a_folder_without_whole_weights_is_refused_in_one_line(folder, change, kind, message):
    change(folder)
    with pytest.raises(kind, match=message) as error:
        weights_in(folder, "weights")
    assert "\n" not in str(error.value)


def test_a_configuration_that_is_none_is_refused(folder):
    (folder / CONFIG).write_text("data: 3\n")
    with pytest.raises(DamagedFile, match="is not the configuration of a run"):
        network_in(folder, "compress.teacher")
