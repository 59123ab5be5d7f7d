"""From names that were typed to the whole configuration of a run."""

from dataclasses import replace
from pathlib import Path

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from kdbench.errors import BadSetting
from kdbench.settings import choices, search_path
from kdbench.settings.choices import config_dir
from kdbench.settings.compose import resolve
from kdbench.settings.config import Config

STUDENTS = [f"{family}_{grade}" for family in ("mlp", "cnn", "resnet") for grade in ("simple", "medium", "deep")]


def composed(*overrides: str) -> Config:
    search_path.register()
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        whole = hydra.compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(whole)
        names = dict(whole.hydra.runtime.choices)
        with open_dict(whole):
            del whole["hydra"]
        return resolve(whole, names, list(overrides), [config_dir()])


@pytest.mark.parametrize("student", STUDENTS)
def test_auto_finds_a_teacher_that_is_trained_as_its_own_baseline_is(student):
    config = composed(f"model={student}", "compress=distill", "seed=3")
    alone = composed("model=cnn_deep", f"seed={1_000_003 if student == 'cnn_deep' else 3}")
    assert config.teachers == (alone.network,)


ASKING = [
    name for name, path in choices.options("compress", [config_dir()]).items() if "teacher" in choices.read(path)
]


@pytest.mark.parametrize("compress", ASKING)
def test_a_teacher_is_typed_as_a_name_as_settings_or_in_a_list(compress):
    """Whatever stands in the YAML: Hydra merges settings into settings, and refuses them for a list."""
    written = [
        composed("model=cnn_deep", f"compress={compress}", f"compress.teacher={typed}").teachers
        for typed in ("cnn_deep", "{model:cnn_deep}", "[cnn_deep]", "[{model:cnn_deep}]")
    ]
    assert written[0]
    assert all(teachers == written[0] for teachers in written)


def test_what_is_typed_is_not_merged_with_what_stands_in_the_yaml():
    typed = "compress.transfer={data:some_classes,keep:[7,8]}"
    [step] = composed(
        "model=mlp_simple", "compress=distill_adjust_bias", typed, "compress.classes=[7]"
    ).network.steps[:1]
    assert (step.transfer.loader["keep"], step.transfer.loader["leave_out"]) == ([7, 8], None)


def test_no_choice_has_settings_as_a_default_that_hydra_would_merge():
    for name, path in choices.options("compress", [config_dir()]).items():
        for knob, value in choices.read(path).items():
            settings = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]
            assert knob == "steps" or not settings, f"{name}.yaml: {knob} as ${{oc.create:...}}"


def test_a_whole_number_is_the_same_setting_however_it_is_typed():
    typed = [
        composed("model=mlp_simple", "compress=distill", f"compress.temperature={text}")
        for text in ("4", "4.0", "4.5")
    ]
    assert typed[0].variant == typed[1].variant != typed[2].variant
    assert typed[0].hash == typed[1].hash != typed[2].hash


def test_a_network_is_never_its_own_teacher():
    config = composed("model=mlp_simple", "compress=distill", "compress.teacher=mlp_simple", "seed=0")
    assert (config.network.seed, config.teachers[0].seed) == (0, 1_000_000)
    narrowed = composed("model=mlp_simple", "model.widths=[8]", "compress=distill", "compress.teacher=mlp_simple")
    [teacher] = narrowed.teachers
    assert (narrowed.network.model["widths"], teacher.model["widths"]) == ([8], [64])
    assert teacher.seed == narrowed.network.seed


def test_a_recipe_is_the_student_s_and_that_of_teachers_has_a_name_of_its_own():
    config = composed("model=mlp_simple", "compress=distill", "train.epochs=3", "teacher_train.lr=0.5")
    [teacher] = config.teachers
    assert (config.network.recipe.epochs, teacher.recipe.epochs) == (3, 6)
    assert (config.network.recipe.lr, teacher.recipe.lr) == (0.004, 0.5)


def test_several_teachers_are_an_ensemble():
    config = composed("model=mlp_simple", "compress=distill", "compress.teacher=[mlp_deep,mlp_medium]", "seed=2")
    assert [(teacher.name, teacher.seed) for teacher in config.teachers] == [("mlp_deep", 2), ("mlp_medium", 2)]
    assert config.teacher_hash is None


