"""Downloads by torchvision, which appear whole in the cache or not at all."""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from kdbench.errors import CannotWrite, DataUnavailable
from kdbench.settings import bars
from kdbench.storage import durable

CONNECT_SECONDS = 10


def download(name: str, folder: str, fetch: Callable[[Path], None], cache: Path) -> None:
    """Let `fetch` download the data set `name`, and keep the files in `folder` under `cache`.

    `fetch` is given a folder, and puts the files into `folder` under it. Raises `DataUnavailable`.
    """
    durable.folder(cache)
    durable.sweep(cache, "download", older_than=durable.ABANDONED_SECONDS)
    before = socket.getdefaulttimeout()
    # torchvision passes no time-out of its own: without one, a machine behind a silent firewall would hang.
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        # It also prints every address it tries; the outcome is reported by us, in one line.
        # In a folder of our own first: two runs that download at once must not write into each other's files.
        with (
            tempfile.TemporaryDirectory(dir=cache, prefix=f"{durable.DRAFT}download-") as draft,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) if bars.hidden() else contextlib.nullcontext(),
        ):
            fetch(Path(draft))
            place = cache / folder
            place.mkdir(parents=True, exist_ok=True)
            for path in (Path(draft) / folder).iterdir():
                path.replace(place / path.name)
    except (OSError, RuntimeError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno in durable.DISK:
            raise CannotWrite(durable.reason(cache / folder, error)) from error
        reason = str(error).strip().splitlines()[0].rstrip(":") if str(error).strip() else type(error).__name__
        raise DataUnavailable(f"{name} is not on this machine and could not be downloaded ({reason})") from error
    finally:
        socket.setdefaulttimeout(before)
