"""What is finished under `outputs`, kept in an object store too. A store that fails later costs a run nothing.

What could not be pushed waits: it is pushed with the next that can be, or by the next command. An empty file in
`outputs/unpushed/` stands for each, so that a kill forgets none.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdbench.errors import BadSetting, CannotReach, CannotRead, DamagedFile
from kdbench.storage import checksums, durable, locks
from kdbench.storage.remote import Remote, kept

log = logging.getLogger(__name__)

REST_SECONDS = 60.0  # for which a store that failed is not asked again
SEPARATOR = "+"  # of the parts of a place, in the name of the file that stands for it

_mirrors: dict[tuple[str, Path], Mirror] = {}  # of this command


class Mirror:
    """A folder `outputs`, and the store that has what is finished there."""

    def __init__(self, remote: Remote, outputs: Path) -> None:
        self.remote = remote
        self.outputs = outputs
        self.there: dict[Path, bytes] = {}  # what the store is known to hold, by its SHA256SUMS
        self.damaged: set[Path] = set()  # in the store, whatever its SHA256SUMS says
        self.notes = outputs / "unpushed"
        self.waiting = self.noted()
        self.asked_again = 0.0  # when, in the seconds of `time.monotonic`

    def noted(self) -> list[Path]:
        """Return what waits, whichever process of this machine wanted to push it."""
        return [self.outputs / note.name.replace(SEPARATOR, "/") for note in sorted(self.notes.glob("*"))]

    def push(self, folder: Path) -> None:
        """Let the store hold a finished folder: at once if it answers, with a later one if it does not."""
        if self.there.get(folder) == durable.read(folder / checksums.SUMS):
            return
        if folder not in self.waiting:
            self.waiting.append(folder)
        durable.folder(self.notes)
        with durable.writing(self._note(folder)):
            self._note(folder).touch()
        self.push_waiting()

    def push_waiting(self, at_once: bool = False) -> None:
        """Push what waits, oldest first, unless the store failed a moment ago; `at_once`: even then."""
        if time.monotonic() < self.asked_again and not at_once:
            return
        with self._failing_softly():
            for folder in list(self.waiting):
                # One at a time: the files of two pushes must not lie under the sums of one.
                with locks.held(self.outputs / "locks" / "pushed" / self._place(folder), "pushing it", quiet=True):
                    try:
                        self._push(folder)
                    except (DamagedFile, CannotRead) as error:  # it is made again, and pushed then
                        log.warning("%s is not pushed: %s", folder, error)
                    self.waiting.remove(folder)
                    with contextlib.suppress(OSError):
                        self._note(folder).unlink()

    def fetch(self, folder: Path, names: Sequence[str]) -> dict[str, bytes] | None:
        """Return what the store has of a folder, as `Remote.fetch` does; None also if it fails, or is damaged."""
        if time.monotonic() < self.asked_again:
            return None
        with self._failing_softly():
            try:
                files = self.remote.fetch(self._place(folder), names)
            except DamagedFile as error:
                log.warning("%s/%s is damaged (%s), and is made again", self.remote.url, self._place(folder), error)
                self.damaged.add(folder)
                return None
            if files is not None:
                self.there[folder] = files[checksums.SUMS]
            return files
        return None

    @property
    def unpushed(self) -> str:
        """What still waits, in one line; empty if nothing does."""
        runs = sum(folder.is_relative_to(self.outputs / "runs") for folder in self.waiting)
        parts = {"finished run": runs, "store entry": len(self.waiting) - runs}
        counts = [f"{count} {plural(name, count)}" for name, count in parts.items() if count]
        if not counts:
            return ""
        return f"{' and '.join(counts)} could not be pushed to {self.remote.url}: {kept(self.outputs)}"

    def _push(self, folder: Path) -> None:
        sums = durable.read(folder / checksums.SUMS)
        place = self._place(folder)
        if folder in self.damaged or self.remote.sums(place) != sums:
            self.remote.push(place, checksums.read(folder, [*checksums.parse(sums)]), sums)
        self.damaged.discard(folder)
        self.there[folder] = sums

    def _place(self, folder: Path) -> str:
        return folder.relative_to(self.outputs).as_posix()

    def _note(self, folder: Path) -> Path:
        return self.notes / self._place(folder).replace("/", SEPARATOR)

    @contextlib.contextmanager
    def _failing_softly(self) -> Iterator[None]:
        """Say once a command that the store fails, and leave it alone for a while."""
        try:
            yield
        except CannotReach as error:
            if not self.asked_again:
                log.warning("%s", error)
            self.asked_again = time.monotonic() + REST_SECONDS


def plural(name: str, count: int) -> str:
    """Return a noun as it stands behind a number."""
    return name if count == 1 else f"{name.removesuffix('y')}ies" if name.endswith("y") else f"{name}s"


def mirror(outputs: Path, url: str | None) -> Mirror | None:
    """Return what keeps `outputs` in a store, once a command; what waits since an earlier one is pushed first.

    Raises `CannotReach` if the store refuses, before anything is done, and `BadSetting` for a URL of no store.
    """
    if url is None:
        return None
    if url == f"file://{outputs}":
        raise BadSetting(f"remote={url} is outputs itself: type another, or none")
    key = (url, outputs)
    if key not in _mirrors:
        one = Mirror(Remote(url, outputs), outputs)
        one.remote.contact()
        one.push_waiting()
        _mirrors[key] = one
    return _mirrors[key]


def settle() -> list[str]:
    """Try once more to push what waits, and return a line for each store that it still waits for."""
    for one in _mirrors.values():
        one.waiting = one.noted()
        if one.waiting:
            one.push_waiting(at_once=True)
    return unpushed()


def unpushed() -> list[str]:
    """Return a line for each store that something waits for."""
    return [one.unpushed for one in _mirrors.values() if one.unpushed]


def forget() -> None:
    """Forget the stores of an earlier command in this process."""
    _mirrors.clear()
