"""A training that is cut off goes on as if nothing had happened, bit for bit."""

import dataclasses
import itertools
import json
import random
from types import SimpleNamespace

import pytest
import torch
from tests.conftest import mlp
from tests.training.methods import ForgetfulRamp, Hint, Ramp, built, mlp_of, same, timeless
from torch import nn

from kdbench.errors import CannotWrite, DamagedFile, NotFinite
from kdbench.networks.maker import Maker
from kdbench.settings.network import StepSpec
from kdbench.storage import checksums, durable
from kdbench.storage.store import Store
from kdbench.training import checkpoint as checkpoints
from kdbench.training import together
from kdbench.training.checkpoint import Checkpoint, Cost, Saved, decode, encode
from kdbench.training.constraints import KeepZeros
from kdbench.training.criteria import LABELS
from kdbench.training.fit import fit, fit_all
from kdbench.training.learner import Learner
from kdbench.training.spent import Spent


class CutOff(BaseException):
    """What a kill is to a process: nothing runs after it."""


@pytest.fixture
def cut(monkeypatch):
    """Cut a training off after so many steps, counted over all its parts; every step writes a checkpoint."""
    steps = {"left": None}
    step = torch.optim.AdamW.step

    def counted(self, *args):
        if steps["left"] == 0:
            raise CutOff
        if steps["left"] is not None:
            steps["left"] -= 1
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)

    def after(number):
        steps["left"] = number

    return after


