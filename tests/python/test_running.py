"""A run in a process that is not kdbench's own."""

import importlib
import logging
import sys
import threading
import time

import pytest
import torch

from kdbench import experiment
from kdbench.errors import BadSetting, NotFinite
from kdbench.python.running import as_before, forget, run
from kdbench.settings import bars, own_folder, targets
from kdbench.settings.code import code_of
from kdbench.settings.own_folder import forget_modules
from kdbench.storage.store import Store


@pytest.fixture
def log():
    return logging.getLogger("kdbench.anything")


def test_nothing_is_printed_and_what_was_asked_for_is_there(make_config, capfd):
    result = run(make_config())
    again = run(make_config())
    assert (again.row, again.was_done, result.was_done) == (result.row, True, False)
    assert again.artifact.path == result.folder / "model.onnx"
    assert capfd.readouterr() == ("", "")


def test_edited_code_of_ones_own_is_run_and_identified_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(own_folder, "_folder", None)
    monkeypatch.setattr(own_folder, "forget_modules", forget_modules)
    file = tmp_path / "my_edited_net.py"
    (tmp_path / "my_edited_helper.py").write_text("WIDTH = 4\n")
    file.write_text("from my_edited_helper import WIDTH\n\n\ndef width():\n    return WIDTH\n")
    own_folder.serve(tmp_path)

    def seen():
        forget()
        return targets.locate("my_edited_net.width")(), code_of(["my_edited_net"])

    first, code = seen()
    assert (first, seen()) == (4, (4, code))
    (tmp_path / "my_edited_helper.py").write_text("WIDTH = 256\n")
    again, other = seen()
    assert again == 256
    assert other != code
    assert {"torch", "tests.conftest"} <= set(sys.modules)  # which lie elsewhere


def test_edited_code_that_this_process_goes_on_with_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "my_living_helper.py"
    file.write_text("WIDTH = 4\n")
    before = code_of(["my_living_helper"])
    importlib.import_module("my_living_helper")
    file.write_text("WIDTH = 4  # no other code\n")
    forget()
    assert code_of(["my_living_helper"]) == before
    file.write_text("WIDTH = 5\n")
    forget()
    with pytest.raises(BadSetting, match=r"my_living_helper\.py was edited since this process read it: start"):
        code_of(["my_living_helper"])
    del sys.modules["my_living_helper"]
    forget()
    assert code_of(["my_living_helper"]) != before


def test_a_module_of_another_folder_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(own_folder, "_folder", None)
    monkeypatch.setattr(own_folder, "forget_modules", forget_modules)
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "my_same_name.py").write_text(f"def number():\n    return {number}\n")
    for number in (1, 2):
        forget()
        own_folder.serve(tmp_path / str(number))
        assert targets.locate("my_same_name.number")() == number


def test_what_was_made_again_is_made_again_by_the_next_call_too(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a": torch.zeros(1)}, {}

    for _ in range(2):
        forget()
        remaking = Store(tmp_path, remake=True)
        remaking.memo("key", "it", {}, make)
        remaking.memo("key", "it", {}, make)
    assert len(made) == 2


def test_asked_for_there_are_bars_and_a_line_for_each_run(make_config, capfd, monkeypatch):
    real, hidden = experiment.run, []
    monkeypatch.setattr(experiment, "run", lambda *given: hidden.append(bars.hidden()) or real(*given))
    run(make_config(), progress=True)
    run(make_config(), progress=True)
    run(make_config())
    assert hidden == [False, False, True]
    first, second = capfd.readouterr().out.splitlines()
    assert first.startswith("some  mlp_tiny  baseline  seed 0")
    assert "was done already" not in first
    assert "was done already" in second


def test_random_numbers_threads_and_logging_are_as_they_were(log):
    own = logging.getLogger("kdbench")
    before = (own.level, own.propagate, list(own.handlers), torch.get_num_threads(), torch.get_rng_state().tolist())

    def diverge():
        with as_before(progress=False):
            torch.manual_seed(7)
            torch.set_num_threads(before[3] + 1)
            own.setLevel(logging.DEBUG)
            raise NotFinite("it diverged")

    with pytest.raises(NotFinite):
        diverge()
    after = (own.level, own.propagate, list(own.handlers), torch.get_num_threads(), torch.get_rng_state().tolist())
    assert after == before
    assert bars._wanted.get() is None


def test_messages_reach_those_who_listen_at_the_level_that_they_asked_for(log, caplog, capfd):
    with as_before(progress=False):
        logging.getLogger("kdbench").setLevel(logging.DEBUG)  # as a run does, for run.log
        log.warning("a warning")
        log.info("a detail")
    assert caplog.messages == ["a warning"]
    caplog.clear()
    with caplog.at_level(logging.INFO, "kdbench"), as_before(progress=False):
        logging.getLogger("kdbench").setLevel(logging.DEBUG)
        log.info("a detail")
        log.debug("a trifle")
    assert caplog.messages == ["a detail"]


def test_messages_that_nobody_listens_to_are_not_printed_unless_progress_is_shown(log, monkeypatch, capfd):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with as_before(progress=False):
        log.warning("in silence")
    log.warning("outside of a run, too")
    assert capfd.readouterr() == ("", "")
    with as_before(progress=True):
        log.warning("aloud")
    assert capfd.readouterr().err == "aloud\n"


def test_a_second_thread_waits_for_its_turn(monkeypatch, make_config):
    first_is_in, order = threading.Event(), []

    def slow(config, seeds):
        order.append("begun")
        first_is_in.set()
        time.sleep(0.05)
        order.append("done")
        return experiment.Result(None, config.outputs, config)

    monkeypatch.setattr(experiment, "run", slow)
    config = make_config()
    threads = [threading.Thread(target=run, args=(config,)) for _ in range(2)]
    threads[0].start()
    first_is_in.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert order == ["begun", "done"] * 2
