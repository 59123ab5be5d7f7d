"""Whole commands with `outputs=URL`: the same rows, on every machine, whatever the network does."""

import contextlib
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import QUANTIZE
from tests.object_store.conftest import answering, in_memory
from tests.test_experiment import TIMINGS

from kdbench import experiment
from kdbench.cli.main import main
from kdbench.errors import CannotReach, OutOfMemory
from kdbench.networks.maker import Maker
from kdbench.results import taken
from kdbench.results.row import FILE, read
from kdbench.results.run_folder import FILES, read_whole
from kdbench.settings.earlier_run import WEIGHTS
from kdbench.settings.typed import config_of
from kdbench.storage import checksums, mirror
from kdbench.storage.remote import Remote

COMMAND = [
    *("run", "-m", "data=mnist_5k", "model=mlp_simple", "model.widths=[8]", "compress=baseline,quantize"),
    *("threads=1", "train.epochs=1", "train.batch_size=100", "data.train_images=500"),
]


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Return a function that goes to a machine, which has a cache of its own."""
    monkeypatch.setattr(mirror, "_mirrors", {})

    def at(name: str):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        mirror.forget()
        return tmp_path / name / "kdbench"

    at("one")
    return at


@contextlib.contextmanager
def no_network_is_made():
    def make(*_):
        pytest.fail("made again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Maker, "make", make)
        yield


def rows(cache):
    return {path.parent.name: read(path) for path in cache.rglob(FILE)}


def test_a_url_is_the_same_on_the_command_line_and_in_python(machine, tmp_path, monkeypatch, capsys):
    found = []

    def run(config, *_):
        found.append(config)
        raise OutOfMemory("understood")

    monkeypatch.setattr(experiment, "run", run)
    for typed in ("outputs=s3://bucket/study", "outputs='s3://bucket/study/'"):
        assert main(["run", "model=mlp_simple", typed]) == 1
    local = tmp_path / "one" / "kdbench" / "s3" / "bucket" / "study"
    assert main(["run", "model=mlp_simple", "remote=s3://bucket/study", f"outputs={local}"]) == 1
    found.append(config_of({"model": "mlp_simple", "outputs": "s3://bucket/study"}))
    assert len(found) == 4
    assert all(one == found[0] for one in found)
    assert (found[0].remote, found[0].outputs) == ("s3://bucket/study", local)
    plain = config_of({"model": "mlp_simple"})
    assert (plain.hash, plain.variant, plain.network_hash) == (
        found[0].hash,
        found[0].variant,
        found[0].network_hash,
    )
    assert plain.remote is None


def test_rows_and_files_are_the_same_bits_with_and_without_a_store(make_config, tmp_path):
    plain = experiment.run(make_config("quantize", QUANTIZE))
    shutil.copytree(tmp_path / "outputs", tmp_path / "plain")
    shutil.rmtree(plain.folder)
    kept = experiment.run(make_config("quantize", QUANTIZE, remote=in_memory()))
    before = tmp_path / "plain" / plain.folder.relative_to(tmp_path / "outputs")
    assert kept.folder == plain.folder
    for name in set(FILES) - {FILE, WEIGHTS}:
        assert (before / name).read_bytes() == (kept.folder / name).read_bytes()
    ours, theirs = load_file(before / WEIGHTS), load_file(kept.folder / WEIGHTS)  # its header has no order
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for name in type(plain.row).__annotations__.keys() - TIMINGS:
        assert getattr(plain.row, name) == getattr(kept.row, name), name


def test_a_run_done_elsewhere_is_taken_and_not_made(make_config, tmp_path):
    url = in_memory()
    first = experiment.run(make_config(remote=url, outputs=tmp_path / "one"))
    mirror.forget()
    with no_network_is_made():
        other = experiment.run(make_config(remote=url, outputs=tmp_path / "other"))
    assert other.was_done
    assert other.row == first.row
    for name in (*FILES, "SHA256SUMS"):
        assert (other.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_a_damaged_run_there_is_made_anew_and_replaced(make_config, tmp_path, caplog):
    url = in_memory()
    first = experiment.run(make_config(remote=url, outputs=tmp_path / "one"))
    place = first.folder.relative_to(tmp_path / "one").as_posix()
    store = Remote(url, tmp_path)
    store.files.pipe_file(f"{store.root}/{place}/model.onnx", b"damaged")
    mirror.forget()
    assert not experiment.run(make_config(remote=url, outputs=tmp_path / "other")).was_done
    assert f"{place} is damaged (model.onnx is missing, or not what SHA256SUMS says)" in caplog.text
    assert store.fetch(place, FILES) is not None


def test_a_run_that_is_done_is_pushed_where_the_store_lacks_it(make_config, tmp_path):
    url = in_memory()
    experiment.run(make_config())
    assert experiment.run(make_config(remote=url)).was_done
    assert len(Remote(url, tmp_path).places("runs")) == 1


def test_a_study_on_s3_goes_on_at_another_machine_and_is_read_at_a_third(s3, machine, capsys):
    url, _ = s3
    assert main([*COMMAND, f"outputs={url}"]) == 0
    first = rows(machine("one"))
    machine("two")
    with no_network_is_made():
        assert main([*COMMAND, f"outputs={url}"]) == 0
    assert rows(machine("two")) == first
    capsys.readouterr()
    cache = machine("three")
    assert main(["table", url, "--csv"]) == 0
    out, err = capsys.readouterr()
    assert err == f"2 of 2 runs were taken from {url}, and lie in {taken.outputs_url.local(url)}\n"
    assert len(out.splitlines()) == 3
    assert rows(cache) == first
    assert main(["best", url]) == 0
    assert capsys.readouterr().err == ""  # all are here
    [name, _] = sorted(first)
    machine("four")
    assert main(["verify", f"{url}/runs/mnist_5k/{name}"]) == 0
    assert rows(machine("four")).keys() == {name}


def test_a_server_that_goes_away_costs_no_run_and_the_same_command_pushes_them(s3, machine, capsys):
    url, server = s3
    real = Remote.push

    def push(self, place, *rest):
        real(self, place, *rest)
        if place.startswith("runs/"):
            server.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Remote, "push", push)
        assert main([*COMMAND, f"outputs={url}"]) == 1
    out, err = capsys.readouterr()
    cache = machine("one")
    assert len(rows(cache)) == 2
    assert out.count("errors of 1000") == 2
    [line] = [line for line in err.splitlines() if "finished run" in line]
    assert line.startswith(f"!! 1 finished run could not be pushed to {url}: nothing is lost")
    assert line.endswith("the same command pushes it")
    assert err.count("does not answer") == 1
    server.start()
    assert main([*COMMAND, f"outputs={url}"]) == 0
    assert len(Remote(url, cache).places("runs")) == 2
    assert len(Remote(url, cache).places("store")) == len([*cache.rglob("store/*/record.json")])


def test_a_store_that_refuses_ends_the_command_before_anything_is_made(credentials, machine, monkeypatch, capsys):
    pytest.importorskip("s3fs")
    with answering(403) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert main([*COMMAND, "outputs=s3://bucket/study"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: s3://bucket/study answers 403 Forbidden: check its credentials")
    cache = machine("one")
    assert not [*cache.rglob("runs/*/*"), *cache.rglob("store")]


def test_a_row_that_could_not_be_pushed_is_not_replaced_by_an_older_one(make_config, machine, tmp_path):
    url = f"file://{tmp_path}/store"
    outputs = taken.outputs_url.local(url)
    result = experiment.run(make_config(remote=url, outputs=outputs))
    sums = (result.folder / "SHA256SUMS").read_bytes()
    store = Remote(url, outputs)
    place = result.folder.relative_to(outputs).as_posix()
    newer = store.fetch(place, FILES)
    newer[FILE] = newer[FILE].replace(result.row.date.encode(), b"2999-01-01T00:00:00Z")
    newer.pop("SHA256SUMS")
    store.push(place, newer, checksums.sums(newer))
    assert taken.taken(url)[1] == [f"1 of 1 runs were taken from {url}, and lie in {outputs}"]
    assert read_whole(result.folder).date == "2999-01-01T00:00:00Z"
    with pytest.raises(CannotReach):  # it is read back
        store.push(place, newer | {FILE: b"date\n2000\n"}, sums)
    assert "skipped" in taken.taken(url)[1][0]
    assert read_whole(result.folder).date == "2999-01-01T00:00:00Z"
    newest = newer | {FILE: newer[FILE].replace(b"2999", b"3999")}
    store.push(place, newest, checksums.sums(newest))
    taken.bring_one(outputs, url, place)  # of a worker that shares nothing but the store
    assert read_whole(result.folder).date == "3999-01-01T00:00:00Z"
    older = newer | {FILE: newer[FILE].replace(b"2999", b"2000")}
    store.push(place, older, checksums.sums(older))
    assert taken.taken(url)[1] == []
    assert read_whole(result.folder).date == "3999-01-01T00:00:00Z"
