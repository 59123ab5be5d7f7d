"""The command that makes a run which is there: as it was typed, or else from what its row says. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kdbench.cli import advice
from kdbench.cli.overrides import by_name, for_hydra, name_of
from kdbench.cli.status import typed_again
from kdbench.errors import DamagedFile, KdbenchError
from kdbench.results.ledger import Command, Ledger, TypedRun
from kdbench.results.row import Row
from kdbench.settings import schema
from kdbench.settings.choices import chosen_by_default, config_dir, knobs, options
from kdbench.settings.config import Config, digest, to_plain
from kdbench.settings.earlier_run import load_config
from kdbench.settings.identity import files_in
from kdbench.settings.network import DataSpec, knobs_in_words
from kdbench.settings.outputs_url import rejoined
from kdbench.settings.typed import config_of

PLACES = ("outputs", "remote", "data.root", "data.cache")  # of what decides nothing, what a run needs all the same


def command(folder: Path, row: Row) -> str | None:
    """Return what to type, here and now, for the run in `folder`, which left `row`.

    Every candidate is composed first, and only one that comes to the very same settings is returned; None if there
    is none: nobody has typed it, and its row does not say all. Raises `DamagedFile` for a broken config.yaml.
    """
    left = load_config(folder)
    folder = folder.resolve()
    outputs = folder.parents[2] if len(folder.parents) > 2 else folder  # it may have been moved
    for one in (*as_it_was_typed(folder, row, outputs), *from_its_row(row, left)):
        own = own_folder_of(one)
        flags = ["--config-dir", own] if own else []
        for run in one.runs:
            if comes_to(run, own, Path(one.where), left):
                seeds = ",".join(map(str, left.together or [row.seed]))
                arguments = ["run", *flags, *(["-m"] if left.together else []), *rejoined(run), f"seed={seeds}"]
                return typed_again(replace(one, arguments=arguments), outputs)
    return None


def as_it_was_typed(folder: Path, row: Row, outputs: Path) -> Iterator[Command]:
    """Yield the commands that asked for the run in `folder`, each with what was typed for it, but for the seed."""
    ledger = Ledger(outputs)
    for one in ledger.commands()[0]:
        for run in one.runs:
            with contextlib.suppress(DamagedFile):
                last = ledger.last_try(run)
                if last and last.folder and outputs / last.folder == folder:
                    yield replace(one, runs=[of_its_data([word for word in run if is_of_it(word)], row)])


def is_of_it(setting: str) -> bool:
    """Whether a setting that was typed says anything of the run itself; the seed is said anew."""
    name = name_of(setting)
    decides = schema.BY_NAME[name].decides if name in schema.BY_NAME else "row"
    return name != "seed" and not name.startswith("hydra") and (decides != "nothing" or name in PLACES)


def of_its_data(run: TypedRun, row: Row) -> list[str]:
    """Return the settings with the data set that was really used in the place of one that could not be had."""
    typed = [word.partition("=")[2] for word in run if name_of(word) == "data"] or [chosen_by_default()["data"]]
    if row.dataset == typed[-1] or row.dataset not in options("data", [config_dir()]):
        return [*run]
    return [*(word for word in run if name_of(word) not in ("data", "data.root")), f"data={row.dataset}"]


def from_its_row(row: Row, left: Config) -> Iterator[Command]:
    """Yield what might be typed for a row, if choices of kdbench's own made it."""
    compressions = options("compress", [config_dir()])
    network = advice.settings([row], Path("outputs"))
    if network is None or row.compress not in compressions:
        return
    usual = knobs_in_words(knobs(compressions[row.compress])).split()
    method = [f"compress.{word}" for word in left.settings.split() if word not in usual]
    others = {name: getattr(left, name) for name in ("device", "precision", "threads", "robust_eps")}
    others["data.train_images"] = left.data.train_images
    beside = [f"{name}={value}" for name, value in others.items() if value is not None]
    run = [word for word in network if name_of(word) != "seed"]
    run += [f"compress={row.compress}", *method, *beside]
    teachers = [[], ["compress.teacher=self"], [f"compress.teacher={row.teacher}"]] if row.teacher else [[]]
    here = Path.cwd()
    yield Command("", [], [[*run, *teacher] for teacher in teachers], 0.0, str(here), str(here / "outputs"))


def own_folder_of(one: Command) -> str | None:
    """Return the folder of the user's own that a command named; that of FILE.py:CLASS is the file's."""
    words = one.arguments
    for word, following in zip(words, [*words[1:], ""], strict=False):
        flag, _, value = word.partition("=")
        if flag in ("-cd", "--config-dir"):
            return value or following
    file = words[1].rpartition(":")[0] if words[:1] == ["compress"] and len(words) > 1 else ""
    return str(Path(file).parent) if file.endswith(".py") else None


def comes_to(run: Sequence[str], own: str | None, where: Path, left: Config) -> bool:
    """Whether settings, typed in the folder `where`, come to the run which left the configuration `left`.

    As far as that can be said without reading data: their descriptions are compared, and the device is the same.
    """
    known: dict[str, str] = {}

    def remembered(data: DataSpec) -> DataSpec:
        known[described(data)] = data.fingerprint
        return data

    def found(data: DataSpec) -> DataSpec:
        return replace(data, fingerprint=known.get(described(data), ""))

    left.network.with_transfers(remembered)
    remembered(left.data)
    try:
        with contextlib.chdir(where):
            flags = ["--config-dir", own] if own else []
            checked = for_hydra([*run, f"seed={left.network.seed}", *flags])
            config = config_of(by_name(checked[: len(run) + 1]), own)
            files = dict(files_in(to_plain(config)["network"]))
    except (KdbenchError, OSError):
        return False
    resolved = {name: getattr(left, name) for name in ("device", "precision") if getattr(config, name) == "auto"}
    same = {name: getattr(left, name) for name in ("images", "instructions", "together")}
    network = config.network.with_transfers(found)
    config = replace(config, data=found(config.data), network=network, files=files, **resolved, **same)
    return config.hash == left.hash


def described(data: DataSpec) -> str:
    """Return a hash of what data are, wherever they, or the parts that they are joined from, lie."""
    parts = [
        {name: value for name, value in part.items() if name not in ("root", "cache", "fingerprint")}
        for part in data.loader.get("parts", [])
    ]
    return digest([data.name, data.loader | {"parts": parts}, data.train_images])
