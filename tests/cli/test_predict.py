"""Pictures of one's own, and what a network of a run makes of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.artifact.test_classifier import linear

from kdbench.artifact.file import Artifact
from kdbench.artifact.metadata import DARK_ON_LIGHT, LIGHT_ON_DARK, MIXED, Description, with_metadata
from kdbench.cli import predict
from kdbench.cli.main import main

NAMES = ("a class with a long name", "a class with a longer name", *"cdefghij")


@pytest.fixture
def network(tmp_path, monkeypatch):
    """Return a function that writes a file for images of `shape` with `polarity`, and gives its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "CALLS", 1)

    def write(polarity=LIGHT_ON_DARK, shape=(1, 28, 28)) -> str:
        file = with_metadata(linear(shape, 10), Description(NAMES, polarity, 0.0), None)
        Path("model.onnx").write_bytes(Artifact(file).content)
        return "model.onnx"

    return write


def save(name, pixels, **options):
    Image.fromarray(pixels).save(name, **options)
    return name


def answers(capsys, *arguments):
    """What is printed as JSON, a picture each."""
    assert main(["predict", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_inverted_digits_are_read_as_the_digits_they_are_and_it_says_so(network, digits, capsys):
    file = network()
    images = digits.test.images[::200, 0].numpy()
    light = [save(f"light{number}.png", image) for number, image in enumerate(images)]
    dark = [save(f"dark{number}.png", 255 - image) for number, image in enumerate(images)]
    expected = answers(capsys, file, *light)
    found = answers(capsys, file, *dark)
    assert [one["class"] for one in found] == [one["class"] for one in expected]
    assert [one["probability"] for one in found] == [one["probability"] for one in expected]
    assert {one["note"] for one in expected} == {""}
    assert {one["note"] for one in found} == {"inverted: light background"}
    assert all(one["milliseconds"] > 0 for one in expected)
    forced = answers(capsys, file, *light, "--invert", "yes")
    assert {one["note"] for one in forced} == {"inverted"}
    as_it_is = answers(capsys, file, *dark, "--invert", "no")
    assert [one["probability"] for one in forced] == [one["probability"] for one in as_it_is]
    assert [one["probability"] for one in forced] != [one["probability"] for one in expected]


@pytest.mark.parametrize(
    ("polarity", "level", "note"),
    [
        (LIGHT_ON_DARK, 0, ""),
        (LIGHT_ON_DARK, 128, "as it is: grey background"),
        (LIGHT_ON_DARK, 255, "inverted: light background"),
        (DARK_ON_LIGHT, 0, "inverted: dark background"),
        (DARK_ON_LIGHT, 255, ""),
        (MIXED, 0, ""),
        (MIXED, 255, ""),
    ],
)
def test_it_inverts_what_is_plainly_the_other_way(polarity, level, note):
    pixels = np.full((1, 28, 28), level, np.uint8)
    assert predict.what_to_do(pixels, polarity, "auto") == note
    assert predict.what_to_do(pixels, polarity, "yes") == "inverted"
    assert predict.what_to_do(pixels, polarity, "no") == ""


def test_pictures_of_any_size_and_colour_come_to_what_the_network_takes(network, capsys):
    colour = save("colour.jpg", np.zeros((40, 60, 3), np.uint8))
    grey = save("grey.png", np.zeros((28, 28), np.uint8))
    for shape in ((1, 28, 28), (3, 28, 28), (3, 16, 24)):
        assert len(answers(capsys, network(shape=shape), colour, grey)) == 2
    stripe = np.zeros((20, 20), np.uint8)
    stripe[:, 10:] = 255
    pixels = predict.picture(Path(save("stripe.png", stripe)), (3, 16, 24))
    assert (pixels[:, :, :11] == 0).all()
    assert (pixels[:, :, 13:] == 255).all()


def long_named() -> str:
    """A picture of a grey dot on white."""
    pixels = np.full((9, 9), 255, np.uint8)
    pixels[4, 4] = 254
    return save("a_rather_long_name_of_a_picture_of_some_size.png", pixels)


def test_a_line_fits_a_terminal_and_says_what_was_left_out(network, capsys):
    name = long_named()
    assert main(["predict", network(), name, "--invert", "auto"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert max(len(header), len(line)) <= 80
    assert header.split() == ["picture", "class", "prob.", "network", "ms"]
    assert line.startswith("…")
    assert "some_size.png  a class wit…" in line
    assert line.endswith("inverted: light background")
    assert line.index("%") < header.index("network") < len(header)


def test_a_wide_terminal_has_room_for_names(network, capsys, monkeypatch):
    name = long_named()
    monkeypatch.setattr(predict.terminal, "width", lambda: 140)
    assert main(["predict", network(), name]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith(name)
    assert "a class with a long" in line
    assert 80 < len(line) <= 140


def test_what_shows_nothing_says_so(network, capsys):
    drawing = np.full((28, 28, 4), (255, 255, 255, 0), np.uint8)
    drawing[10:20, 10:20, 3] = 255  # white, on ground that is laid on white
    [answer] = answers(capsys, network(), save("drawing.png", drawing))
    assert answer["note"] == "inverted, blank"


def test_pictures_that_cannot_be_read_are_named_and_the_others_done(network, capsys):
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    good = save("good.png", np.zeros((28, 28), np.uint8))
    assert main(["predict", network(), "broken.png", good, "nowhere.png", "."]) == 1
    out, err = capsys.readouterr()
    assert [line.partition(":")[0] for line in err.splitlines()] == ["broken.png", "nowhere.png", "."]
    assert len(out.splitlines()) == 2
    assert "good.png" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "a.png"], "error: there is no nowhere: give the folder of one run"),
        (["empty", "a.png"], "error: empty holds no ONNX file: give the folder of one run"),
        (["model.onnx"], "error: the following arguments are required: PICTURE: see kdbench predict --help"),
        (["model.onnx", "a.png", "--invert", "maybe"], "error: argument --invert: invalid choice: 'maybe'"),
        (["two.onnx", "a.png"], "error: two.onnx takes images of 2 channels: pictures have 1 or 3"),
    ],
)
def test_bad_input_is_one_line(network, capsys, arguments, message):
    Path(network(shape=(2, 8, 8))).rename("two.onnx")
    Path("empty").mkdir()
    assert main(["predict", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