def test_a_teacher_is_described_by_the_settings_of_a_run():
    described = "{model:cnn_medium,seed:5,train.epochs:2,train:{lr:0.1},model.widths:[8,8]}"
    [teacher] = composed("model=cnn_simple", "compress=distill", f"compress.teacher={described}").teachers
    assert (teacher.name, teacher.seed, teacher.seed_is_fixed) == ("cnn_medium", 5, True)
    assert (teacher.recipe.epochs, teacher.recipe.lr, teacher.model["widths"]) == (2, 0.1, [8, 8])


def test_a_chain_of_assistants_is_a_teacher_that_was_taught():
    chain = "{model:cnn_medium,compress:distill,compress.teacher:cnn_deep,compress.temperature:4}"
    config = composed("model=cnn_simple", "compress=distill", f"compress.teacher={chain}", "seed=1")
    [assistant] = config.teachers
    [deep] = assistant.steps[0].teachers
    assert [(n.name, n.compress, n.seed) for n in (assistant, deep)] == [
        ("cnn_medium", "distill", 1),
        ("cnn_deep", "baseline", 1),
    ]
    assert assistant.steps[0].method["temperature"] == 4
    assert config.network.steps[0].method["temperature"] == 2


def test_a_pruned_student_learns_from_its_unpruned_self():
    config = composed("model=cnn_simple", "compress=prune_distill_quantize", "seed=4")
    assert config.teachers == (config.network.uncompressed,)
    prune, distill, quantize, on_grids = config.network.steps
    assert (prune.teachers, quantize.teachers, on_grids.teachers) == ((), (), distill.teachers)
    assert (distill.method["epochs"], distill.method["share"]) == (None, 0.25)


def test_weights_start_the_model_or_a_teacher(tmp_path):
    config = composed(
        f"weights={tmp_path}/w.pt",
        "compress=distill",
        f"compress.teacher={{model:cnn_deep,weights:'{tmp_path}/t.pt'}}",
    )
    assert config.network.weights == tmp_path / "w.pt"
    assert config.teachers[0].weights == tmp_path / "t.pt"


def test_one_yaml_stands_for_all_classifiers_of_torchvision_which_resnet18_teaches():
    config = composed("model=torchvision", "model.name=mnasnet0_5", "compress=distill", "+model.dropout=0.5")
    assert config.network.name == "mnasnet0_5"
    assert config.network.model == {
        "_target_": "kdbench.models.torchvision_model.classifier",
        "name": "mnasnet0_5",
        "dropout": 0.5,
    }
    [teacher] = config.teachers
    assert (teacher.name, teacher.model["name"], teacher.seed) == ("resnet18", "resnet18", 0)
    assert composed("model=torchvision", "model.name=resnet18", "compress=distill").teachers[0].seed == 1_000_000
    described = "{model:torchvision,model.name:resnet18,weights:a/w.pth,train.epochs:0,normalise:imagenet}"
    [given] = composed("compress=distill", f"compress.teacher={described}").teachers
    assert (given.name, given.weights, given.normalise) == ("resnet18", Path.cwd() / "a/w.pth", "imagenet")


def test_a_class_of_one_s_own_needs_no_yaml():
    network = composed("model=python", "model._target_=my_net.MyNet", "+model.width=3").network
    assert (network.name, network.model) == ("mynet", {"_target_": "my_net.MyNet", "width": 3})
    with pytest.raises(BadSetting, match=r"type model\._target_=my_file\.Mine, and --config-dir DIR") as caught:
        composed("model=python")
    assert "\n" not in str(caught.value)


def test_some_layers_are_initialised_in_spite_of_given_weights(tmp_path):
    given = f"weights={tmp_path}/w.pt"
    assert composed(given, "weights_except='fc,aux1'").network.weights_except == ("fc", "aux1")
    assert composed(given, "weights_except=fc+aux1").network.weights_except == ("fc", "aux1")
    for typed, message in (
        (["weights_except=fc"], "type weights=FILE beside it"),
        ([given, "weights_except=fc", "train.epochs=0"], r"leaves that untrained: type train\.epochs=1"),
        ([given, "normalise=imagnet"], "normalise=imagnet is none of"),
    ):
        with pytest.raises(BadSetting, match=message):
            composed(*typed)


