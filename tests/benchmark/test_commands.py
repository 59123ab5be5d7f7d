import pytest

from benchmark import commands


def test_memory_is_that_of_the_command_and_not_of_who_started_it():
    ballast = bytearray(400_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    ended = commands.command("--version")
    assert 0.005 < ended.peak_gb < 0.2
    assert 0 < ended.seconds < 30


def test_a_command_that_fails_is_an_error_with_its_words():
    with pytest.raises(RuntimeError, match="there is no command 'rnu'"):
        commands.command("rnu")


def test_trainings_are_read_from_the_log_of_a_run(tmp_path):
    log = tmp_path / "run.log"
    log.write_text(
        "now INFO a baseline: trained in 1.0 s, kept as 12ab\nnow INFO b: taken from the store, entry 34cd\n"
    )
    assert commands.trainings(log) == ["12ab"]
