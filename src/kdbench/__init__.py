"""kdbench: what does compressing this network cost, and what does it buy?

The same from Python as from the command line; both share what they have made:

    import kdbench

    result = kdbench.run(model="cnn_simple", compress="distill", data="mnist_5k", train={"epochs": 2})
    result.row.accuracy, result.network, result.artifact, result.folder
    frame = kdbench.rows("outputs")
    logits = kdbench.load(result.folder)(images)

Errors that can be mended are `KdbenchError`s of one line. Nothing is printed unless `progress=True` asks for it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.data.torchvision_import import repair
from kdbench.errors import KdbenchError
from kdbench.settings import importing
from kdbench.version import __version__

if TYPE_CHECKING:
    import pandas

    from kdbench.artifact.classifier import Classifier
    from kdbench.experiment import Result

__all__ = ["KdbenchError", "__version__", "load", "rows", "run", "sweep"]

# Everything else is imported when it is called for: torch takes seconds.
repair()
importing.install()
logging.getLogger(__name__).addHandler(logging.NullHandler())


def run(*, config_dir: str | Path | None = None, progress: bool = False, **settings: Any) -> Result:
    """Train, or take from the store, compress, export and measure one network.

    `settings` have the names that they have on the command line (`kdbench run --help`, `kdbench ls`), and are one run
    with what is typed there: choices by name, `model="cnn_deep", compress="prune", data="mnist_5k"`; settings such as
    `seed=1` and `outputs="elsewhere"`; those with a dot in their names as a dict, `train={"epochs": 2}`, or as
    `**{"compress.sparsity": 0.9}`. A `Path`, a tuple and `None` are what one expects. What is left out has its
    default.

    `config_dir` is a folder of choices of your own, and the permission to run the Python in it. `progress` shows bars
    and warnings, and prints a line at the end.

    The result has `row` (the columns of docs/columns.md), `folder`, `network` (a torch module in eval mode),
    `artifact` (what `load` returns) and `was_done`. A run that is done is not done again. One run is done at a time:
    another thread waits. Raises `KdbenchError` for everything that can be mended; then there is no row.
    """
    from kdbench.settings.typed import config_of, flattened

    config = config_of(flattened(settings), config_dir)
    from kdbench.python import running  # brings torch, which bad settings need not wait for

    running.forget()
    return running.run(config, progress=progress)


def sweep(
    *, config_dir: str | Path | None = None, progress: bool = False, errors: str = "raise", **settings: Any
) -> pandas.DataFrame:
    """Do a run for each combination of settings, and return their rows as `rows` does.

    A list, a tuple or a range makes a run for each of its values: `model=["mlp_simple", "cnn_simple"], seed=range(3),
    train={"lr": [0.001, 0.01]}`. Where the setting's own value is a list, such as `model.widths`, a list is one
    value, and a list of lists is several. Left out, `model` is all nine and `compress` baseline, quantize, prune and
    distill, as for `kdbench sweep`. The other parameters are those of `run`.

    A run that fails does not stop the others, and what is done is kept: the same call does what is missing. At the
    end a `KdbenchError` names those that failed; with `errors="skip"` the rows of the others are returned instead.
    """
    from kdbench.python import sweeping

    return sweeping.sweep(settings, config_dir, progress, errors)


def rows(folder: str | Path = "outputs", *, damaged: str = "raise") -> pandas.DataFrame:
    """Return the rows of all runs under `folder`: one line a run, the columns of docs/columns.md, and its `folder`.

    Nothing is averaged. Numbers that a row does not have are NaN, texts None. A row that is damaged raises a
    `KdbenchError`, or is left out with `damaged="skip"`.
    """
    from kdbench.python import frames

    return frames.rows(Path(folder), damaged)


def load(place: str | Path) -> Classifier:
    """Return the network of a run, to be called with images: float32 logits (n, classes).

    `place` is the folder of a run, or its `model.onnx` wherever it lies now. Images are uint8 from 0 to 255 or floats
    in [0, 1], from NumPy or torch, of shape (n, channels, height, width) or (channels, height, width); of one channel
    also (n, height, width) or (height, width). It has `class_names`, `shape`, `polarity` and `path`, and
    `predict(images)` gives the class of each image and the probabilities of all. Raises `KdbenchError` for a file
    that is damaged or none of kdbench's, and for images that it cannot take.
    """
    from kdbench.artifact.classifier import classifier

    return classifier(place)
