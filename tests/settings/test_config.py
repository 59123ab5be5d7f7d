from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import mlp

from kdbench.errors import BadSetting
from kdbench.settings.config import from_plain, to_plain
from kdbench.settings.network import StepSpec


def test_the_hash_covers_what_decides_the_row_and_not_where_things_lie(make_config):
    config = make_config()
    moved = replace(config, outputs=Path("/elsewhere"), data=replace(config.data, root=Path("/x"), cache=Path("/y")))
    assert moved.hash == config.hash
    others = [
        replace(config, network=mlp(seed=1)),
        replace(config, network=mlp(epochs=3)),
        replace(config, network=mlp(widths=[17])),
        replace(config, network=mlp(normalise="none")),
        replace(config, network=mlp(weights=Path("w"), weights_except=("2",))),
        make_config("prune", {"_target_": "x", "sparsity": 0.5}),
        make_config("prune", {"_target_": "x", "sparsity": 0.6}),
        make_config("distill", StepSpec({"_target_": "x"}, (mlp(seed=1),))),
        make_config("distill", StepSpec({"_target_": "x"}, (mlp(seed=1), mlp(seed=2)))),
        make_config("distill", StepSpec({"_target_": "x"}, (mlp(seed=1, epochs=3),))),
        replace(config, precision="bf16"),
        replace(config, together=(0, 1)),
        replace(config, images="1x28x28 in 12 classes"),
        replace(config, instructions="AVX2"),
        replace(config, threads=1),
        replace(config, data=replace(config.data, fingerprint="f1")),
    ]
    assert len({config.hash, *(other.hash for other in others)}) == 1 + len(others)


def test_settings_that_are_younger_than_a_row_leave_its_hash_as_it_was(make_config):
    config = make_config("distill", StepSpec({"_target_": "x"}, (mlp(seed=1),)))
    older = to_plain(config)
    for network in (older["network"], older["network"]["steps"][0]["teachers"][0]):
        del network["normalise"], network["weights_except"]
    assert from_plain(older) == config
    digested = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdbench.settings.config.digest", lambda content: digested.append(str(content)) or "")
        assert config.hash == ""
    assert not any(name in digested[0] for name in ("normalise", "weights_except"))


def test_variants_share_everything_but_seeds(make_config):
    config = make_config("distill", StepSpec({"_target_": "x"}, (mlp(seed=1),)), threads=2)
    other_seed = replace(config, network=config.network.with_seed(4))
    assert [config.network.seed, other_seed.network.seed] == [0, 4]
    assert [config.teachers[0].seed, other_seed.teachers[0].seed] == [1, 5]
    assert config.variant == other_seed.variant
    # Another teacher is another variant, also where only its seed makes it another.
    for seed in (0, 2):
        assert config.variant != make_config("distill", StepSpec({"_target_": "x"}, (mlp(seed=seed),))).variant
    fixed = [replace(mlp(seed=seed), seed_is_fixed=True) for seed in (5, 6)]
    variants = [make_config("distill", StepSpec({"_target_": "x"}, (teacher,))).variant for teacher in fixed]
    assert len({config.variant, *variants}) == 3
    assert config.hash != other_seed.hash
    assert config.variant != make_config("distill", StepSpec({"_target_": "x"}, (mlp(epochs=3),))).variant


def test_a_teacher_whose_seed_was_typed_keeps_it(make_config):
    fixed = replace(mlp(seed=1), seed_is_fixed=True)
    config = make_config("distill", StepSpec({"_target_": "x"}, (fixed,)))
    assert replace(config, network=config.network.with_seed(4)).teachers[0].seed == 1


def test_machines_with_other_core_counts_run_the_same_variant(make_config):
    two, four = (make_config(threads=threads) for threads in (2, 4))
    assert (two.variant, two.network_hash) == (four.variant, four.network_hash)
    assert two.hash != four.hash


def test_code_is_part_of_the_variant_and_not_of_the_folder(make_config):
    before, after = (make_config(code={"row": code}) for code in ("a", "b"))
    assert before.variant != after.variant
    assert before.hash == after.hash


def test_a_named_file_counts_by_what_it_holds(make_config):
    network = replace(mlp(), weights=Path("/a/weights.pt"))
    old, new = (make_config(network=network, files={"/a/weights.pt": content}) for content in ("1", "2"))
    moved = make_config(network=replace(mlp(), weights=Path("/b.pt")), files={"/b.pt": "1"})
    assert (
        len({old.hash, new.hash}) == len({old.variant, new.variant}) == len({old.network_hash, new.network_hash}) == 2
    )
    assert old.hash == moved.hash


def test_what_a_student_learns_from_counts_by_what_it_holds_and_not_by_where_it_lies(make_config):
    data = make_config().data

    def transferred(**changes):
        step = StepSpec({"_target_": "x"}, (mlp(seed=1),), replace(data, **changes))
        return make_config("distill", step)

    here, other = transferred(fingerprint="a"), transferred(fingerprint="b")
    assert here.hash == transferred(fingerprint="a", root=Path("/x"), cache=Path("/y")).hash
    assert len({here.hash, other.hash}) == len({here.variant, other.variant}) == 2


def test_a_configuration_goes_to_yaml_and_back(make_config):
    chain = replace(mlp(seed=3), steps=(StepSpec({"_target_": "x"}, (mlp(seed=2),)),), compress="prune")
    data = make_config().data
    config = make_config(
        "distill", StepSpec({"_target_": "y", "alpha": 0.1}, (chain, mlp(seed=1)), data), together=(0, 1)
    )
    assert from_plain(to_plain(config)) == config


def test_a_configuration_of_before_flips_is_one_without(make_config):
    config = make_config()
    node = to_plain(config)
    del node["network"]["recipe"]["flip"]
    assert from_plain(node) == config


def test_a_student_finds_the_runs_of_its_teacher(make_config):
    student = make_config("distill", StepSpec({"_target_": "x"}, (mlp(widths=[32]),)))
    assert student.teacher_hash == make_config(network=mlp(widths=[32], seed=5)).network_hash
    assert student.teacher_hash != student.network_hash
    assert make_config().teacher_hash is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": mlp(epochs=0)}, r"train\.epochs=0 leaves mlp_tiny untrained"),
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
