"""The folder of one run: row, artifact, configuration, history and log, under a name that says what it holds."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kdbench.errors import DamagedFile
from kdbench.results.row import FILE, Row, as_csv, read
from kdbench.settings.config import CompressConfig, Config, DataConfig, NetworkConfig, TrainConfig
from kdbench.settings.plain_yaml import load_plain
from kdbench.storage import durable, locks
from kdbench.storage.checksums import checksum

if TYPE_CHECKING:
    from kdbench.training.fit import Epoch

log = logging.getLogger(__name__)

ARTIFACT = "model.onnx"
CONFIG = "config.yaml"
HISTORY = "history.csv"
SUMMED = (ARTIFACT, HISTORY, CONFIG)
SUMS = "SHA256SUMS"  # of these
# What comes of reading a configuration that is none.
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    *(DamagedFile, OmegaConfBaseException, YAMLError),
)
SUM = re.compile(r"[0-9a-f]{64}  [\w.]+\n")


class RunFolder:
    """A context in which no other process makes the same run, and all that kdbench logs also goes to `run.log`."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.entered = contextlib.ExitStack()

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the folder of `config`: the same configuration finds the same folder again."""
        return cls(config.outputs / "runs" / config.data.name / config.run_name, config)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            lock = self.config.outputs / "locks" / "runs" / self.config.data.name / self.path.name
            stack.enter_context(locks.held(lock, f"the run {self.path.name}"))
            durable.folder(self.path)
            durable.sweep(self.path, "*")
            self.entered = stack.pop_all()
        return self

    def begin(self) -> None:
        """Go on with the log, and write down the configuration. An earlier row and its files stay until `write`."""
        with durable.told(self.path / "run.log"):
            handler = _LogFile(self.path / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        everything = logging.getLogger("kdbench")
        everything.setLevel(logging.DEBUG)
        everything.addHandler(handler)
        self.entered.callback(handler.close)
        self.entered.callback(everything.removeHandler, handler)
        if not (self.path / FILE).exists():
            durable.write(self.path / CONFIG, self._configuration())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            log.info("interrupted")
        elif error is not None:
            log.debug("the run failed", exc_info=error)
        self.entered.close()

    def finished(self, versions: dict[str, str]) -> Row | None:
        """Return the row, if it was written by this code and these `versions`, and all beside it is what it was then.

        Damaged files are set aside.
        """
        if not os.path.lexists(self.path / FILE) or self._kept(FILE) is None:
            return None
        try:
            row = read(self.path / FILE)
        except DamagedFile as error:
            durable.set_aside(self.path / FILE, str(error).removeprefix(f"{self.path / FILE}: "))
            return None
        if row.variant_hash != self.config.variant or any(
            getattr(row, name) != told for name, told in versions.items()
        ):
            return None
        files = {name: self._kept(name) for name in (*SUMMED, SUMS)}
        whole = {name: content for name, content in files.items() if content is not None}
        if len(whole) < len(files):
            return None
        found = damage(row, whole)
        if found:
            name, why = found
            durable.set_aside(self.path / name, why)
            return None
        return row

    def write(self, row: Row, artifact: bytes, history: Sequence[Epoch]) -> None:
        """Write the files of the run, and the row last: where there is a row, the rest is whole."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"])
        writer.writerows(asdict(epoch).values() for epoch in history)
        files = {ARTIFACT: artifact, HISTORY: text.getvalue().encode(), CONFIG: self._configuration()}
        files[SUMS] = sums(files)
        fresh = {name: content for name, content in files.items() if not self._holds(name, content)}
        whole = {self.path / name: content for name, content in (fresh | {FILE: as_csv(row)}).items()}
        with durable.drafted(whole) as place:
            if fresh:
                with durable.told(self.path / FILE):
                    # An old row must not stand beside a new artifact, not even for a moment.
                    (self.path / FILE).unlink(missing_ok=True)
            place()

    def _configuration(self) -> bytes:
        # Whether it was asked for once more is nothing that a run is: the same settings are the same bytes.
        return OmegaConf.to_yaml(_plain(asdict(replace(self.config, again=False)))).encode()

    def _kept(self, name: str) -> bytes | None:
        """Return what a file of a finished run holds, or, once that is reported, None if there is no such file."""
        try:
            return durable.read(self.path / name)
        except DamagedFile as error:
            if os.path.lexists(self.path / name):
                durable.set_aside(self.path / name, error)
            else:
                log.warning("%s: %s, and is made again", self.path, error)
            return None

    def _holds(self, name: str, content: bytes) -> bool:
        with contextlib.suppress(DamagedFile):
            return durable.read(self.path / name) == content
        return False


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short, which what it reports on will meet too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lose the line."""

    def close(self) -> None:
        """Lose what cannot be written any more."""
        with contextlib.suppress(OSError):
            super().close()


def sums(files: Mapping[str, bytes]) -> bytes:
    """Return the checksums of files by their names, as `sha256sum --check` reads them."""
    return "".join(f"{checksum(content)}  {name}\n" for name, content in files.items()).encode()


def damage(row: Row, files: Mapping[str, bytes]) -> tuple[str, str] | None:
    """Return which of the files beside `row` is not what was written with it, and why; `files` are all of them."""
    if checksum(files[ARTIFACT]) != row.artifact_sha256:
        return ARTIFACT, "it is not the file that its row describes"
    told = files[SUMS].decode("ascii", "replace").splitlines(keepends=True)
    for line, name in zip(told, SUMMED, strict=False):
        if SUM.fullmatch(line) and line.encode() != sums({name: files[name]}) and name != ARTIFACT:
            return name, f"its checksum is not the one in {SUMS}"
    if files[SUMS] != sums({name: files[name] for name in SUMMED}):
        return SUMS, "it does not hold the checksums of the files beside it"
    return None


def load_config(folder: Path) -> Config:
    """Return the configuration that a run folder, wherever it lies now, holds; nothing in it is called.

    Raises `DamagedFile` if it is not one.
    """
    path = folder / CONFIG
    try:
        text = durable.read(path).decode()
        node: Any = load_plain(text)
        data = DataConfig(**_paths(node["data"], "root", "cache"))
        network, teacher = (
            NetworkConfig(**one | {"train": TrainConfig(**one["train"])}) if one else None
            for one in (node["network"], node["teacher"])
        )
        compress = CompressConfig(**node["compress"] | {"steps": tuple(node["compress"]["steps"])})
        made = {"data": data, "fallback": None, "network": network, "teacher": teacher, "compress": compress}
        return Config(**_paths(node, "outputs") | made)
    except UNREADABLE as error:
        raise DamagedFile(f"{path} is not the configuration of a run ({error})") from error


def _paths(node: dict[str, Any], *names: str) -> dict[str, Any]:
    return node | {name: Path(node[name]) if node[name] is not None else None for name in names}


def _plain(value: object) -> object:
    """Return `value` as YAML can say it: paths as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
