"""Is what a row says still what its file does? The comparison that `kdbench verify` makes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from kdbench import experiment
from kdbench.artifact.file import Artifact
from kdbench.artifact.ship import ship
from kdbench.cli.messages import one_line
from kdbench.compress.order import is_compared, split_steps
from kdbench.data.load import load as load_data
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, DamagedFile, KdbenchError
from kdbench.evaluation.environment import processor, versions
from kdbench.evaluation.fastest import FormOf
from kdbench.evaluation.measure import logits_of, of_the_file
from kdbench.models.onnx_graph import load
from kdbench.networks.compared import compared
from kdbench.networks.maker import Maker
from kdbench.results.describe import teacher_hash
from kdbench.results.row import FILE, Row
from kdbench.results.run_folder import ARTIFACT, CONFIG, files_of, load_config, read_whole
from kdbench.results.summary import TIMINGS
from kdbench.settings import identity, own_folder
from kdbench.settings.config import Config, to_plain
from kdbench.storage import durable
from kdbench.storage.checksums import SUMS, checksum
from kdbench.storage.processes import cores
from kdbench.storage.store import Store
from kdbench.training.runtime import Runtime, instructions_of

# What another measurement may find otherwise, since it is time or place.
UNSTEADY = {
    *TIMINGS,
    *("train_threads", "date", "python_version", *processor(), *versions()),
}
ELSEWHERE = 1e-4  # relative; what other processors and versions may change in a number that is no count


def compare(folder: Path, root: Path | None, retrain: bool) -> int:
    """Compare the run in `folder`, print what differs, and return 1 if something does."""
    row, config, content = stored(folder, root)
    for target in identity.targets_in(to_plain(config)):
        own_folder.require_allowed(target)  # code that is not to be had is no code that has changed
    data, splits = load_data(config.data)
    if splits.fingerprint != row.data_fingerprint:
        raise DamagedFile(
            f"{data.name} here (fingerprint {splits.fingerprint}) is not what the row was measured on "
            f"({row.data_fingerprint})"
        )
    threads = row.train_threads or config.threads or cores()
    machine = Runtime(config.device, config.precision, threads, instructions_of(config.device), config.threads)
    machine.prepare()
    # With the code and the files that it names as they are now.
    config = identity.identified(experiment.resolved(replace(config, data=data), splits, machine, config.together))
    try:
        found, left_out = measured(config, machine, content, splits)
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
    try:
        for name in (SUMS, *(files_of(folder) if (folder / SUMS).exists() else ())):
            if not (folder / name).exists():
                raise BadSetting(f"{folder} holds no {name}: give the folder as this version of kdbench leaves it")
        row = read_whole(folder)
    except DamagedFile as error:
        raise DamagedFile(f"{error.path or folder} is damaged: {error}", error.path) from error
    config = load_config(folder)
    if config.hash != row.config_hash:
        raise DamagedFile(f"{folder}: its {CONFIG} is not that of its row")
    # Of the folders above, the one that holds runs/; a folder alone has none, and its store is empty.
    outputs = folder.parents[2] if len(folder.parents) > 2 else folder
    data = replace(config.data, root=root.absolute() if root else config.data.root, cache=outputs / "data")
    network = config.network.with_transfers(lambda transfer: replace(transfer, cache=outputs / "data"))
    return row, replace(config, data=data, network=network, outputs=outputs), durable.read(folder / ARTIFACT)


def measured(
    config: Config, machine: Runtime, content: bytes, splits: Splits
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the artifact is measured to be now, and what could not be compared, with the reason."""
    try:
        shipped = Artifact(load(content))
    except DamagedFile as error:
        raise DamagedFile(f"{ARTIFACT}: {error}") from error
    store = Store(config.outputs / "store", frozen=True)
    hashes = {
        "code_hash": config.code["row"],
        "config_hash": config.hash,
        "variant_hash": config.variant,
        "network_hash": config.network_hash,
        "teacher_hash": teacher_hash(config),
    }
    try:
        network, file_steps = split_steps(config.network)
        maker = Maker(splits, machine, store, together=config.together)
        networks = compared(maker, network, is_compared(config.network))
        initial = maker.initial(network).network
        task = experiment.task_of_files(splits, network.seed, initial, store, FormOf(shipped.file))
        artifacts = ship(networks, file_steps, task, store)
    except KdbenchError as error:
        logits = logits_of(shipped, splits, machine)
        found = of_the_file(shipped, logits, splits.test.labels.numpy())
        return found | hashes, dict.fromkeys(
            ("agreement", "teacher_kl", "all else that other networks are needed for"), str(error)
        )
    figures = experiment.figures_of(config, machine, splits, networks, replace(artifacts, shipped=shipped))
    found = {name: value for name, value in figures.items() if name not in UNSTEADY}
    # What the store would ship today, besides what was shipped.
    found["artifact_sha256"] = checksum(artifacts.shipped.content)
    return found | hashes, {}


def differing(row: Row, found: Mapping[str, Any]) -> list[str]:
    """Return a line for each figure that is not what `row` says."""
    same_place = all(getattr(row, name) == value for name, value in (versions() | processor()).items())
    lines = []
    for name, value in found.items():
        before = getattr(row, name)
        close = (
            isinstance(value, float) and isinstance(before, float) and math.isclose(value, before, rel_tol=ELSEWHERE)
        )
        if value == before or (close and not same_place):
            continue
        if name == "code_hash":
            lines.append(f"the code that decides the row is another now (code_hash {value}, the row says {before})")
        elif not name.endswith("_hash"):
            lines.append(f"{name} is {value}, the row says {before}")
        elif name == "config_hash":
            lines.append(
                f"a file that the settings name holds something else now (config_hash {value}, not {before})"
            )
    return lines


def retrained(row: Row, config: Config, content: bytes) -> tuple[list[str], int]:
    """Train from nothing in a folder of its own; return how it differs, and how many figures were compared."""
    if row.train_threads is None and row.train_seconds:
        raise BadSetting(
            "it was trained on different numbers of threads, as other processes came and went, so its weights come "
            "again only up to rounding: without --retrain its figures are compared"
        )
    with tempfile.TemporaryDirectory() as folder:
        own = replace(config, outputs=Path(folder))
        form = FormOf(load(content))
        result = experiment.run(own, config.together, train_threads=row.train_threads, fastest=form)
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
