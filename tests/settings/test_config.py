from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import mlp

from kdbench.errors import BadSetting
from kdbench.settings.config import CompressConfig


def test_the_hash_covers_what_decides_the_row_and_not_where_things_lie(make_config):
    config = make_config()
    moved = replace(config, outputs=Path("/elsewhere"), data=replace(config.data, root=Path("/x"), cache=Path("/y")))
    assert moved.hash == config.hash
    others = [
        replace(config, network=mlp(seed=1)),
        replace(config, network=mlp(epochs=3)),
        replace(config, network=mlp(widths=[17])),
        replace(config, compress=CompressConfig("prune", ({"_target_": "x", "sparsity": 0.5},), "")),
        replace(config, teacher=mlp(seed=1)),
        replace(config, precision="bf16"),
        replace(config, threads=1),
        replace(config, data=replace(config.data, fingerprint="f1")),
    ]
    assert len({config.hash, *(other.hash for other in others)}) == 1 + len(others)


def test_variants_share_everything_but_seeds(make_config):
    config = make_config(teacher=mlp(seed=0))
    other_seed = replace(config, network=mlp(seed=1), teacher=mlp(seed=1))
    assert config.variant == other_seed.variant
    assert config.hash != other_seed.hash
    assert config.variant != replace(config, network=mlp(epochs=3)).variant


def test_a_student_finds_the_runs_of_its_teacher(make_config):
    student = make_config(teacher=mlp(widths=[32]))
    assert student.teacher_hash == make_config(network=mlp(widths=[32], seed=5)).network_hash
    assert student.teacher_hash != student.network_hash
    assert make_config().teacher_hash is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": mlp(epochs=-1)}, r"train\.epochs=-1 is out of range"),
        ({"network": mlp(batch_size=1)}, r"train\.batch_size"),
        ({"network": mlp(lr=-1)}, r"train\.lr"),
        ({"network": mlp(lr=float("nan"))}, r"train\.lr"),
        ({"network": mlp(shift=33)}, r"train\.shift=33 is out of range: it takes a whole number from 0 to 32"),
        ({"network": mlp(seed=-1)}, r"seed=-1"),
        ({"device": "gpu"}, r"device=gpu is unknown"),
        ({"precision": "fp16"}, r"precision=fp16 is unknown: did you mean 'bf16'\?"),
    ],
)
def test_settings_out_of_range_are_named(make_config, changes, message):
    with pytest.raises(BadSetting, match=message):
        make_config(**changes)
