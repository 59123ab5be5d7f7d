import logging
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.pictures import encoded, make, picture

from kdbench.data import folder_splits, image_folder, pictures
from kdbench.errors import BadSetting, DamagedFile, KdbenchError

TWO = {"cat": 10, "dog": 20}


@pytest.fixture
def load(tmp_path):
    """Return a function that loads the folder `name`, and can fail if a picture is opened."""

    def loaded(name="pets", **knobs):
        return image_folder.load(tmp_path / name, tmp_path / "cache", **knobs)

    return loaded


def test_a_folder_of_classes_is_split_80_10_10_within_each(tmp_path, load):
    make(tmp_path / "pets", TWO)
    splits = load()
    assert splits.class_names == ("cat", "dog")
    for split, counts in ((splits.train, [8, 16]), (splits.val, [1, 2]), (splits.test, [1, 2])):
        assert torch.bincount(split.labels).tolist() == counts
    shown = {
        tuple(image.flatten().tolist()) for split in (splits.train, splits.val, splits.test) for image in split.images
    }
    assert shown == {tuple(np.asarray(picture(number)).flatten().tolist()) for number in range(30)}


@pytest.mark.parametrize("val", [True, False])
def test_a_folder_of_splits_is_taken_as_it_is_and_val_is_a_tenth_of_train_where_it_is_missing(tmp_path, load, val):
    counts = {"train/cat": 10, "train/dog": 20, "test/cat": 3, "test/dog": 4}
    make(tmp_path / "pets", counts | ({"val/cat": 1, "val/dog": 5} if val else {}))
    splits = load()
    found = [torch.bincount(split.labels).tolist() for split in (splits.train, splits.val, splits.test)]
    assert found == ([[10, 20], [1, 5], [3, 4]] if val else [[9, 18], [1, 2], [3, 4]])
    last = np.asarray(picture(36))
    assert any(np.array_equal(image[0], last) for image in splits.test.images[-4:])


@pytest.mark.parametrize("count", [3, 4, 14, 15, 100])
def test_every_part_gets_a_tenth_and_at_least_one(count):
    digests = [number.to_bytes(2, "big") for number in range(count)]
    found = folder_splits.divided([""] * count, [0] * count, digests, ["cat"])
    tenth = max(1, (count + 5) // 10)
    assert found == ["train"] * (count - 2 * tenth) + ["val"] * tenth + ["test"] * tenth


def test_equal_pictures_of_a_class_stay_together():
    digests = [bytes([number % 7]) for number in range(70)]
    found = folder_splits.divided([""] * 70, [0] * 70, digests, ["cat"])
    assert found == 10 * (["train"] * 5 + ["val", "test"])


def test_names_and_times_of_files_decide_nothing(tmp_path, load):
    make(tmp_path / "pets", TWO)
    first = load().fingerprint
    for number, path in enumerate(sorted((tmp_path / "pets").glob("*/*"))):
        path.rename(path.with_name(f"{97 * number % 101}.PNG"))
        os.utime(path.with_name(f"{97 * number % 101}.PNG"), ns=(number, number))
    assert load().fingerprint == first
    shutil.copytree(tmp_path / "pets", tmp_path / "copy")
    assert load("copy").fingerprint == first
    next((tmp_path / "pets").glob("cat/*")).write_bytes(encoded(picture(99)))
    assert load().fingerprint != first


def test_a_folder_that_stays_is_read_once_and_one_that_changes_is_read_anew(tmp_path, load):
    make(tmp_path / "pets", TWO)
    first = load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "content_of", lambda _: pytest.fail("a picture was read again"))
        again = load()
    assert again.fingerprint == first.fingerprint
    assert again.class_names == first.class_names
    make(tmp_path / "pets", {"fox": 3}, start=50)
    assert load().classes == 3
    assert len(list((tmp_path / "cache" / "image_folders").iterdir())) == 1


def test_a_picture_in_the_place_of_another_is_seen_though_its_size_and_time_are_the_same(tmp_path, load):
    make(tmp_path / "pets", TWO)
    first = load().fingerprint
    one, other = sorted((tmp_path / "pets" / "cat").iterdir())[0], sorted((tmp_path / "pets" / "dog").iterdir())[0]
    contents, times = one.read_bytes(), one.stat().st_mtime_ns
    changed = other.read_bytes().ljust(len(contents), b"\0")
    if len(changed) > len(contents):
        changed = changed[: len(contents)]
    one.write_bytes(changed)
    os.utime(one, ns=(times, times))
    assert load().fingerprint != first


