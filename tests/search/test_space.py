import optuna
import pytest
import yaml

from kdbench.errors import BadSetting
from kdbench.search.plan import read
from kdbench.search.space import Place, space_of
from kdbench.settings.choices import config_dir, options
from kdbench.settings.typed import config_of

SPACE = yaml.safe_load("""
compress: [distill, hints]
compress.temperature: {from: 1, to: 20, log: true, when: {compress: [distill]}}
compress.hint_epochs: {from: 1, to: 3, whole: true, when: {compress: [hints]}}
compress.student_layer: {layer_of: student, when: {compress: [hints]}}
model.widths: {from: 4, to: 32, whole: true, lengths: [1, 3]}
""")


def drawn(count):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    return [space_of(SPACE).draw(study.ask()) for _ in range(count)]


def test_what_is_drawn_lies_in_the_space_and_is_there_only_when_it_should_be():
    trials = drawn(60)
    assert {one["compress"] for one in trials} == {"distill", "hints"}
    for one in trials:
        of_hints = one["compress"] == "hints"
        assert ("compress.temperature" in one) != of_hints
        assert ("compress.hint_epochs" in one) == ("compress.student_layer" in one) == of_hints
        assert all(isinstance(width, int) and 4 <= width <= 32 for width in one["model.widths"])
        if of_hints:
            assert one["compress.hint_epochs"] in (1, 2, 3)
            assert one["compress.student_layer"].of == "student"
            assert isinstance(one["compress.student_layer"], Place)
        else:
            assert 1 <= one["compress.temperature"] <= 20
            assert float(f"{one['compress.temperature']:.3g}") == one["compress.temperature"]  # as it is typed
    assert {len(one["model.widths"]) for one in trials} == {1, 2, 3}


def test_lists_can_be_chosen_from():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    space = space_of({"model.widths": [[8], [16, 8], [32]]})
    found = [space.draw(study.ask())["model.widths"] for _ in range(20)]
    assert {tuple(one) for one in found} == {(8,), (16, 8), (32,)}
    hash(tuple(study.trials[0].params.values()))  # as Optuna's charts do


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "names no settings"),
        ({"seed": 3}, "seed is neither a list of values nor a range"),
        ({"a": []}, "a has no values"),
        ({"a": {"from": 1}}, "a has no range"),
        ({"a": {"from": 3, "to": 1}}, "a to=1.0 is out of range"),
        ({"a": {"from": 0, "to": 1, "log": True}}, "a log scale begins above 0"),
        ({"a": {"from": 0, "too": 1}}, "too, which is not known: did you mean 'to'?"),
        ({"a": {"layer_of": "nobody"}}, "of the student or of the teacher, not of nobody"),
        ({"a": {"from": 0, "to": 1, "when": {"b": [1]}}, "b": [1, 2]}, "b is, which must stand before it"),
    ],
)
def test_a_space_that_is_none_says_why(space, message):
    with pytest.raises(BadSetting, match="space") as error:
        space_of(space)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["compression", "distillation", "student"])
def test_the_searches_that_ship_can_be_read(name):
    plan = read(name, options("search", [config_dir()])[name])
    assert plan.about.endswith(".")
    assert plan.trials >= 30
    for settings in (plan.settings, plan.settings | plan.against):  # as `kdbench search` composes both before a trial
        config_of(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": {"size_bytes": "minimise"}}, "must have val_accuracy: maximise"),
        ({"objectives": {"val_accuracy": "maximise", "accuracy": "maximise"}}, "accuracy is not measured of a trial"),
        ({"objectives": {"val_accuracy": "more"}}, "to maximise or to minimise, not to more"),
        ({"sampler": "tpo"}, "sampler tpo is not known: did you mean 'tpe'?"),
        ({"spaces": {}}, "spaces is not known: did you mean 'space'?"),
        ({"trials": "many"}, "trials=many is not a whole number of at least 1"),
        ({"retrain": 0}, "retrain=0 is out of range"),
        ({"limits": {"size_bytes": "40kB"}}, "limits are numbers"),
        ({"objectives": ["val_accuracy"]}, "objectives are such as val_accuracy: maximise"),
    ],
)
def test_a_plan_that_is_none_says_why(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"objectives": {"val_accuracy": "maximise"}, "space": {"a": [1]}, **change}))
    with pytest.raises(BadSetting, match=r"mine\.yaml") as error:
        read("mine", path)
    assert message in str(error.value)
