"""A training that is cut off goes on as if nothing had happened, bit for bit."""

import copy
import dataclasses
import random

import pytest
import torch
from tests.conftest import mlp
from torch import nn

from kdbench.compress.distill.soft_targets import Distill
from kdbench.compress.prune.global_magnitude import GlobalMagnitude, prunable
from kdbench.compress.step import NetworkStep
from kdbench.errors import CannotWrite, NotFinite
from kdbench.networks import Trainer
from kdbench.storage import durable
from kdbench.storage.checksums import seal
from kdbench.storage.store import Store
from kdbench.training import checkpoint as checkpoints
from kdbench.training import together as meeting
from kdbench.training.checkpoint import Account, Checkpoint, Saved, decode, encode
from kdbench.training.fit import Learner, fit, fit_all


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


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def lines(history):
    """A history without its seconds."""
    return [dataclasses.replace(epoch, seconds=0.0) for epoch in history]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("cuts", [[1], [4], [5], [6], [2, 1, 1, 5], [9]])
def test_a_fit_goes_on_bit_for_bit_wherever_it_was_cut_off(few, recipe, machine, tmp_path, cut, cuts, shift):
    settings = dataclasses.replace(recipe, shift=shift)  # two epochs of five steps
    whole = network(dropout=0.5)
    expected = fit(whole, few.train, few.val, settings, machine, 3)
    for steps in cuts:
        cut(steps)
        with pytest.raises(CutOff):
            fit(network(0.5), few.train, few.val, settings, machine, 3, checkpoint=Checkpoint(tmp_path / "a", 0))
        torch.manual_seed(random.getrandbits(30))  # another process has another state
    cut(None)
    resumed = network(0.5)
    checkpoint = Checkpoint(tmp_path / "a", 0)
    assert checkpoint.fits[0].record["step"] == sum(cuts)
    history = fit(resumed, few.train, few.val, settings, machine, 3, checkpoint=checkpoint)
    assert same(whole, resumed)
    assert lines(history) == lines(expected)


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
    assert list(map(lines, histories)) == list(map(lines, expected))


def test_of_jobs_that_meet_only_those_at_one_step_go_on_together(few, recipe, machine, tmp_path, cut, monkeypatch):
    """A kill can come between the checkpoints of two networks: both go on from their own, and lose nothing."""
    whole = [network(seed=seed) for seed in range(4)]
    for seed, model in enumerate(whole):
        fit(model, few.train, few.val, recipe, machine, seed)
    for seed, steps in [(0, 3), (1, 3), (2, 4)]:
        cut(steps)
        checkpoint = Checkpoint(tmp_path / str(seed), 0)
        with pytest.raises(CutOff):
            fit(network(seed=seed), few.train, few.val, recipe, machine, seed, checkpoint=checkpoint)
    cut(7 + 6 + 10)  # what is left for two, for one, for one that had not begun; not a step more
    sizes = []
    fit_together = meeting.fit_all
    monkeypatch.setattr(
        meeting, "fit_all", lambda learners, *rest: sizes.append(len(learners)) or fit_together(learners, *rest)
    )
    resumed = [network(seed=seed) for seed in range(4)]

    def job(seed):
        kept = Checkpoint(tmp_path / str(seed), 0)
        return lambda seat: seat.fit(resumed[seed], few.train, few.val, recipe, machine, seed, checkpoint=kept)

    assert meeting.meet([job(seed) for seed in range(4)]) == [None] * 4
    assert sizes == [2, 1, 1]
    for one, other in zip(whole, resumed, strict=True):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@dataclasses.dataclass(frozen=True)
class Twice(NetworkStep):
    """A method that fits twice, prunes in between, and uses torch's own random numbers."""

    def __call__(self, model, task):
        made = copy.deepcopy(model)
        for turn in range(2):
            with torch.no_grad():
                for weight in prunable(made):
                    weight += 0.01 * torch.randn_like(weight)
            if turn == 0:
                task.fit(made)
        return GlobalMagnitude(0.5, 1, 0.3)(made, task)


