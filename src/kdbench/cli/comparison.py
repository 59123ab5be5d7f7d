"""What `kdbench verify` does: is what a row says still what its file does?"""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from kdbench import experiment
from kdbench.artifact.file import Artifact
from kdbench.artifact.file import load as load_file
from kdbench.cli.messages import one_line
from kdbench.data.load import load
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, DamagedFile, KdbenchError
from kdbench.evaluation.measure import cpu_name, measure, of_the_file, predictions, versions
from kdbench.networks import Trained, Trainer
from kdbench.results.row import FILE, Row, read
from kdbench.results.run_folder import ARTIFACT, SUMMED, SUMS, damage, load_config
from kdbench.settings.config import Config
from kdbench.storage import durable
from kdbench.storage.checksums import checksum
from kdbench.storage.store import Store
from kdbench.training.runtime import Runtime

# What another measurement may find otherwise, since it is time or place.
UNSTEADY = {
    *("latency_ms", "latency_p90_ms", "throughput", "train_seconds", "teacher_train_seconds"),
    *("cpu", "python_version", *versions()),
}
ELSEWHERE = 1e-4  # relative; what other processors and versions may change in a number that is no count


class Recall(Trainer):
    """A trainer that trains nothing, and leaves no trace in a store that lacks something."""

    def teacher(self, *_: Any) -> None:
        """Students that need no training need no teacher, nor the device that it was on."""

    def trained(self, title: str, identity: dict[str, Any], *given: Any) -> Trained:
        """Take it from the store, or refuse."""
        return (
            super().trained(title, identity, *given) if self.store.has(self.key(identity)) else self.make("", title)
        )

    def make(self, key: str, title: str, *_: Any, **__: Any) -> Any:
        """Refuse."""
        raise BadSetting(f"{title} is not in the store: --retrain makes it")


def compare(folder: Path, root: Path | None, retrain: bool) -> int:
    """Compare the run in `folder`, and return 1 if something differs."""
    row, config, content = stored(folder, root)
    config, splits = load(config)
    if splits.fingerprint != row.data_fingerprint:
        raise DamagedFile(
            f"{config.data.name} here (fingerprint {splits.fingerprint}) is not what the row was measured on "
            f"({row.data_fingerprint})"
        )
    try:
        found, left_out = measured(row, config, content, splits)
    except KdbenchError:
        raise
    except Exception as error:  # whatever ONNX Runtime makes of a file that may come from anyone
        raise DamagedFile(f"{ARTIFACT} cannot be measured ({type(error).__name__}: {one_line(error)})") from error
    problems = differing(row, found)
    if retrain:
        again, compared = retrained(row, config, content)
        problems += again
    else:
        compared = len(found)
        for name, why in left_out.items():
            print(f"not compared: {name} ({why})")
    for problem in problems:
        print(f"differs: {problem}")
    if not problems:
        extent = "verified in part" if left_out and not retrain else "verified"
        print(f"{extent}: {compared} figures are what the row says" + (", and so are the weights" * retrain))
    return 1 if problems else 0


def stored(folder: Path, root: Path | None) -> tuple[Row, Config, bytes]:
    """Return row, configuration and artifact of a run folder. Raises `DamagedFile` if they do not belong together."""
    if not folder.is_dir():
        raise BadSetting(f"there is no folder {folder}: give that of one run, such as outputs/runs/mnist/NAME")
    if not (folder / FILE).exists():
        raise BadSetting(f"{folder} holds no {FILE}: give the folder of one run, such as outputs/runs/mnist/NAME")
    row = read(folder / FILE)
    for name in (*SUMMED, SUMS):
        if not (folder / name).exists():
            raise BadSetting(f"{folder} holds no {name}: give the folder as this version of kdbench leaves it")
    files = {name: durable.read(folder / name) for name in (*SUMMED, SUMS)}
    config = load_config(folder)
    if config.hash != row.config_hash:
        raise DamagedFile(f"{folder}: its config.yaml is not that of its row")
    found = damage(row, files)
    if found:
        name, why = found
        raise DamagedFile(f"{folder / name} is damaged: {why}")
    # Of the folders above, the one that holds runs/; a folder alone has none, and its store is empty.
    outputs = folder.parents[2] if len(folder.parents) > 2 else folder
    data = replace(config.data, root=root.absolute() if root else config.data.root, cache=outputs / "data")
    return row, replace(config, data=data, outputs=outputs), files[ARTIFACT]


def measured(row: Row, config: Config, content: bytes, splits: Splits) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the artifact is measured to be now, and what could not be compared, with the reason."""
    try:
        shipped = Artifact(load_file(content))
    except DamagedFile as error:
        raise DamagedFile(f"{ARTIFACT}: {error}") from error
    machine = Runtime(config.device, config.precision, config.threads or 1)
    trainer = Recall(splits, machine, Store(config.outputs / "store"))
    try:
        network_steps, file_steps = experiment.steps(config)
        networks = experiment.train(config, network_steps, trainer)
        artifacts = experiment.export(networks, file_steps, trainer.store)
    except KdbenchError as error:
        logits = predictions.of(shipped, splits.test, splits.fingerprint, machine.threads)
        found = of_the_file(shipped, logits, splits.test.labels.numpy())
        return found, dict.fromkeys(("agreement", "teacher_kl", "and what else needs other networks"), str(error))
    again = measure(config, machine, splits, networks, replace(artifacts, shipped=shipped))
    found = {name: value for name, value in asdict(again).items() if name not in UNSTEADY}
    # What the store would ship today, besides what was shipped.
    found["artifact_sha256"] = checksum(artifacts.shipped.content)
    return found, {}


def differing(row: Row, found: dict[str, Any]) -> list[str]:
    """Return a line for each figure that is not what `row` says."""
    here = versions() | {"cpu": cpu_name()}
    same_place = all(getattr(row, name) == value for name, value in here.items())
    lines = []
    for name, value in found.items():
        told = getattr(row, name)
        close = isinstance(value, float) and isinstance(told, float) and math.isclose(value, told, rel_tol=ELSEWHERE)
        if value != told and (same_place or not close):
            lines.append(f"{name} is {value}, the row says {told}")
    return lines


def retrained(row: Row, config: Config, content: bytes) -> tuple[list[str], int]:
    """Train from nothing in a folder of its own; return how it differs, and how many figures were compared."""
    with tempfile.TemporaryDirectory() as folder:
        result = experiment.run(replace(config, outputs=Path(folder)))
        fresh = (result.folder / ARTIFACT).read_bytes()
    found = {name: value for name, value in asdict(result.row).items() if name not in UNSTEADY}
    lines = [f"retrained, {line}" for line in differing(row, found)]
    if fresh != content:
        lines.append(weights_apart(ModelProto.FromString(content), ModelProto.FromString(fresh)))
    return lines, len(found)


def weights_apart(stored: ModelProto, fresh: ModelProto) -> str:
    """Say how far the weights of two files lie apart."""
    old, new = ({t.name: numpy_helper.to_array(t) for t in file.graph.initializer} for file in (stored, fresh))
    if {name: array.shape for name, array in old.items()} != {name: array.shape for name, array in new.items()}:
        return "retrained, the file holds other tensors"
    gaps = [np.abs(old[name].astype(float) - new[name].astype(float)).max(initial=0) for name in old]
    return f"retrained, {np.count_nonzero(gaps)} of {len(gaps)} tensors, by at most {max(gaps):.3g}"
