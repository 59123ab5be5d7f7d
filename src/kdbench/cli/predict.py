"""`kdbench predict`: what the network of a run makes of pictures of one's own. Imports no torch."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.cli import terminal
from kdbench.cli.arguments import Subparsers
from kdbench.errors import BadSetting, printable

if TYPE_CHECKING:
    import numpy as np

    from kdbench.artifact.classifier import Classifier

ABOUT = "class, probability and milliseconds for pictures of your own"
HELP = """\
Pictures are brought to the size of the network as a whole, and to grey where it
is for grey. The milliseconds are those of one call of the file with the picture
alone, on one thread: the median of 5; reading the picture is not counted.
--invert auto inverts a picture whose border is plainly light where those of the
training images are dark, or the other way round, and says so.
"""
CALLS = 5
WIDTH = 80  # where there is no terminal
CLASS_WIDTH = 12


@dataclass(frozen=True)
class Answer:
    """What a network makes of a picture; `note` says what was done to it before."""

    picture: str
    name: str
    probability: float
    milliseconds: float
    note: str

    def plain(self) -> dict[str, Any]:
        """Return the answer as JSON has it."""
        numbers = {"probability": self.probability, "milliseconds": self.milliseconds}
        return {"picture": self.picture, "class": self.name, **numbers, "note": self.note}


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "predict", help=ABOUT, description=ABOUT, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "network", type=Path, metavar="RUN_FOLDER", help="such as outputs/runs/mnist/NAME; or a model.onnx from there"
    )
    parser.add_argument("pictures", type=Path, metavar="PICTURE", nargs="+", help="PNG or JPEG")
    parser.add_argument(
        "--invert", choices=("auto", "yes", "no"), default="auto", help="light to dark; default: auto"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture, names in full")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Print a line for each picture; name those that cannot be read on stderr, and return 1 if there are any."""
    from kdbench.artifact.classifier import classifier
    from kdbench.data.folder_index import ENDINGS
    from kdbench.data.pictures import Unreadable

    if options.network.suffix.lower() in ENDINGS:
        raise BadSetting(f"{options.network} is a picture: type RUN_FOLDER first, then the pictures")
    network = classifier(options.network)
    if network.shape[0] not in (1, 3):
        raise BadSetting(f"{network.path} takes images of {network.shape[0]} channels: pictures have 1 or 3")
    table = Layout.of(network, options)
    if not options.json:
        print(table.header)
    unread = 0
    for path in options.pictures:
        try:
            answer = answer_for(network, path, options.invert)
        except Unreadable as why:
            print(printable(f"{path}: {why}"), file=sys.stderr)
            unread += 1
            continue
        print(json.dumps(answer.plain()) if options.json else table.line(answer))
    return 1 if unread else 0


def answer_for(network: Classifier, path: Path, invert: str) -> Answer:
    """Return what the network makes of a picture. Raises `Unreadable`."""
    pixels = picture(path, network.shape)
    note = what_to_do(pixels, network.polarity, invert)
    if note.startswith("inverted"):
        pixels = 255 - pixels
    if pixels.min() == pixels.max():
        note = "inverted, blank" if note.startswith("inverted") else "blank"
    [index], [probabilities] = network.predict(pixels)
    name = network.class_names[index]
    return Answer(str(path), name, float(probabilities[index]), milliseconds(network, pixels), note)


def what_to_do(pixels: np.ndarray, polarity: str, invert: str) -> str:
    """Return whether a picture is to be inverted, and why, in words; "" where there is nothing to say."""
    from kdbench.artifact.metadata import OTHER_GROUND, ground

    if invert == "yes":
        return "inverted"
    other = OTHER_GROUND.get(polarity)
    if invert == "no" or other is None:
        return ""
    found = ground(pixels)
    if found is None:
        return "as it is: grey background"
    return f"inverted: {other} background" if found == other else ""


def picture(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a picture as the network takes it: uint8 of `shape`. Raises `Unreadable`."""
    import numpy as np
    from PIL import Image

    from kdbench.data import pictures

    channels, height, width = shape
    with pictures.quiet():
        pixels = pictures.decode(pictures.content_of(path), max(height, width), resize=True, grey=channels == 1)
    if height != width:
        planes = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in pixels]
        pixels = np.stack([np.asarray(plane) for plane in planes])
    return np.broadcast_to(pixels, shape)  # grey ones have one channel


def milliseconds(network: Classifier, pixels: np.ndarray) -> float:
    """Return the median time of a call with one image, after one that is not counted."""
    from kdbench.artifact.classifier import as_pixels

    images = as_pixels(pixels, network.shape)
    network.session(images)
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        network.session(images)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


@dataclass(frozen=True)
class Layout:
    """The lines of the answers: how wide the names of pictures and classes may be, so that all fit the terminal."""

    picture: int
    name: int

    @classmethod
    def of(cls, network: Classifier, options: argparse.Namespace) -> Layout:
        """Return the layout of the answers to come."""
        notes = "  inverted: light background" if options.invert == "auto" else "  inverted, blank"
        rest = len("  100.00%  network ms" + notes)
        width = terminal.width() or WIDTH
        name = min(max(map(len, (*network.class_names, "class"))), CLASS_WIDTH * width // WIDTH)
        longest = max(len(str(path)) for path in (*options.pictures, "picture"))
        return cls(min(longest, max(width - rest - name - 2, len("picture"))), name)

    @property
    def header(self) -> str:
        """The line above them."""
        return f"{'picture':{self.picture}}  {'class':{self.name}}    prob.  network ms"

    def line(self, answer: Answer) -> str:
        """Return the line of a picture: of a long path its end, of a long name its beginning."""
        picture, name = printable(answer.picture), printable(answer.name)
        if len(picture) > self.picture:
            picture = f"…{picture[1 - self.picture :]}"
        if len(name) > self.name:
            name = f"{name[: self.name - 1]}…"
        figures = f"{answer.probability:7.2%}  {answer.milliseconds:10.3f}"
        return f"{picture:{self.picture}}  {name:{self.name}}  {figures}  {answer.note}".rstrip()
