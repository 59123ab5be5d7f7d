from pathlib import Path

import pytest

from kdbench.errors import BadSetting
from kdbench.settings import outputs_url
from kdbench.settings.outputs_url import apart, canonical, local


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kdbench"


@pytest.mark.parametrize(
    ("url", "below"),
    [
        ("s3://bucket/study", "s3/bucket/study"),
        ("s3://bucket//study/", "s3/bucket/study"),
        ("gs://bucket", "gs/bucket"),
        ("file:///shared/study", "file/shared/study"),
    ],
)
def test_one_url_has_one_local_folder_however_it_is_written(cache, url, below):
    assert local(url) == local(canonical("outputs", url)) == cache / below


def test_without_a_cache_of_ones_own_it_lies_at_home(monkeypatch):
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert local("s3://bucket/study") == Path.home() / ".cache/kdbench/s3/bucket/study"


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///", "s3://bucket/../other", "S3://bucket", "s3://a,s3://b", "s3://bucket/*", "://bucket"]
)
def test_what_is_no_url_of_a_store_is_refused(url):
    with pytest.raises(BadSetting, match="is no URL of an object store, such as s3://bucket/study"):
        canonical("outputs", url)


def test_a_relative_file_is_refused():
    with pytest.raises(BadSetting, match=f"type remote=file://{Path('study').absolute()}"):
        canonical("remote", "file://study")


@pytest.mark.parametrize(
    ("url", "whole"), [("s3:/bucket/x", "s3://bucket/x"), ("gs:/x", "gs://x"), ("file:/data/x", "file:///data/x")]
)
def test_a_slash_that_is_missing_is_said_and_no_folder_is_made_of_it(url, whole):
    assert canonical("outputs", whole) == whole
    with pytest.raises(BadSetting, match=f"outputs={url} has one slash: type outputs={whole}, or"):
        apart({"outputs": url})
    assert apart({"outputs": f"./{url}"}) == {"outputs": f"./{url}"}


def test_only_a_url_is_parted():
    assert apart({"outputs": "some/folder", "seed": 1}) == {"outputs": "some/folder", "seed": 1}
    assert apart({"outputs": Path("folder")}) == {"outputs": Path("folder")}
    parted = apart({"outputs": "s3://bucket/study/", "seed": 1})
    assert parted == {"outputs": str(local("s3://bucket/study")), "remote": "s3://bucket/study", "seed": 1}
    with pytest.raises(BadSetting, match="give one of them"):
        apart({"outputs": "s3://bucket/study", "remote": "s3://bucket/other"})
    assert not outputs_url.is_url(3)


@pytest.mark.parametrize("url", ["s3://bucket/study", "gs://bucket/a/b", "file:///some/where"])
def test_what_is_said_of_its_local_folder_is_the_url(cache, url):
    folder = outputs_url.local(url)
    assert outputs_url.as_typed(folder) == url
    typed = ["seed=1", f"outputs='{folder}'", f"remote='{url}'"]
    assert outputs_url.rejoined(typed) == ["seed=1", f"outputs={url}"]
    apart = outputs_url.apart({"outputs": url})
    assert [f"outputs={url}"] == outputs_url.rejoined([f"{name}='{value}'" for name, value in apart.items()])


@pytest.mark.parametrize("typed", [["outputs=here"], ["outputs=here", "remote=s3://bucket/study"], ["seed=0"]])
def test_a_folder_of_ones_own_is_said_as_it_was_typed(cache, typed):
    assert outputs_url.as_typed(Path("here")) == "here"
    assert outputs_url.rejoined(typed) == typed