PRUNE = {"_target_": "kdbench.compress.prune.global_magnitude.GlobalMagnitude", "sparsity": 0.5, "finetune_epochs": 2}
METHODS = {
    "baseline": None,
    "prune": (GlobalMagnitude(0.5, 2, 0.3), PRUNE | {"finetune_lr_scale": 0.3}),
    "distill": (
        Distill(2.0, 0.5),
        {"_target_": "kdbench.compress.distill.soft_targets.Distill", "temperature": 2.0, "alpha": 0.5},
    ),
    "twice": (Twice(), {"_target_": "tests.training.test_checkpoint.Twice"}),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_on_to_the_same_weights_and_trains_no_step_twice(
    few, machine, tmp_path, cut, monkeypatch, method
):
    def make(store, after=None):
        cut(after)
        trainer = Trainer(few, machine, store)
        config = mlp(shift=1)
        if method == "baseline":
            return trainer.baseline(config)
        start = trainer.initial(config) if method == "distill" else trainer.baseline(config)
        teacher = trainer.baseline(mlp(seed=1, widths=[24])) if method == "distill" else None
        step, node = METHODS[method]
        return trainer.compressed(step, node, start, config, teacher)

    expected = make(Store(tmp_path / "whole"))
    store = Store(tmp_path / "cut", checkpoint_seconds=0)
    steps = {"baseline": 10, "prune": 20, "distill": 20, "twice": 25}[method]
    cuts = [3] * (steps // 3)  # exactly as many steps as an uncut one takes, and not one more
    for number in cuts:
        with pytest.raises(CutOff):
            make(store, number)
    found = make(store, steps - sum(cuts))
    assert same(found.network, expected.network)
    assert lines(found.history) == lines(expected.history)
    assert not list((store.folder / "checkpoints").iterdir())  # forgotten, once the training is in the store


def test_the_seconds_of_what_was_cut_off_are_counted(few, machine, tmp_path, cut):
    store = Store(tmp_path / "store", checkpoint_seconds=0)
    trainer = Trainer(few, machine, store)
    now = [0.0]
    trainer.clock = lambda: now.__setitem__(0, now[0] + 100.0) or now[0]
    cut(3)
    with pytest.raises(CutOff):
        trainer.baseline(mlp())
    cut(None)
    assert trainer.baseline(mlp()).seconds >= 300


def test_a_divergence_is_not_kept_and_comes_again(few, machine, tmp_path, cut):
    trainer = Trainer(few, machine, Store(tmp_path / "store", checkpoint_seconds=0))
    told = []
    for _ in range(2):
        with pytest.raises(NotFinite) as error:
            trainer.baseline(mlp(lr=1e30))
        told.append(str(error.value))
        assert not list((tmp_path / "store" / "checkpoints").iterdir())
    assert told[0] == told[1]


SAVED = Saved({"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}, {"step": 3, "lr": 0.1})


def test_what_is_encoded_is_decoded():
    account, fits = decode(encode(Account(1.5, 0.25, 2), [SAVED, SAVED]))
    assert account == Account(1.5, 0.25, 2)
    for saved in fits:
        assert saved.record == SAVED.record
        assert all(torch.equal(saved.tensors[name], SAVED.tensors[name]) for name in SAVED.tensors)


@pytest.mark.parametrize(
    "damage", [lambda c: b"", lambda c: c[:-1], lambda c: c[:70] + b"x" + c[71:], lambda c: seal("key", b"")]
)
def test_a_damaged_checkpoint_is_set_aside_and_the_training_begins_anew(tmp_path, damage, caplog):
    path = tmp_path / "key"
    kept = Checkpoint(path, 0)
    kept.begin()
    kept.save(SAVED)
    assert len(Checkpoint(path, 0).fits) == 1
    path.write_bytes(damage(path.read_bytes()))
    assert Checkpoint(path, 0).fits == []
    assert "key is damaged" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["key.damaged-1"]


def test_checkpoints_are_written_by_time_and_cost_a_hundredth_of_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(durable, "write", lambda *_: now.__setitem__(0, now[0] + 2.0))  # a slow disk
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