@pytest.mark.parametrize("damage", ["cut", "altered", "emptied", "rubbish"])
def test_a_damaged_cache_is_noticed_and_made_anew(tmp_path, load, damage, caplog):
    make(tmp_path / "pets", TWO)
    first = load().fingerprint
    [path] = (tmp_path / "cache" / "image_folders").iterdir()
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[-300] ^= 1
    path.write_bytes({"cut": whole[:-9], "altered": altered, "emptied": b"", "rubbish": b"rubbish" * 99}[damage])
    assert load().fingerprint == first
    assert "is damaged" in caplog.text
    caplog.clear()
    assert load().fingerprint == first
    assert not caplog.text


def test_pictures_are_resized_only_if_a_size_is_typed(tmp_path, load):
    make(tmp_path / "pets", TWO)
    (tmp_path / "pets" / "dog" / "wide.jpg").write_bytes(encoded(Image.new("L", (40, 20)), "JPEG"))
    with pytest.raises(BadSetting, match=r"dog/wide\.jpg has 40x20, others 8x8\): type data\.size=32"):
        load()
    assert load(size=16).shape == (1, 16, 16)


@pytest.mark.parametrize("size", [(7, 7), (65, 65), (20, 30)])
def test_a_size_of_their_own_that_is_not_possible_asks_for_one(tmp_path, load, size):
    make(tmp_path / "pets", {"cat": 0, "dog": 0})
    for number in range(6):
        (tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png").write_bytes(
            encoded(Image.new("L", size, number))
        )
    with pytest.raises(BadSetting, match=r"squares of one size, from 8x8 to 64x64 .*type data\.size=32"):
        load()
    assert load(size=8).shape == (1, 8, 8)


def test_channels_are_those_of_the_pictures_unless_a_conversion_is_typed(tmp_path, load):
    make(tmp_path / "grey", TWO)
    make(tmp_path / "mixed", TWO)
    make(tmp_path / "mixed", {"fox": 12}, start=50, colour=True)
    assert load("grey").shape == load("grey", channels=1).shape == (1, 8, 8)
    assert load("mixed").shape == load("mixed", channels=3).shape == (3, 8, 8)
    with pytest.raises(BadSetting, match=r"^12 of 42 pictures are in colour: type data\.channels=3, or .*grey$"):
        load("mixed", channels=1)
    with pytest.raises(BadSetting, match=r"^all 30 pictures are grey: type data\.channels=1, or data\.convert_"):
        load("grey", channels=3)
    grey, three = load("grey"), load("grey", channels=3, convert_channels=True)
    assert torch.equal(three.train.images, grey.train.images.expand(-1, 3, -1, -1))
    assert load("mixed", channels=1, convert_channels=True).shape == (1, 8, 8)


def test_pictures_that_cannot_be_read_are_listed_or_skipped_and_counted_each_time(tmp_path, load, caplog):
    make(tmp_path / "pets", TWO)
    for name in ("cat/a.png", "cat/b.jpg", "dog/c.png", "dog/d.jpeg"):
        (tmp_path / "pets" / name).write_bytes(encoded(picture(1))[:-40])
    with pytest.raises(DamagedFile) as error:
        load()
    assert "4 of 34 pictures cannot be read: cat/a.png (" in str(error.value)
    assert str(error.value).endswith("and 1 more: repair or remove them, or type data.skip_unreadable=true")
    assert not (tmp_path / "cache").exists()
    for _ in range(2):
        caplog.clear()
        assert len(load(skip_unreadable=True).train) == 24
        assert "4 of 34 pictures cannot be read" in caplog.text


def test_test_pictures_that_are_trained_on_are_counted(tmp_path, load, caplog):
    make(tmp_path / "pets", {"train/cat": 5, "train/dog": 5}, start=0)
    make(tmp_path / "pets", {"val/cat": 5, "val/dog": 5}, start=20)
    make(tmp_path / "pets", {"test/cat": 2, "test/dog": 5}, start=8)
    load()
    assert "2 of 7 pictures of test are among those to train on" in caplog.text
    assert "of val" not in caplog.text
    for one in (tmp_path / "pets" / "val" / "cat").iterdir():
        shutil.copy(one, tmp_path / "pets" / "test" / "cat" / f"again {one.name}")
    load()
    assert "5 of 12 pictures of test are among those of val, too" in caplog.text


def test_pictures_are_the_same_if_they_show_the_same(tmp_path, load, caplog):
    make(tmp_path / "pets", {"train/cat": 5, "train/dog": 5, "test/cat": 2, "test/dog": 2})
    shown = sorted((tmp_path / "pets" / "train" / "cat").iterdir())[0]
    with Image.open(shown) as image:
        image.save(tmp_path / "pets" / "test" / "cat" / "again.png", compress_level=0)
    load()
    assert "1 of 5 pictures of test are among those to train on" in caplog.text