@pytest.mark.parametrize("typed", ["{folder}", "[{folder},cnn_deep]"])
def test_the_folder_of_a_run_is_a_teacher_or_gives_weights(tmp_path, monkeypatch, typed):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    network = composed("model=mlp_deep", "seed=4").network
    monkeypatch.setattr(
        "kdbench.settings.earlier_run.network_in", lambda place, setting: replace(network, weights=place)
    )
    monkeypatch.setattr("kdbench.settings.earlier_run.weights_in", lambda place, setting: place / "w")
    monkeypatch.chdir(tmp_path)
    teachers = composed("compress=distill", f"compress.teacher={typed.format(folder='runs/one')}").teachers
    assert teachers[0] == replace(network, weights=folder)
    assert len(teachers) == typed.count(",") + 1
    assert composed("weights=runs/one").network.weights == folder / "w"
    described = "{model:mlp_deep,weights:runs/one,train.epochs:0}"
    assert composed("compress=distill", f"compress.teacher={described}").teachers[0].weights == folder / "w"


def test_a_teacher_that_looks_like_a_folder_and_is_none_is_refused():
    with pytest.raises(BadSetting, match=r"compress\.teacher=.*nowhere/run is not the folder of a run"):
        composed("compress=distill", "compress.teacher=nowhere/run")


def test_another_data_set_can_be_what_a_student_learns_from(tmp_path):
    [step] = composed("compress=distill", "compress.transfer=mnist_5k").network.steps
    assert (step.transfer.name, "transfer" in step.method) == ("mnist_5k", False)
    described = f"{{data:mnist,root:'{tmp_path}'}}"
    [step] = composed("compress=distill", f"compress.transfer={described}").network.steps
    assert step.transfer.root == tmp_path


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("cnn_dep", r"compress\.teacher=cnn_dep is unknown: did you mean 'cnn_deep'\?"),
        ("null", r"compress\.teacher=null is unknown"),
        ("[]", "names no teacher"),
        ("[cnn_deep,cnn_dep]", "did you mean 'cnn_deep'"),
        ("{seed:1}", "type compress.teacher="),
        ("{model:cnn_deep,epochs:3}", r"epochs is not a setting of a teacher"),
        (
            "{model:cnn_deep,train.epoch:3}",
            r"train\.epoch is not a setting of a teacher: did you mean 'train\.epochs'",
        ),
        ("{model:cnn_deep,train.epochs:many}", r"train\.epochs=many has the wrong type"),
        ("{model:cnn_deep,compress:distil}", "did you mean 'distill'"),
        ("{model:cnn_deep,outputs:x}", "outputs is not a setting of a teacher"),
        ("{model:cnn_deep,train.epochs:0}", r"teacher_train\.epochs=0 leaves cnn_deep untrained"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused_in_one_line(typed, message):
    with pytest.raises(BadSetting, match=message) as caught:
        composed("compress=distill", f"compress.teacher={typed}")
    assert "\n" not in str(caught.value)


def test_a_compression_without_a_teacher_takes_none():
    with pytest.raises(BadSetting, match=r"compress=prune has no teacher"):
        composed("compress=prune", "+compress.teacher=cnn_deep")


def test_a_step_finds_the_knobs_of_its_list_and_no_others():
    config = composed("model=mlp_simple", "compress=distill_quantize", "compress.temperature=5")
    assert config.network.steps[0].method["temperature"] == 5
    for name in ("distill_quantize", "baseline"):
        with pytest.raises(BadSetting, match=r"compress\.sparsity is not a setting"):
            composed(f"compress={name}", "+compress.sparsity=0.5")


def test_the_yaml_files_are_found_in_the_repository_and_in_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "src" / "kdbench"
    package.mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(choices, "__file__", str(package / "settings" / "choices.py"))
    assert config_dir() == tmp_path / "conf"
    (package / "conf").mkdir()
    assert config_dir() == package / "conf"
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"conf" = "kdbench/conf"' in pyproject


def test_what_is_used_instead_of_data_has_as_many_training_images():
    assert composed("data=mnist", "data.train_images=200").fallback.train_images == 200


def test_being_attacked_makes_no_other_network():
    assert composed("robust_eps=0.1").network_hash == composed().network_hash