def network(dropout=0.0, seed=7):
    torch.manual_seed(seed)
    # No bias before batch norm: its gradient is nothing but rounding, which AdamW makes as large as any other.
    layers = [nn.Conv2d(1, 4, 3, 2, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(676, 10)]
    return nn.Sequential(nn.Dropout(dropout), *layers) if dropout else nn.Sequential(*layers)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("cuts", [[1], [4], [5], [6], [2, 1, 1, 5], [9]])
def test_a_fit_goes_on_bit_for_bit_wherever_it_was_cut_off(few, recipe, machine, tmp_path, cut, cuts, shift):
    settings = dataclasses.replace(recipe, shift=shift)  # two epochs of five steps
    whole = network(dropout=0.5)
    expected = fit(Learner(whole, 3), few.train, few.val, settings, machine)

    def resumed():
        torch.manual_seed(random.getrandbits(30))  # another process has another state
        learner = Learner(network(0.5), 3, checkpoint=Checkpoint(tmp_path / "a", 0))
        return learner, lambda: fit(learner, few.train, few.val, settings, machine)

    for steps in cuts:
        cut(steps)
        with pytest.raises(CutOff):
            resumed()[1]()
    cut(None)
    learner, go = resumed()
    assert learner.step == sum(cuts)
    history = go()
    assert same(whole, learner.model)
    assert timeless(history) == timeless(expected)


@pytest.mark.parametrize("until", [1, 2])
@pytest.mark.parametrize("steps", [3, 5, 7])
def test_one_that_stops_early_goes_on_to_where_it_stops(few, recipe, machine, tmp_path, cut, steps, until):
    settings = dataclasses.replace(recipe, epochs=3)
    whole, resumed = network(), network()
    expected = fit(Learner(whole, 0), few.train, few.val, settings, machine, until)
    steps = min(steps, 5 * until - 1)
    cut(steps)
    first = Learner(network(), 0, checkpoint=Checkpoint(tmp_path / "a", 0))
    with pytest.raises(CutOff):
        fit(first, few.train, few.val, settings, machine, until)
    cut(5 * until - steps)
    learner = Learner(resumed, 0, checkpoint=Checkpoint(tmp_path / "a", 0))
    assert timeless(fit(learner, few.train, few.val, settings, machine, until)) == timeless(expected)
    assert same(whole, resumed)


@pytest.mark.parametrize("steps", [1, 4, 5, 8])
def test_the_modules_of_a_criterion_go_on_with_their_network(few, recipe, machine, tmp_path, cut, steps):
    def learner(path=None):
        torch.manual_seed(5)
        return Learner(mlp_of(), 0, Hint(8), checkpoint=Checkpoint(tmp_path / path, 0) if path else None)

    whole = learner()
    expected = fit(whole, few.train, few.val, recipe, machine)
    cut(steps)
    with pytest.raises(CutOff):
        fit(learner("a"), few.train, few.val, recipe, machine)
    cut(10 - steps)
    resumed = learner("a")
    with torch.no_grad():
        resumed.criterion.modules[0].weight.zero_()  # what it was made with does not matter any more
    assert timeless(fit(resumed, few.train, few.val, recipe, machine)) == timeless(expected)
    assert same(whole.model, resumed.model)
    assert same(whole.criterion.modules, resumed.criterion.modules)


def zeros():
    kept = torch.rand(8, 784, generator=torch.Generator().manual_seed(0)) > 0.3
    return KeepZeros({"1.weight": kept.float()})


@pytest.mark.parametrize("steps", [1, 4, 5, 8])
@pytest.mark.parametrize(("ramp", "alike"), [(Ramp, True), (ForgetfulRamp, False)])
def test_a_constraint_with_a_schedule_goes_on_with_its_state(few, recipe, machine, tmp_path, cut, steps, ramp, alike):
    """And one that forgets its state comes out otherwise, so that this test can fail."""

    def learner(path=None):
        kept = Checkpoint(tmp_path / path, 0) if path else None
        return Learner(mlp_of(), 0, constraints=[zeros(), ramp(0.9)], checkpoint=kept)

    whole = learner()
    fit(whole, few.train, few.val, recipe, machine)
    cut(steps)
    with pytest.raises(CutOff):
        fit(learner("a"), few.train, few.val, recipe, machine)
    cut(10 - steps)
    resumed = learner("a")
    fit(resumed, few.train, few.val, recipe, machine)
    assert same(whole.model, resumed.model) is alike
    if alike:
        masks, others = (one.constraints[1].state() for one in (whole, resumed))
        assert all(torch.equal(masks[name], others[name]) for name in masks)
    for layer in (resumed.model[1], resumed.model[3]):
        assert int((layer.weight == 0).sum()) >= int(0.9 * layer.weight.numel())


def test_networks_trained_together_go_on_together(few, recipe, machine, tmp_path, cut):
    def learners(*paths):
        made = []
        for seed, path in enumerate(paths):
            checkpoint = Checkpoint(tmp_path / path, 0) if path else None
            made.append(Learner(network(seed=seed), seed, checkpoint=checkpoint))
        return made

    whole = learners("", "")
    expected = fit_all(whole, few.train, few.val, recipe, machine)
    cut(7)
    with pytest.raises(CutOff):
        fit_all(learners("a", "b"), few.train, few.val, recipe, machine)
    cut(None)
    resumed = learners("a", "b")
    histories = fit_all(resumed, few.train, few.val, recipe, machine)
    for one, other in zip(whole, resumed, strict=True):
        assert same(one.model, other.model)
    assert list(map(timeless, histories)) == list(map(timeless, expected))


def test_of_jobs_side_by_side_only_those_at_one_step_go_on_together(few, recipe, machine, tmp_path, cut, monkeypatch):
    """A kill can come between the checkpoints of two networks: both go on from their own, and lose nothing."""
    whole = [network(seed=seed) for seed in range(4)]
    for seed, model in enumerate(whole):
        fit(Learner(model, seed), few.train, few.val, recipe, machine)
    for seed, steps in [(0, 3), (1, 3), (2, 4)]:
        cut(steps)
        learner = Learner(network(seed=seed), seed, checkpoint=Checkpoint(tmp_path / str(seed), 0))
        with pytest.raises(CutOff):
            fit(learner, few.train, few.val, recipe, machine)
    cut(7 + 6 + 10)  # what is left for two, for one, for one that had not begun; not a step more
    sizes = []
    real = together.fit_all
    monkeypatch.setattr(
        together, "fit_all", lambda learners, *rest: sizes.append(len(learners)) or real(learners, *rest)
    )
    resumed = [network(seed=seed) for seed in range(4)]

    def job(seed):
        learner = Learner(resumed[seed], seed, checkpoint=Checkpoint(tmp_path / str(seed), 0))
        return lambda lane: lane.fit(learner, few.train, few.val, recipe, machine)

    assert together.train_together([job(seed) for seed in range(4)]) == [None] * 4
    assert sizes == [2, 1, 1]
    for one, other in zip(whole, resumed, strict=True):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


PRUNE = {
    "_target_": "kdbench.compress.prune.global_magnitude.GlobalMagnitude",
    "sparsity": 0.5,
    "finetune_epochs": 2,
    "statistics": 0,
    "finetune_lr_scale": 0.3,
}
DISTILL = {"_target_": "kdbench.compress.distill.soft_targets.Distill", "temperature": 2.0, "alpha": 0.5}
FACTORIZE = {
    "_target_": "kdbench.compress.low_rank.factorize.Factorize",
    "keep": 0.5,
    "finetune_epochs": 1,
    "finetune_lr_scale": 1.0,
    "statistics": 0,
}
OF_KDBENCH = "kdbench.compress"
HINT = {"_target_": f"{OF_KDBENCH}.distill.hints.Hint", "epochs": 1}
CONTRASTIVE = {
    "_target_": f"{OF_KDBENCH}.distill.contrastive.Contrastive",
    **{"weight": 0.8, "temperature": 0.07, "negatives": 32, "numbers": 8},
}
MUTUAL = {"_target_": f"{OF_KDBENCH}.distill.mutual.Mutual", "networks": 2, "weight": 1.0}
MIXUP = {"_target_": f"{OF_KDBENCH}.distill.mixup.Mixup", "temperature": 2.0, "alpha": 0.5, "mix": 1.0}
DATA_FREE = {
    "_target_": f"{OF_KDBENCH}.distill.data_free.DataFree",
    **{
        "temperature": 4.0,
        "images": 320,
        "turns": 3,
        "kept": 64,
        "shift": 1,
        "noise": 8,
        "width": 4,
        "certainty": 1.0,
        "balance": 5.0,
    },
    **{"disagreement": 1.0, "generator_lr_scale": 0.5},
}
ATTACKED = {
    "_target_": f"{OF_KDBENCH}.adversarial.pgd_training.PGDTraining",
    **{"eps": 0.02, "attack_step": 0.01, "attack_steps": 2},
}
OWN = "tests.training.methods"
TEACHER = mlp(seed=1, widths=[24], epochs=1)
# Steps to be done, and how many steps of the optimiser they take; five of them are an epoch.
METHODS = {
    "baseline": ((), 10),
    "prune": ((StepSpec(PRUNE),), 10 + 10),
    "distill": ((StepSpec(DISTILL, (TEACHER,)),), 5 + 10),
    "two teachers": ((StepSpec(DISTILL, (TEACHER, mlp(seed=2, epochs=1))),), 5 + 5 + 10),
    "factorize": ((StepSpec(FACTORIZE),), 10 + 5),
    "prune, distill": ((StepSpec(PRUNE | {"finetune_epochs": 0}), StepSpec(DISTILL, (TEACHER,))), 10 + 5 + 10),
    "fits twice": ((StepSpec({"_target_": f"{OWN}.Twice"}),), 10 + 10 + 5),
    "criterion with modules": ((StepSpec({"_target_": f"{OWN}.Hinted"}),), 10 + 5 + 5),
    "hints": ((StepSpec(HINT, (TEACHER,)), StepSpec(DISTILL, (TEACHER,))), 5 + 5 + 10),
    "contrastive": ((StepSpec(CONTRASTIVE, (TEACHER,)),), 5 + 10),
    "mutual": ((StepSpec(MUTUAL),), 10),
    "mixup": ((StepSpec(MIXUP, (TEACHER,)),), 5 + 10),
    "data free": ((StepSpec(DATA_FREE, (TEACHER,)),), 5 + 10),
    "under attack": ((StepSpec(ATTACKED),), 10),
    "constraint with a schedule": ((StepSpec({"_target_": f"{OWN}.Ramped"}),), 10 + 10),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_on_to_the_same_weights_and_trains_no_step_twice(few, machine, tmp_path, cut, method):
    done, steps = METHODS[method]

    def make(store, after=None):
        cut(after)
        return Maker(few, machine, store, checkpoint_seconds=0).make(mlp(0, *done, shift=1))

    expected = make(Store(tmp_path / "whole"))
    store = Store(tmp_path / "cut")
    cuts = [3] * ((steps - 1) // 3)  # exactly as many steps as an uncut one takes, and not one more
    for number in cuts:
        with pytest.raises(CutOff):
            make(store, number)
    found = make(store, steps - sum(cuts))
    assert same(found.network, expected.network)
    assert timeless(found.history) == timeless(expected.history)
    assert not list((store.folder / "checkpoints").iterdir())  # forgotten, once the training is in the store


def test_a_constraint_that_forgets_its_state_is_seen_by_the_test_above(few, machine, tmp_path, cut):
    step = StepSpec({"_target_": f"{OWN}.Ramped", "sparsity": 0.9, "forgetful": True})

    def make(store, after=None):
        cut(after)
        return Maker(few, machine, store, checkpoint_seconds=0).make(mlp(0, step))

    expected = make(Store(tmp_path / "whole"))
    with pytest.raises(CutOff):
        make(Store(tmp_path / "cut"), 10 + 5)
    assert not same(make(Store(tmp_path / "cut")).network, expected.network)


@pytest.mark.parametrize("name", ["resnet", "mnasnet"])
def test_images_of_another_shape_go_on_too(colours, recipe, machine, tmp_path, cut, name):
    train, val, recipe = colours.train[:24], colours.val[:14], dataclasses.replace(recipe, batch_size=8)
    whole, resumed = built(name, colours), built(name, colours)
    expected = fit(Learner(whole, 0), train, val, recipe, machine)  # two epochs of three steps
    cut(4)
    first = Learner(built(name, colours), 0, checkpoint=Checkpoint(tmp_path / "a", 0))
    with pytest.raises(CutOff):
        fit(first, train, val, recipe, machine)
    cut(2)
    learner = Learner(resumed, 0, LABELS, checkpoint=Checkpoint(tmp_path / "a", 0))
    assert timeless(fit(learner, train, val, recipe, machine)) == timeless(expected)
    assert same(whole, resumed)


def test_the_seconds_of_what_was_cut_off_are_counted(few, machine, tmp_path, cut, monkeypatch):
    maker = Maker(few, machine, Store(tmp_path / "store"), checkpoint_seconds=0)
    hundreds = itertools.count(0.0, 100.0)
    clocks = SimpleNamespace(perf_counter=lambda: next(hundreds), process_time=lambda: next(hundreds))
    monkeypatch.setattr("kdbench.training.spent.time", clocks)
    cut(3)
    with pytest.raises(CutOff):
        maker.make(mlp())
    cut(None)
    made = maker.make(mlp())
    assert min(made.whole.seconds, made.whole.cpu_seconds) >= 300


def test_a_training_keeps_the_threads_that_it_began_with_whoever_goes_on_with_it(few, machine, tmp_path, cut):
    def maker(name, threads):
        return Maker(few, dataclasses.replace(machine, threads=threads), Store(tmp_path / name), checkpoint_seconds=0)

    before = torch.get_num_threads()
    try:
        whole = maker("whole", 2).make(mlp())
        cut(3)
        with pytest.raises(CutOff):
            maker("cut", 2).make(mlp())
        cut(None)
        resumed = maker("cut", 1).make(mlp())
    finally:
        torch.set_num_threads(before)
    assert whole.threads == resumed.threads == {2}
    assert same(whole.network, resumed.network)


def test_what_cached_logits_took_once_is_counted_once_though_it_was_cut_off(few, machine, tmp_path, cut):
    """A student that finds its teacher's logits in the store took as long as one that does not."""
    store = Store(tmp_path / "store")

    def make(width, after=None):
        cut(after)
        spec = mlp(0, StepSpec(DISTILL, (TEACHER,)), widths=[width])
        made = Maker(few, machine, store, checkpoint_seconds=0).make(spec)
        return store.get(made.key).record["cached_seconds"]

    assert make(16) == 0
    for _ in range(2):
        with pytest.raises(CutOff):
            make(17, 3)
    views = [json.loads(path.read_text()) for path in store.folder.glob("*/record.json")]
    (seconds,) = [view["seconds"] for view in views if "view" in view["identity"]]
    assert make(17) == seconds > 0


def test_a_divergence_is_not_kept_and_comes_again(few, machine, tmp_path, cut):
    maker = Maker(few, machine, Store(tmp_path / "store"), checkpoint_seconds=0)
    messages = []
    for _ in range(2):
        with pytest.raises(NotFinite) as error:
            maker.make(mlp(lr=1e30))
        messages.append(str(error.value))
        assert not list((tmp_path / "store" / "checkpoints").iterdir())
    assert messages[0] == messages[1]


SAVED = Saved({"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}, {"step": 3, "lr": 0.1})


def test_what_is_encoded_is_decoded():
    given = Cost(Spent(1.5, 2.5), {"one": Spent(0.25, 0.5), "two": Spent(2.0, 4.0)}, 2)
    cost, fits = decode("key", encode("key", given, [SAVED, SAVED]))
    assert cost == given
    assert cost.whole == Spent(3.75, 7.0)
    assert len(fits) == 2
    for saved in fits:
        assert saved.record == SAVED.record
        assert saved.tensors.keys() == SAVED.tensors.keys()
        assert all(torch.equal(saved.tensors[name], SAVED.tensors[name]) for name in SAVED.tensors)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        encode("key", Cost(), [SAVED])[:-1],
        encode("another key", Cost(), [SAVED]),
        encode("key", Cost(), [Saved({}, {})]),
        encode("key", Cost(), [Saved({}, {"step": "many"})]),
    ],
)
def test_anything_else_is_damaged(content):
    with pytest.raises(DamagedFile):
        decode("key", content)


def kept_at(folder):
    kept = Checkpoint(folder, 0)
    kept.begin()
    kept.save(SAVED)
    return kept


def edited(name, change):
    def damage(folder):
        path = next(folder.glob(name))
        path.write_bytes(change(path.read_bytes()))

    return damage


def of_another(folder):
    kept_at(folder.with_name("another"))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.with_name("another").rename(folder)


def a_file(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_bytes(b"a checkpoint")


DAMAGES = {
    "empty": edited("*.safetensors", lambda content: b""),
    "cut short": edited("*.safetensors", lambda content: content[:-1]),
    "one byte": edited("*.safetensors", lambda content: content[:70] + b"x" + content[71:]),
    "tensors are gone": lambda folder: next(folder.glob("*.safetensors")).unlink(),
    "sums are empty": edited(checksums.SUMS, lambda content: b""),
    "sums of two": edited(checksums.SUMS, lambda content: content + content.replace(b"1.", b"2.")),
    "sums of another": edited(checksums.SUMS, lambda content: b"0" * 64 + content[64:]),
    "of another training": of_another,
    "a file": a_file,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_training_begins_anew(tmp_path, damage, caplog):
    folder = tmp_path / "key"
    kept_at(folder)
    assert len(Checkpoint(folder, 0).fits) == 1
    damage(folder)
    assert Checkpoint(folder, 0).fits == []
    assert "key is damaged" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["key.damaged-1"]
    kept_at(folder)
    assert len(Checkpoint(folder, 0).fits) == 1


def test_a_checkpoint_of_other_layers_is_not_used(few, recipe, machine, tmp_path, cut):
    cut(3)
    first = Learner(mlp_of([8]), 0, checkpoint=Checkpoint(tmp_path / "a", 0))
    with pytest.raises(CutOff):
        fit(first, few.train, few.val, recipe, machine)
    cut(None)
    other = Learner(mlp_of([9]), 0, checkpoint=Checkpoint(tmp_path / "a", 0))
    with pytest.raises(DamagedFile, match=r"belongs to another training .*: delete it"):
        fit(other, few.train, few.val, recipe, machine)


def test_a_kill_between_the_two_files_of_a_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    kept = kept_at(tmp_path / "key")
    write = durable.write

    def killed(path, content):
        if path.name == checksums.SUMS:
            raise CutOff
        write(path, content)

    monkeypatch.setattr(durable, "write", killed)
    with pytest.raises(CutOff):
        kept.save(Saved(SAVED.tensors, SAVED.record | {"step": 4}))
    monkeypatch.undo()
    found = Checkpoint(tmp_path / "key", 0)
    assert found.step == 3
    found.begin()
    found.save(Saved(SAVED.tensors, SAVED.record | {"step": 5}))
    assert Checkpoint(tmp_path / "key", 0).step == 5
    assert len(list((tmp_path / "key").iterdir())) == 2  # nothing is left of those before


def test_checkpoints_are_written_by_time_and_cost_a_hundredth_of_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(durable, "write", lambda *_: now.__setitem__(0, now[0] + 1.0))  # a slow disk; two files
    kept = Checkpoint(tmp_path / "key", 30.0)
    kept.begin()
    written = []
    for second in range(2000):
        now[0] = max(now[0], float(second))
        if kept.due():
            written.append(second)
            kept.save(SAVED)
    assert written[0] == 30
    assert len(written) * 2.0 <= 0.01 * 2000 + 2.0


def test_a_full_disk_is_reported_and_the_training_goes_on(tmp_path, monkeypatch, caplog):
    def full(path, content):
        raise CannotWrite("the disk is full")

    monkeypatch.setattr(durable, "write", full)
    kept = Checkpoint(tmp_path / "key", 0.0)
    kept.begin()
    kept.save(SAVED)
    assert "no checkpoint could be written: the disk is full" in caplog.text
