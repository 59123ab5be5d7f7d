"""Rows as a data frame. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from kdbench.errors import BadSetting, DamagedFile
from kdbench.results.collect import by_folder
from kdbench.results.row import NAMES, NUMBERS, Row, may_be_empty


def frame(rows: Mapping[Path, Row]) -> pd.DataFrame:
    """Return one line a run: the columns of its row, and its `folder` as text. Empty numbers are NaN, texts None."""
    table = pd.DataFrame([asdict(row) for row in rows.values()], columns=NAMES)
    table = table.astype({name: float for name in NUMBERS if may_be_empty(name)})
    return table.assign(folder=[str(folder) for folder in rows])


def rows(folder: Path, damaged: str) -> pd.DataFrame:
    """Return the rows under `folder`; of those that are `damaged` the first is raised, or all are left out."""
    if damaged not in ("raise", "skip"):
        raise BadSetting(f"damaged={damaged!r} is neither 'raise' nor 'skip'")
    found, bad = by_folder(folder)
    if bad and damaged == "raise":
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DamagedFile(f"{bad[0]}{more}: damaged='skip' leaves such rows out")
    return frame(found)
