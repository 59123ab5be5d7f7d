"""The folder of one run: row, artifact, configuration, history and log, under a name that says what it holds."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from omegaconf import OmegaConf

from kdbench.config import Config
from kdbench.results.row import FILE, Row, write, write_whole

if TYPE_CHECKING:
    from kdbench.training.fit import Epoch


class RunFolder:
    """A context in which everything kdbench logs also goes to the folder's `run.log`."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the folder of `config`: the same configuration finds the same folder again."""
        name = f"{config.network.name}-{config.compress.name}-seed{config.network.seed}-{config.hash}"
        return cls(config.outputs / "runs" / config.data.name / name, config)

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        # A run that is cut off must not leave an old row beside a new model.
        (self.path / FILE).unlink(missing_ok=True)
        self.handler = logging.FileHandler(self.path / "run.log", mode="w")
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log = logging.getLogger("kdbench")
        log.setLevel(logging.DEBUG)
        log.addHandler(self.handler)
        write_whole(self.path / "config.yaml", OmegaConf.to_yaml(_plain(asdict(self.config))).encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            logging.getLogger(__name__).debug("the run failed", exc_info=error)
        logging.getLogger("kdbench").removeHandler(self.handler)
        self.handler.close()

    def write(self, row: Row, artifact: bytes, history: Sequence[Epoch]) -> None:
        """Write artifact and history, and the row last: where there is a row, the rest is whole."""
        write_whole(self.path / "model.onnx", artifact)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", "train_loss", "val_loss", "val_accuracy", "seconds"])
        writer.writerows(asdict(epoch).values() for epoch in history)
        write_whole(self.path / "history.csv", text.getvalue().encode())
        write(row, self.path)


def _plain(value: object) -> object:
    """Return `value` as YAML can say it: paths as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
