import threading

import optuna
import pytest

from kdbench.errors import BadSetting, CannotWrite, DamagedFile, DataUnavailable, LockLost
from kdbench.search.plan import Plan, TooLarge
from kdbench.search.space import Knob, Space
from kdbench.search.study import Search
from kdbench.storage import locks

SPACE = Space([Knob("compress.alpha", (), 0, 1)])


def plan(**changes):
    made = {
        "name": "tiny",
        "about": "",
        "settings": {},
        "space": SPACE,
        "objectives": {"val_accuracy": "maximise"},
        "sampler": "tpe",
        "trials": 4,
        "seeds": 0,
        "limits": {},
        "retrain": 1,
        "against": {},
    }
    return Plan(**(made | changes))


def search(folder, sampler="tpe", **changes):
    return Search(plan(**changes), sampler, folder, [], 9)


def as_it_is(drawn):
    return drawn


def peak(settings, report):
    return {"val_accuracy": 1 - (settings["compress.alpha"] - 0.7) ** 2, "size_bytes": settings["compress.alpha"]}


def test_the_best_is_the_best_of_all_that_ended(tmp_path):
    one = search(tmp_path)
    tried = list(one.run(12, as_it_is, peak))
    assert [trial.number for trial in tried] == list(range(12))
    assert one.best(12) == [max(tried, key=lambda trial: trial.found["val_accuracy"])]
    assert list(search(tmp_path).run(12, as_it_is, peak)) == []  # all are done
    assert len(list(search(tmp_path).run(14, as_it_is, peak))) == 2


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_processes_that_begin_together_try_different_settings(tmp_path, sampler):
    one, other = search(tmp_path, sampler), search(tmp_path, sampler)
    turns = zip(one.run(8, as_it_is, peak), other.run(8, as_it_is, peak), strict=True)
    settings = [tried.settings["compress.alpha"] for turn in turns for tried in turn]
    assert len(set(settings)) == len(settings) == 8


def test_tpe_finds_more_than_chance(tmp_path):
    def short(name):
        one = search(tmp_path, name)
        return sum(1 - trial.found["val_accuracy"] for trial in one.run(40, as_it_is, peak))

    assert short("tpe") < short("random")


def test_of_two_objectives_the_best_are_the_front(tmp_path):
    one = search(tmp_path, "nsga2", objectives={"val_accuracy": "maximise", "size_bytes": "minimise"})
    tried = list(one.run(20, as_it_is, peak))
    front = one.best(20, 20)
    accuracies = [trial.found["val_accuracy"] for trial in front]
    sizes = [trial.found["size_bytes"] for trial in front]
    assert accuracies == sorted(accuracies, reverse=True)
    assert sizes == sorted(sizes, reverse=True)
    for trial in tried:
        assert trial.number in {one.number for one in front} or any(
            better.found["val_accuracy"] >= trial.found["val_accuracy"]
            and better.found["size_bytes"] <= trial.found["size_bytes"]
            for better in front
        )


def test_what_fails_is_told_and_counts(tmp_path):
    def measure(settings, report):
        raise BadSetting("this cannot be")

    (tried,) = search(tmp_path).run(1, as_it_is, measure)
    assert (tried.why, tried.found, search(tmp_path).best(1)) == ("this cannot be", {}, [])
    assert list(tried.settings) == ["compress.alpha"]


def test_what_is_beyond_a_limit_counts(tmp_path):
    def measure(settings, report):
        raise TooLarge("size_bytes is 9, and 8 at most")

    (tried,) = search(tmp_path).run(1, as_it_is, measure)
    assert tried.why == "size_bytes is 9, and 8 at most"


def test_nothing_goes_on_where_nothing_can_be_written(tmp_path):
    def measure(settings, report):
        raise CannotWrite("the disk is full")

    with pytest.raises(CannotWrite):
        list(search(tmp_path).run(3, as_it_is, measure))


@pytest.mark.parametrize(
    ("accuracies", "why"),
    [
        ([0.9] * 9, ""),
        ([0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9], ""),  # asked once, so that who begins slowly may catch up
        ([0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], "given up after epoch 3 at 10.00%"),
    ],
)
def test_a_trial_below_three_quarters_of_the_others_after_a_third_of_its_epochs_is_given_up(
    accuracies, why, tmp_path
):
    def measure(settings, report):
        own = [0.9] * 9 if len(search(tmp_path).ended) < 6 else accuracies
        for epoch, accuracy in enumerate(own, start=1):
            report(epoch, accuracy if accuracy == 0.1 else accuracy + 0.001 * epoch)
        return {"val_accuracy": own[-1]}

    tried = list(search(tmp_path).run(7, as_it_is, measure))
    assert [trial.why for trial in tried] == [""] * 6 + [why]


