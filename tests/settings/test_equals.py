"""Teachers that are equals of their student: as many as are asked for, and generations."""

import pytest
from tests.settings.test_compose import composed

from kdbench.errors import BadSetting
from kdbench.settings import equals


def seeds_of(*overrides):
    return [teacher.seed for teacher in composed("seed=5", *overrides).teachers]


def test_equals_have_seeds_of_a_range_of_their_own():
    assert seeds_of("compress=ensemble", "compress.teacher=[{equals:3}]") == [1_000_005, 2_000_005, 3_000_005]
    assert equals.seed_of(2_147_483_647, 2) == 2_145_483_647  # the largest seeds have equals below them


def test_generations_are_taught_one_by_the_other_down_to_one_that_learnt_from_labels():
    network = composed("compress=born_again", "compress.generations=3", "seed=5").network
    found = []
    while network.steps:
        [step] = network.steps
        assert step.method["_target_"].endswith(".Distill")
        [teacher] = step.teachers
        assert (teacher.model, teacher.recipe) == (network.model, network.recipe)
        found.append(teacher.seed)
        network = teacher
    assert found == [3_000_005, 2_000_005, 1_000_005]


def test_a_chain_that_is_longer_goes_on_from_the_generations_of_a_shorter_one():
    short = composed("compress=born_again", "compress.generations=2").teachers[0]
    long = composed("compress=born_again", "compress.generations=3").teachers[0]
    assert long.teachers == (short,)


def test_an_ensemble_of_generations_is_of_all_that_had_a_teacher():
    first, second = composed("compress=born_again_ensemble", "compress.generations=3").network.steps
    assert second.teachers[-1] == first.teachers[0]
    assert [len(teacher.steps) for teacher in second.teachers] == [1, 1]
    assert all(step.method["_target_"].endswith("Distill") for teacher in second.teachers for step in teacher.steps)


def test_a_chain_moves_with_the_seed_of_the_study():
    one, other = (composed("compress=born_again", f"seed={seed}") for seed in (0, 7))
    assert one.network.with_seed(7) == other.network
    assert one.variant == other.variant


def test_an_assistant_is_taught_by_the_teacher_and_teaches_the_student():
    [assistant] = composed("compress=assistant", "compress.assistant=mlp_medium", "compress.temperature=3").teachers
    assert (assistant.name, assistant.compress, assistant.steps[0].method["temperature"]) == (
        "mlp_medium",
        "distill",
        3,
    )
    assert [teacher.name for teacher in assistant.teachers] == ["cnn_deep"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["compress=born_again", "compress.generations=0"], r"compress\.generations=0 .*at least 1"),
        (["compress=born_again_ensemble", "compress.generations=1"], "leaves no other generation to join"),
        (["compress=ensemble", "compress.teacher=[{equals:0}]"], r"compress\.equals=0 .*at least 1"),
        (["compress=ensemble", "compress.teacher=[{equals:2,seed:3}]"], "seed is not a setting of teachers by"),
        (["compress=ensemble", "compress.teacher=[{equals:2,generations:2}]"], "goes with no other setting"),
        (["compress=ensemble", "compress.teacher=[{generations:3,each:nope}]"], "each is true or false, not nope"),
    ],
)
def test_what_cannot_be_is_one_line(typed, message):
    with pytest.raises(BadSetting, match=message) as caught:
        composed(*typed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("apart", ["train.epochs=3", "teacher_train.epochs=20", "view=edges", "seed=5"])
def test_a_teacher_of_the_students_architecture_has_other_initial_weights_whatever_its_recipe(apart):
    network = composed("model=cnn_simple", "compress=distill", "compress.teacher=cnn_simple", apart).network
    assert network.teachers[0].seed == network.seed + 1_000_000


def test_one_network_is_not_two_teachers():
    with pytest.raises(BadSetting, match="names one cnn_deep twice"):  # as long as the seed is 3
        composed(
            "model=cnn_simple", "compress=distill", "compress.teacher=[cnn_deep,{model:cnn_deep,seed:3}]", "seed=3"
        )
    with pytest.raises(BadSetting, match="names one cnn_deep twice"):
        composed("model=mlp_simple", "compress=distill", "compress.teacher=[cnn_deep,cnn_deep]")
