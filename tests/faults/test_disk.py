"""Disks that are full, read-only, broken or taken away."""

import errno
import os
import shutil
import subprocess

import pytest
from tests.faults.harness import COMMAND, contents, drafts
from tests.faults.processes import Fork
from tests.faults.shim import failing

from kdbench.artifact.export import export
from kdbench.cli.main import main
from kdbench.results.collect import collect

SETTINGS = ["data=mnist_5k", "model=mlp_simple", "model.widths=[8]", "train.epochs=1", "threads=1"]
RUN = ["run", *SETTINGS, "compress=quantize"]
VARIANTS = "compress=baseline,quantize"
SWEEP = ["run", "-m", *SETTINGS, VARIANTS]


_files = {}


def exported_once(network, shape):
    """Export, or return what the exporter made of the same weights before: it takes seconds."""
    key = tuple(tensor.numpy().tobytes() for tensor in network.state_dict().values())
    if key not in _files:
        _files[key] = export(network, shape)
    return _files[key]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr("kdbench.artifact.ship.export", exported_once)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outputs of a command that no disk failed, which are copied and not changed."""
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    assert main([*SWEEP, f"outputs={outputs}"]) == 0
    return outputs


@pytest.fixture
def expected(whole):
    return contents(whole)


@pytest.mark.parametrize("after", [0, 7])
@pytest.mark.parametrize(
    ("call", "number", "message"),
    [
        ("write", errno.ENOSPC, "is full: free some space, or write elsewhere (outputs=FOLDER)"),
        ("fsync", errno.EIO, "could not be written (Input/output error)"),
        ("rename", errno.EACCES, "may not be written: change its permissions"),
        ("mkdir", errno.EROFS, "lies on a read-only file system"),
    ],
)
def test_a_failing_disk_is_one_clear_line_and_the_same_command_goes_on(
    tmp_path, capsys, expected, call, number, message, after
):
    outputs = tmp_path / "outputs"
    with failing(call, number, outputs, after) as failed:
        status = main(RUN)
    err = capsys.readouterr().err
    if not failed:
        assert status == 0
        pytest.skip(f"there are no {after} calls of {call}")
    assert status == 1
    assert message in err
    assert "what was done before is kept" in err
    assert "Traceback" not in err
    assert contents(outputs) == {}
    assert main(RUN) == 0
    [(name, made)] = contents(outputs).items()
    assert made == expected[name]
    assert drafts(outputs) == []


@pytest.mark.parametrize(("call", "typed"), [("write", "again=true data.cache=/elsewhere"), ("fsync", "again=true")])
def test_a_run_made_once_more_on_a_failing_disk_keeps_its_row(tmp_path, whole, call, typed):
    outputs = tmp_path / "outputs"
    shutil.copytree(whole, outputs)
    before = contents(outputs)
    for after in range(12):
        with failing(call, errno.ENOSPC, outputs, after) as failed:
            status = main([*RUN, *typed.split()])
        assert contents(outputs) == before, after
        assert drafts(outputs) == []
        if not failed:
            assert status == 0
            break
    assert after > 1  # something failed before, and more than the record of the command


def test_a_full_disk_stops_a_sweep_keeps_what_is_finished_and_says_what_to_type(tmp_path, capsys, whole, expected):
    outputs = tmp_path / "outputs"
    shutil.copytree(whole / "store", outputs / "store")  # so that few writes come before the second run
    with failing("write", errno.ENOSPC, outputs, 20):
        assert main(SWEEP) == 1
    err = capsys.readouterr().err
    assert err.count("is full") == 2  # when it happened, and in the list at the end
    assert "to go on, type the same command again:\n  kdbench run -m data=mnist_5k" in err
    [(name, kept)] = contents(outputs).items()
    assert "baseline" in name
    assert kept == expected[name]
    assert main(SWEEP) == 0
    assert contents(outputs) == expected


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 600 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "kdbench-test", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full(small_disk, tmp_path, expected):
    outputs = small_disk / "outputs"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(520_000))
    command = [*SWEEP, f"outputs={outputs}"]
    process = Fork(outputs, *command)
    assert process.wait() == 1
    assert "is full: free some space" in process.err
    assert "Traceback" not in process.err
    kept = contents(outputs)
    assert all(expected[name] == kept[name] for name in kept)
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    process = Fork(outputs, *command)
    assert process.wait() == 0, process.err
    assert contents(outputs) == expected


def test_outputs_that_may_only_be_read(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    process = Fork(small_disk / "outputs", *RUN, f"outputs={small_disk}/outputs")
    assert process.wait() == 1
    assert "read-only file system: write elsewhere (outputs=FOLDER)" in process.err
    assert "Traceback" not in process.err
    assert len(process.err.strip().splitlines()) <= 8, process.err


def test_results_on_a_disk_that_may_only_be_read_can_be_looked_at(small_disk, whole):
    outputs = small_disk / "outputs"
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    shutil.copytree(whole, outputs)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for command in ("table", "status"):
        assert main([command, str(outputs)]) == 0
    for folder in outputs.glob("runs/*/*"):
        assert main(["verify", str(folder)]) == 0


def test_a_folder_that_is_deleted_under_it(tmp_path):
    outputs = tmp_path / "outputs"
    process = Fork(outputs, *COMMAND, f"outputs={outputs}")
    process.wait_until(lambda: list(outputs.glob("runs/*/*")))
    shutil.rmtree(outputs, ignore_errors=True)
    assert process.wait() == 1
    assert "is gone: it was deleted or moved while kdbench was writing to it" in process.err
    assert "Traceback" not in process.err
    assert not collect_or_nothing(outputs)
    assert os.path.isdir(tmp_path)  # noqa: PTH112


def collect_or_nothing(outputs):
    return collect(outputs)[0] if list(outputs.rglob("metrics.csv")) else []
