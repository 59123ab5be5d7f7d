"""`scripts/benchmark/quantizers`: static int8 by kdbench, ONNX Runtime, NNCF and Olive, of the same float files."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmark import int8
from benchmark.int8_figures import FLOAT, Measured, Ratio, table
from kdbench.artifact.session import session
from kdbench.data.load import load
from kdbench.data.splits import Splits
from kdbench.errors import BadSetting, KdbenchError
from kdbench.evaluation import accuracy, fidelity, speed
from kdbench.evaluation.environment import processor
from kdbench.evaluation.passes import Way
from kdbench.evaluation.predictions import pixels, predict
from kdbench.results.run_folder import ARTIFACT, read_whole
from kdbench.settings.code import code_of
from kdbench.settings.earlier_run import load_config
from kdbench.storage import durable, machine

SECONDS = 5.0  # of timing, for each of the two figures of a network, shared by all its files


def main() -> int:
    """Measure the networks, print the table after each, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark/quantizers", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders of baselines, outputs/runs/DATA/RUN"
    )
    parser.add_argument(
        "--data-root", type=Path, metavar="FOLDER", help="where the data lie now (else: as the run says)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=Path("outputs/quantizers.json"), help="%(default)s"
    )
    asked = parser.parse_args()
    os.environ.setdefault("OLIVE_DISABLE_TELEMETRY", "1")
    if wanting := int8.missing():
        print(f"error: peers are missing: type {sys.executable} -m pip install {' '.join(wanting)}", file=sys.stderr)
        return 1
    try:
        for folder in asked.runs:
            measured(folder, asked.data_root, asked.json)
    except KdbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine_here().items()) + "\n")
    print(table(found_in(asked.json), [folder.name for folder in asked.runs]))
    return 0


def measured(folder: Path, root: Path | None, report: Path) -> None:
    """Measure the files of one network and add them to `report`, unless it holds them from here, undisturbed.

    Raises `KdbenchError` for a folder of no finished run, and for other data than it was trained on.
    """
    found, here = found_in(report), machine_here()
    row = read_whole(folder)
    known = found.get(folder.name, {})
    same = known.get("here") == here and known.get("sha256") == row.artifact_sha256
    if same and known["files"][0]["cpu_share"] >= speed.LEAST_SHARE:
        return
    data = load_config(folder).data
    _, splits = load(replace(data, root=root or data.root))
    if splits.fingerprint != data.fingerprint:
        raise BadSetting(f"{folder} was trained on other data than these: name their folder by --data-root")
    files = compared(folder / ARTIFACT, splits)
    found[folder.name] = {
        "here": here,
        "sha256": row.artifact_sha256,
        "model": row.model,
        "images": row.test_images,
        "files": [asdict(file) for file in files],
    }
    durable.folder(report.parent)
    durable.write(report, json.dumps(found, indent=1).encode() + b"\n")
    print(table(found, [folder.name]), flush=True)


def machine_here() -> dict[str, str]:
    """Return what figures depend on beside the files; `code` is kdbench's own."""
    code = code_of(["kdbench.compress.quantize.static_int8"], ("kdbench.compress",))
    return (
        processor()
        | {"code": code[:8]}
        | {name: version(name) for name in ("kdbench", "onnxruntime", "nncf", "olive-ai")}
    )


def found_in(report: Path) -> dict[str, Any]:
    """Return what was measured before, by the name of the folder."""
    return json.loads(report.read_text()) if report.exists() else {}


def compared(path: Path, splits: Splits) -> list[Measured]:
    """Return the figures of the float file and of those that are made of it."""
    given = onnx.load(path)
    files, found = {FLOAT: path.read_bytes()}, {FLOAT: Measured(FLOAT)}
    for name, way in int8.WAYS.items():
        began = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                content = way(given, splits).SerializeToString()
            took = time.perf_counter() - began
            session(content, 1)  # what cannot be loaded is no file
        except Exception as error:  # of any kind: whatever a maker says stands in the table
            found[name] = Measured(name, error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            continue
        files[name], found[name] = content, Measured(name, made_s=took)
    timed = times(list(files.values()), pixels(splits.test.images[: speed.THROUGHPUT_BATCH]))
    logits = [predict(session(content, 1), splits.test) for content in files.values()]
    for (name, content), own, clocked in zip(files.items(), logits, timed, strict=True):
        found[name] = replace(
            found[name],
            size_bytes=len(content),
            errors=accuracy.errors(own, splits.test.labels.numpy()),
            agreement=fidelity.agreement(own, logits[0]),
            **clocked,
        )
    return list(found.values())


def times(files: Sequence[bytes], images: np.ndarray) -> list[dict[str, Any]]:
    """Return the times of each file beside the first, on float32 images (256, channels, height, width).

    One thread; passes A B C A B C ..., so that what slows down the machine slows down all. Tried again, as a run's
    times are, if others had the processor too.
    """
    runs = [session(content, 1) for content in files]
    for number in range(speed.TRIES):
        with machine.alone():
            turns = [speed.in_turn([Way(run, batch) for run in runs], SECONDS) for batch in (images[:1], images)]
        share = min(map(speed.share_of, turns))
        if share >= speed.LEAST_SHARE or number + 1 == speed.TRIES:
            break
        time.sleep(speed.PAUSE_SECONDS)
    rates = [np.array([[one.rate for one in turn] for turn in passes]) for passes in turns]
    of_first = [rate / rate[:, :1] for rate in rates]
    return [
        {
            "latency_ms": float(1e3 / rates[0][:, own].max()),
            "latency": spread(of_first[0][:, own]),
            "throughput": spread(of_first[1][:, own]),
            "cpu_share": share,
        }
        for own in range(len(files))
    ]


def spread(ratios: np.ndarray) -> Ratio:
    """Return median, least and most."""
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


if __name__ == "__main__":
    sys.exit(main())
