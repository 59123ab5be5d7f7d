"""One folder mounted twice over FUSE: the kernel keeps `flock` to each mount, as others keep it to each machine."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def twice(place: Path) -> Iterator[list[Path]]:
    """Mount a folder twice, and yield both. Skips the test where there is no bindfs, or nobody may mount."""
    if shutil.which("bindfs") is None:
        pytest.skip("there is no bindfs here")
    folder, *mounts = (place / name for name in ("folder", "one", "other"))
    with contextlib.ExitStack() as stack:
        for path in (folder, *mounts):
            path.mkdir()
        for path in mounts:
            made = subprocess.run(["bindfs", str(folder), str(path)], check=False, capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"nobody may mount here: {made.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "-l", str(path)], check=True)
        yield mounts