BAD = {
    "no root": (None, "type data.root=DIR"),
    "missing": ({}, "does not exist"),
    "a file": ({"": "file"}, "is no folder"),
    "empty": ({"": 0}, "holds no classes"),
    "pictures without classes": ({"": 3}, "holds no classes"),
    "one class": ({"cat": 5}, "holds one class (cat)"),
    "a class without pictures": ({"cat": 5, "dog": 5, "fox": 0}, "holds no pictures of class fox"),
    "too few": ({"cat": 2, "dog": 5, "fox": 2}, "fewer than 3 different pictures of classes cat, fox"),
    "too few to validate": (
        {"train/cat": 1, "train/dog": 5, "test/cat": 1, "test/dog": 1},
        "in train there are fewer",
    ),
    "folders in a class": ({"cat/small": 5, "dog": 5}, "cat holds the folder small"),
    "no test": ({"train/cat": 5, "train/dog": 5, "val/cat": 5, "val/dog": 5}, "but no test"),
    "no train": ({"test/cat": 5, "test/dog": 5}, "but no train"),
    "another split": ({"train/cat": 5, "test/cat": 5, "valid/cat": 5}, "holds test, train, valid"),
    "missing in test": ({"train/cat": 5, "train/dog": 5, "test/cat": 5}, "test holds no pictures of class dog"),
    "only in test": ({"train/cat": 5, "test/dog": 5, "test/cat": 5}, "train holds no pictures of class dog"),
    "missing in val": (
        {"train/cat": 5, "train/dog": 5, "test/cat": 5, "test/dog": 5, "val/dog": 5},
        "val holds no pictures of class cat",
    ),
    "pictures in splits": ({"train": 5, "test": 5}, "holds no classes"),
}


@pytest.mark.parametrize("case", BAD)
def test_another_layout_is_refused_in_one_line(tmp_path, case):
    counts, reason = BAD[case]
    root = tmp_path / "pets"
    if counts == {"": "file"}:
        root.touch()
    elif counts:
        make(tmp_path, {"/".join(filter(None, ("pets", name))): count for name, count in counts.items()})
    with pytest.raises(BadSetting) as error:
        image_folder.load(None if counts is None else root, tmp_path / "cache")
    assert reason.replace("type ", "") in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "cache").exists()


def test_more_than_a_thousand_classes_are_refused(tmp_path, load):
    for number in range(1001):
        (tmp_path / "pets" / str(number)).mkdir(parents=True)
    with pytest.raises(BadSetting, match="holds 1,001 classes: at most 1,000"):
        load()


def test_links_in_a_circle_end_in_one_line(tmp_path, load):
    make(tmp_path / "pets", TWO)
    (tmp_path / "pets" / "again").symlink_to(tmp_path / "pets")
    with pytest.raises(BadSetting, match="again holds the folder"):
        load()
    (tmp_path / "pets" / "again").unlink()
    (tmp_path / "pets" / "cat" / "self.png").symlink_to("self.png")
    with pytest.raises(KdbenchError) as error:
        load()
    assert len(str(error.value).splitlines()) == 1


def test_what_systems_leave_behind_is_not_seen_and_other_files_are_told(tmp_path, load, caplog):
    make(tmp_path / "pets", TWO)
    make(tmp_path / "pets", {".thumbnails": 1, "__MACOSX": 1}, start=90)
    for name in (".DS_Store", "._0.png"):
        (tmp_path / "pets" / "cat" / name).touch()
    with caplog.at_level(logging.WARNING):
        assert load().class_names == ("cat", "dog")
    assert not caplog.text
    (tmp_path / "pets" / "cat" / "notes.txt").touch()
    (tmp_path / "pets" / "cat" / "1.webp").touch()
    load()
    assert "left out, since they are no PNG or JPEG: 1.webp, notes.txt" in caplog.text


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[31mred", "ねこ", "=1+1", b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_odd_names_of_classes_are_kept_and_never_break_a_line(tmp_path, load, name):
    make(tmp_path / "pets", {"dog": 3, name: 3})
    assert len(load().class_names) == 2
    load().class_names[1].encode()
    next((tmp_path / "pets" / name).iterdir()).unlink()
    with pytest.raises(BadSetting) as error:
        load()
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"size": 7}, "data.size=7 is out of range"),
        ({"size": 65}, "8 to 64"),
        ({"size": 32.0}, "data.size=32.0 is not a whole number"),
        ({"channels": 2}, "data.channels=2 is out of range: it takes 1 or 3"),
        ({"channels": True}, "takes 1 or 3"),
        ({"convert_channels": "yes"}, "data.convert_channels=yes is not true or false"),
        ({"skip_unreadable": 1}, "data.skip_unreadable=1 is not true or false"),
    ],
)
def test_knobs_out_of_range_are_refused(load, knobs, reason):
    with pytest.raises(BadSetting) as error:
        load(**knobs)
    assert reason in str(error.value)