def test_a_killed_trial_is_begun_again_with_its_settings(tmp_path):
    class Killed(BaseException):
        pass

    asked = []

    def cut_off(settings, report):
        asked.append(settings)
        if len(asked) == 2:
            raise Killed
        return peak(settings, report)

    with pytest.raises(Killed):
        list(search(tmp_path).run(4, as_it_is, cut_off))
    one = search(tmp_path)
    assert (len(one.ended), len(one.running)) == (1, 1)
    tried = list(one.run(4, as_it_is, cut_off))
    assert asked[2] == asked[1]
    assert len(tried) == 3
    assert (len(one.ended), len(one.running)) == (4, 0)


def test_processes_share_the_trials(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def slow(settings, report):
        begun.set()
        assert go_on.wait(30)
        return peak(settings, report)

    first: list = []
    thread = threading.Thread(target=lambda: first.extend(search(tmp_path).run(2, as_it_is, slow)))
    thread.start()
    assert begun.wait(30)
    other = search(tmp_path)
    running = other.running[0].number
    assert locks.taken(other.lock(running))  # so nobody takes it for killed
    second = other.run(2, as_it_is, peak)
    assert next(second).number != running
    go_on.set()
    assert list(second) == []  # after it waited for the other
    thread.join()
    assert [trial.number for trial in first] == [running]
    assert len(other.ended) == 2


def test_other_settings_are_another_search(tmp_path):
    assert search(tmp_path).name != Search(plan(), "tpe", tmp_path, ["model=cnn_simple"], 9).name
    assert search(tmp_path).name != search(tmp_path, limits={"size_bytes": 3}).name


def test_the_journal_can_be_opened_by_optuna(tmp_path):
    list(search(tmp_path).run(2, as_it_is, peak))
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log"))
    (name,) = optuna.get_all_study_names(optuna.storages.JournalStorage(backend))
    assert name == search(tmp_path).study.study_name


def test_the_best_are_of_the_budget_and_as_many_as_are_wanted(tmp_path):
    one = search(tmp_path)
    tried = list(one.run(9, as_it_is, peak))
    for budget in (4, 9):
        ordered = sorted(tried[:budget], key=lambda trial: -trial.found["val_accuracy"])
        assert one.best(budget, 3) == ordered[:3]


def test_of_a_front_both_ends_are_taken(tmp_path):
    one = search(tmp_path, "nsga2", objectives={"val_accuracy": "maximise", "size_bytes": "minimise"})
    list(one.run(20, as_it_is, peak))
    whole = one.best(20, 100)
    assert [one.best(20, 2)[0], one.best(20, 2)[-1]] == [whole[0], whole[-1]]


def test_what_may_pass_ends_the_search_and_counts_for_nothing(tmp_path):
    def measure(settings, report):
        raise DataUnavailable("the network is down")

    with pytest.raises(DataUnavailable):
        list(search(tmp_path).run(2, as_it_is, measure))
    assert len(list(search(tmp_path).run(2, as_it_is, peak))) == 2


def test_a_trial_that_another_process_has_begun_again_is_left_to_it(tmp_path):
    def measure(settings, report):
        [lost] = search(tmp_path).running
        other = search(tmp_path)
        other.is_at_work = lambda number: False
        other.revive()
        raise LockLost(f"trial {lost.number}: this process stood still")

    with pytest.raises(LockLost, match="trial 0"):
        list(search(tmp_path).run(1, as_it_is, measure))
    assert search(tmp_path).ended == []
    assert len(list(search(tmp_path).run(1, as_it_is, peak))) == 1


def test_a_defect_is_not_tried_again(tmp_path):
    asked = []

    def measure(settings, report):
        asked.append(settings)
        if len(asked) == 1:
            raise RuntimeError("what nobody thought of")
        return peak(settings, report)

    with pytest.raises(RuntimeError):
        list(search(tmp_path).run(2, as_it_is, measure))
    list(search(tmp_path).run(2, as_it_is, measure))
    assert len(asked) == 2
    assert asked[0] != asked[1]
    assert "what nobody thought of" in search(tmp_path).ended[0].why


def test_a_trial_that_was_killed_at_its_very_end_is_not_done_again(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    one = search(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(one.study, "tell", killed)
        with pytest.raises(Killed):
            list(one.run(2, as_it_is, peak))
    again = search(tmp_path)
    assert len(list(again.run(2, as_it_is, peak))) == 1
    assert len(again.ended) == 2
    assert all(trial.found for trial in again.ended)


def test_an_unfinished_line_of_the_journal_is_dropped(tmp_path):
    list(search(tmp_path).run(3, as_it_is, peak))
    journal = tmp_path / "journal.log"
    journal.write_bytes(journal.read_bytes()[:-7])
    one = search(tmp_path)
    list(one.run(3, as_it_is, peak))
    assert len(one.ended) == 3
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    with pytest.raises(DamagedFile, match="move it away"):
        search(tmp_path)
