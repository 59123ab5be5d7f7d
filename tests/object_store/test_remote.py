import socket
import sys
import time
from pathlib import Path

import pytest
from tests.object_store.conftest import answering, in_memory, silent

from kdbench.errors import BadSetting, CannotReach, DamagedFile
from kdbench.storage import checksums, remote
from kdbench.storage.remote import Remote

FILES = {"model.onnx": bytes(range(256)) * 40, "empty.csv": b"", "metrics.csv": "é\n".encode()}
SUMS = checksums.sums(FILES)
PLACE = "runs/mnist/one"
LOCAL = Path("/local")


def pushed(url: str, files=FILES) -> Remote:
    one = Remote(url, LOCAL)
    one.contact()
    one.push(PLACE, files, checksums.sums(files))
    return one


@pytest.fixture(params=["memory", "folder", "s3"])
def url(request, tmp_path) -> str:
    if request.param == "s3":
        return request.getfixturevalue("s3")[0]
    return in_memory() if request.param == "memory" else f"file://{tmp_path}/deep/study"


def test_what_is_pushed_comes_back_to_the_last_bit(url):
    pushed(url)
    other = Remote(url, LOCAL)
    assert other.fetch(PLACE, ("metrics.csv", "model.onnx", "empty.csv", "later.kdz")) == {
        **FILES,
        checksums.SUMS: SUMS,
    }
    assert other.sums(PLACE) == SUMS
    assert other.fetch("runs/mnist/two", FILES) is None
    assert other.places("runs") == {PLACE: SUMS}
    assert other.places("store") == {}
    other.push(PLACE, {"model.onnx": b"other"}, checksums.sums({"model.onnx": b"other"}))
    assert Remote(url, LOCAL).fetch(PLACE, ["model.onnx"])["model.onnx"] == b"other"


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("calls", range(len(FILES) + 1))
def test_a_push_that_is_cut_off_leaves_nothing_that_is_taken_for_whole(monkeypatch, calls, earlier):
    url = in_memory()
    before = dict.fromkeys(FILES, b"before")
    one = pushed(url, before) if earlier else Remote(url, LOCAL)
    real, done = one.files.pipe_file, []

    def cut_off(*arguments, **options):
        if len(done) == calls:
            raise ConnectionResetError("cut off")
        done.append(real(*arguments, **options))

    monkeypatch.setattr(one.files, "pipe_file", cut_off)
    with pytest.raises(CannotReach, match="cut off"):
        one.push(PLACE, FILES, SUMS)
    monkeypatch.undo()
    try:
        found = Remote(url, LOCAL).fetch(PLACE, tuple(FILES))
    except DamagedFile:
        assert earlier
        assert calls > 0
    else:
        assert found == ({**before, checksums.SUMS: checksums.sums(before)} if earlier else None)


@pytest.mark.parametrize("name", [*FILES, checksums.SUMS])
@pytest.mark.parametrize("content", [b"other", None])
def test_a_folder_with_an_altered_or_missing_file_is_refused(name, content):
    one = pushed(in_memory())
    path = f"{one.root}/{PLACE}/{name}"
    one.files.rm(path)
    if content is not None:
        one.files.pipe_file(path, content)
    if (name, content) == (checksums.SUMS, None):
        assert one.fetch(PLACE, tuple(FILES)) is None
        return
    with pytest.raises(DamagedFile):
        one.fetch(PLACE, tuple(FILES))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "s3://bucket/study answers 403 Forbidden: check its credentials: nothing is lost"),
        (
            404,
            "s3://bucket/study cannot be written (404): no such bucket, which is to be made first: nothing is lost",
        ),
        (503, "s3://bucket/study does not answer (503): nothing is lost"),
    ],
)
def test_what_a_server_answers_is_one_line_that_says_what_to_do(credentials, monkeypatch, status, said):
    pytest.importorskip("s3fs")
    with answering(status) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(CannotReach) as raised:
            Remote("s3://bucket/study", LOCAL).contact()
    assert str(raised.value).startswith(said)
    assert str(raised.value).endswith("what is finished lies in /local, and the same command pushes it")
    assert "\n" not in str(raised.value)


def test_a_dead_server_is_noticed_in_seconds(credentials, monkeypatch):
    pytest.importorskip("s3fs")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    with pytest.raises(CannotReach, match=r"does not answer \(Could not connect"):
        Remote("s3://bucket/study", LOCAL).contact()
    assert time.monotonic() - began < 10


def test_a_server_that_keeps_silent_is_waited_for_no_longer_than_said(credentials, monkeypatch):
    pytest.importorskip("s3fs")
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 1.0)
    with silent() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(CannotReach, match=r"does not answer \(not within 1 s\)"):
            Remote("s3://bucket/study", LOCAL).contact()


def test_a_bucket_that_is_not_there_is_named(s3):
    with pytest.raises(CannotReach, match=r"s3://no-such-bucket/study .*no such bucket"):
        Remote("s3://no-such-bucket/study", LOCAL).contact()


@pytest.mark.parametrize(
    ("url", "module", "said"),
    [
        (
            "s3://bucket/study",
            "s3fs",
            r"s3:// needs a package that is not installed: type pip install 'kdbench\[s3\]'",
        ),
        ("gs://bucket/study", "gcsfs", r"gs:// needs a package .* 'kdbench\[gcs\]'"),
        ("nothing://bucket/study", "s3fs", "nothing:// is unknown: type s3://, gs:// or file://"),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, url, module, said):
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(BadSetting, match=said):
        Remote(url, LOCAL)


def test_options_of_ones_own_are_kept(monkeypatch):
    import fsspec

    pytest.importorskip("s3fs")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"s3": {"addressing_style": "path"}}})
    kept = Remote("s3://bucket/study", LOCAL).files.config_kwargs
    assert kept["s3"] == {"addressing_style": "path"}
    assert kept["connect_timeout"] == 4
