"""Every setting of a run, once: name, type, default, range, help, and what it decides.

Made from this table: what Hydra checks types against (`Schema`), the defaults, the checks of ranges, what
`kdbench run --help` lists, and the README's table. The choices (model=, compress=, data=, train=) and their knobs
are the YAML files in conf/. Imports neither torch nor Hydra.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field, make_dataclass
from typing import Any, Literal, Optional

from kdbench.settings import checks

BY_MODEL = "???"  # the default of what conf/train/ gives; OmegaConf's mark of a value that is still to come
HELP_COLUMN, HELP_WIDTH = 29, 80


@dataclass(frozen=True)
class Setting:
    """One setting; a default of None means that it may be null.

    `allowed` is an interval as in mathematics, the words to choose from, or, if empty, anything of its `kind`.
    `decides` says what comes out otherwise under another value: the weights, only the row, or nothing.
    """

    name: str
    kind: type[bool] | type[int] | type[float] | type[str]
    default: Any
    allowed: str | tuple[str, ...]
    help: str
    decides: Literal["weights", "row", "nothing"]

    @property
    def takes(self) -> str:
        """What it takes, in words: `a whole number of at least 1`."""
        return checks.in_words(self.kind, self.allowed) + (", or null" if self.default is None else "")

    @property
    def shown(self) -> str:
        """The default, as one would type it."""
        return "by model" if self.default == BY_MODEL else as_yaml(self.default)


RECIPE = (
    ("epochs", int, "[0, inf)", "how often every training image is seen; 0: nothing is trained"),
    ("batch_size", int, "[2, inf)", "images a step"),
    ("lr", float, "(0, inf)", "learning rate, the peak of a one-cycle schedule"),
    ("weight_decay", float, "[0, inf)", "decoupled weight decay (AdamW)"),
    ("shift", int, "[0, 32]", "pixels by which an image is moved at most, anew in every epoch"),
    ("flip", bool, "", "mirror half of the images left to right, others in every epoch: for photographs"),
)
ROOT = "folder that holds the data files; null: they are looked for, and downloaded"
FALLBACK = "data set used, with a warning, if this one cannot be had (of mnist: mnist_5k)"

SETTINGS = (
    Setting("seed", int, 0, "[0, 2147483647]", "initial weights, order of images, augmentation", "weights"),
    Setting("data.root", str, None, "", ROOT, "nothing"),
    Setting("data.cache", str, "${outputs}/data", "", "folder for downloads, and for pictures once read", "nothing"),
    Setting("data.fallback", str, None, "", FALLBACK, "row"),
    Setting("data.train_images", int, None, "[2, inf)", "only the first so many of the training images", "weights"),
    *(Setting(f"train.{name}", kind, BY_MODEL, span, text, "weights") for name, kind, span, text in RECIPE),
    *(
        Setting(
            f"teacher_train.{name}", kind, None, span, f"{name} of every teacher; null: its model's own", "weights"
        )
        for name, kind, span, _ in RECIPE
    ),
    Setting(
        "weights",
        str,
        None,
        "",
        "a file (safetensors, or a state_dict), or the folder of a run, that the model starts from; with "
        "train.epochs=0 it stays as it is",
        "weights",
    ),
    Setting(
        "weights_except",
        str,
        None,
        "",
        "layers, several joined by a comma, that are initialised all the same, such as fc for other classes",
        "weights",
    ),
    Setting(
        "normalise",
        str,
        "data",
        "",
        "how pixels in [0, 1] are shown to the model: by data (mean and deviation of the training images), imagenet, "
        "none, or MEANS/DEVIATIONS such as 0.5/0.25",
        "weights",
    ),
    Setting(
        "view",
        str,
        "whole",
        ("whole", "edges", "low_resolution", "upper_half", "one_bit"),
        "what of an image the model is shown; its teachers are shown the whole",
        "weights",
    ),
    Setting(
        "robust_eps",
        float,
        None,
        "(0, 1]",
        "measure the accuracy under attacks that move pixels by at most this; null: after training under such alone",
        "row",
    ),
    Setting(
        "device",
        str,
        "auto",
        ("auto", "cpu", "cuda", "mps"),
        "where networks are trained; on cuda little has been measured, on mps nothing",
        "weights",
    ),
    Setting(
        "precision", str, "auto", ("auto", "fp32", "bf16"), "auto: bf16 where the device is fast at it", "weights"
    ),
    Setting(
        "threads", int, None, "[1, inf)", "CPU threads; null: all, or a part where others share outputs", "weights"
    ),
    Setting(
        "seeds_together",
        str,
        "auto",
        ("auto", "always", "never"),
        "train the seeds of a variant of a sweep as one stacked network; auto: on a GPU",
        "weights",
    ),
    Setting(
        "checkpoint_seconds",
        float,
        30.0,
        "[0, inf)",
        "at least so long between two checkpoints of a training, and never over 1% of its time",
        "nothing",
    ),
    Setting("again", bool, False, "", "do runs that are done once more; trainings come from the store", "nothing"),
    Setting("retrain", bool, False, "", "train anew what this run needs, whatever the store holds", "nothing"),
    Setting(
        "objective",
        str,
        None,
        "",
        "a column, such as val_accuracy, that a run returns to a sweeper of Hydra's that chooses by it",
        "nothing",
    ),
    Setting("outputs", str, "outputs", "", "folder that everything is written to; or a URL, see remote", "nothing"),
    Setting(
        "remote",
        str,
        None,
        "",
        "object store (s3://, gs://, file://) that finished runs are pushed to, and taken from; outputs=URL is short "
        "for remote=URL and a folder in ~/.cache/kdbench",
        "nothing",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def check(name: str, value: Any) -> None:
    """Raise `BadSetting` if `value` is not what the setting `name` takes."""
    setting = BY_NAME[name]
    if value is not None or setting.default is not None:
        checks.within(name, value, setting.kind, setting.allowed)


def as_yaml(value: object) -> str:
    """Return a default as YAML has it."""
    if isinstance(value, float):
        return f"{value:g}"
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def of(group: str) -> list[Setting]:
    """Return the settings of a group such as `train`; of the group "", those without one."""
    return [setting for setting in SETTINGS if setting.name.rpartition(".")[0] == group]


def help_text() -> str:
    """Return the settings for a terminal of 80 columns."""
    lines = []
    for setting in SETTINGS:
        name = setting.name if setting.default == BY_MODEL else f"{setting.name}={setting.shown}"
        text = f"{setting.help} ({setting.takes})" if isinstance(setting.allowed, tuple) else setting.help
        first, *more = textwrap.wrap(text, HELP_WIDTH - HELP_COLUMN)
        fits = len(name) < HELP_COLUMN - 3
        lines += [f"  {name:{HELP_COLUMN - 2}}{first}"] if fits else [f"  {name}", " " * HELP_COLUMN + first]
        lines += [" " * HELP_COLUMN + line for line in more]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """Return the settings as a Markdown table."""
    head = "| setting | default | takes | meaning |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| `{setting.name}` | {f'`{setting.shown}`' if setting.default != BY_MODEL else setting.shown} "
        f"| {setting.takes} | {setting.help} |\n"
        for setting in SETTINGS
    )


def _dataclass(name: str, group: str, *more: tuple[str, Any, Any]) -> type:
    """Return a structured config of a group of settings, which Hydra checks keys and types against."""
    own = [
        (
            setting.name.rpartition(".")[2],
            Optional[setting.kind] if setting.default is None else setting.kind,  # noqa: UP045 - kind is a value
            field(default=setting.default),
        )
        for setting in of(group)
    ]
    made = make_dataclass(name, [*own, *more])
    made.__module__ = __name__  # a launcher may send it to other processes, which import it from here
    return made


TrainSchema = _dataclass("TrainSchema", "train")
TeacherTrainSchema = _dataclass("TeacherTrainSchema", "teacher_train")
# Its groups beside the settings above: what a data set, a model or a compression has besides is its YAML's affair.
Schema = _dataclass(
    "Schema",
    "",
    (
        "data",
        dict[str, Any],
        field(default_factory=lambda: {s.name.partition(".")[2]: s.default for s in of("data")}),
    ),
    ("model", Any, field(default=BY_MODEL)),
    ("compress", Any, field(default=BY_MODEL)),
    ("train", TrainSchema, field(default_factory=TrainSchema)),
    ("teacher_train", TeacherTrainSchema, field(default_factory=TeacherTrainSchema)),
)
