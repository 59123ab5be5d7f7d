"""An object store that fsspec knows (s3://, gs://, file://): folders of files under a URL. What it answers, in words.

A folder is whole there once its SHA256SUMS is, which is pushed last; so no object ever has to be deleted. fsspec is
imported with the first store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.errors import BadSetting, CannotReach, DamagedFile
from kdbench.storage import checksums

MARK = "kdbench.txt"  # what is written first, to see whether anything can be
PATIENCE_SECONDS = 12.0  # for an answer, tries included
SLOWEST_BYTES = 200_000  # a second: what takes longer to be pushed will not come to an end
# A dead store is to be noticed in seconds, and each file to be one request. Of gs:// the patience alone sees to that.
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "max_concurrency": 1,
        "config_kwargs": {
            "connect_timeout": 4,
            "read_timeout": 6,
            "retries": {"total_max_attempts": 2, "mode": "standard"},
        },
    },
    "file": {"auto_mkdir": True},
}
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # of kdbench, by what URLs begin with

PUSHES = 5  # of one folder, in which each finds files of another machine among its own


class Remote:
    """Folders of files under a `url`, by their places such as `runs/mnist/NAME`.

    `local` is the folder whose finished parts go there, for messages. Everything raises `CannotReach`.
    """

    def __init__(self, url: str, local: Path) -> None:
        self.url, self.local = url, local
        self.files, self.root = opened(url)

    def contact(self) -> None:
        """See whether the store lets itself be written and read."""
        with self._asked():
            self._put(MARK, b"Runs of kdbench (runs/), and what they have trained (store/).\n")
        self.sums("runs")

    def push(self, place: str, files: Mapping[str, bytes], sums: bytes) -> None:
        """Put the files of a folder there, and their SHA256SUMS last; then read all of it back.

        So where two machines push one folder, and files of one come to lie under the sums of the other, at least who
        put its sums last finds that, and pushes once more.
        """
        for _ in range(PUSHES):
            with self._asked():
                for name, content in (*files.items(), (checksums.SUMS, sums)):
                    self._put(f"{place}/{name}", content)
            try:
                if self.fetch(place, [*files]) is not None:
                    return
                said = f"{self.url}/{place} is not there after it was pushed"
            except DamagedFile as error:
                said = f"{self.url}/{place} is not what was pushed ({error})"
        raise CannotReach(f"{said}: {kept(self.local)}")

    def sums(self, place: str) -> bytes | None:
        """Return the SHA256SUMS of a folder, or None if it is not there."""
        return self._contents([f"{place}/{checksums.SUMS}"])[0]

    def fetch(self, place: str, names: Sequence[str]) -> dict[str, bytes] | None:
        """Return those files of a folder that it has, by their names, SHA256SUMS among them; None without that.

        Raises `DamagedFile` if one is missing, or is not what was pushed.
        """
        sums = self.sums(place)
        if sums is None:
            return None
        known = checksums.parse(sums)
        wanted = [name for name in names if name in known]
        files = dict(zip(wanted, self._contents([f"{place}/{name}" for name in wanted]), strict=True))
        for name, content in files.items():
            if content is None or checksums.checksum(content) != known[name]:
                raise DamagedFile(f"{name} is missing, or not what {checksums.SUMS} says")
        return {name: content for name, content in files.items() if content is not None} | {checksums.SUMS: sums}

    def places(self, below: str) -> dict[str, bytes]:
        """Return the SHA256SUMS of all folders below a place."""
        with self._asked():
            try:
                paths = self.files.find(f"{self.root}/{below}")
            except FileNotFoundError:
                return {}
        ends = f"/{checksums.SUMS}"
        found = [path[len(self.root) + 1 : -len(ends)] for path in paths if path.endswith(ends)]
        contents = self._contents([place + ends for place in found])
        return {place: sums for place, sums in zip(found, contents, strict=True) if sums is not None}

    def _put(self, name: str, content: bytes) -> None:
        # Without a limit, botocore would wait for ever for leave to send the content (Expect: 100-continue).
        limit = {"timeout": PATIENCE_SECONDS + len(content) / SLOWEST_BYTES} if self.files.async_impl else {}
        self.files.pipe_file(f"{self.root}/{name}", content, **limit)

    def _contents(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the content of each file, None of what is not there; several are asked for at once."""
        paths = [f"{self.root}/{name}" for name in names]
        with self._asked():
            found = self.files.cat(paths, on_error="return") if paths else {}
            for error in found.values():
                if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
                    raise error
        return [None if isinstance(found[path], Exception) else found[path] for path in paths]

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """Put into words whatever fsspec, or the library behind it, raises: its kinds are too many to be named."""
        try:
            yield
        except Exception as error:
            raise CannotReach(in_words(error, self.url, self.local)) from error


def opened(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and its path there. Raises `BadSetting` for what fsspec does not know."""
    import fsspec

    scheme = url.partition("://")[0]
    own, given = OPTIONS.get(scheme, {}), fsspec.config.conf.get(scheme, {})
    options = {
        name: {**value, **given.get(name, {})} if isinstance(value, dict) else given.get(name, value)
        for name, value in own.items()
    }
    try:
        files, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        how = f"type pip install 'kdbench[{extra}]'" if extra else " ".join(str(error).split())
        raise BadSetting(f"{scheme}:// needs a package that is not installed: {how}") from error
    except ValueError as error:
        raise BadSetting(f"{url}: {scheme}:// is unknown: type s3://, gs:// or file://") from error
    if scheme == "s3":
        files.retries = 1  # botocore has tried again already
    return files, root.rstrip("/")


def in_words(error: BaseException, url: str, local: Path) -> str:
    """Return in one line what came of asking a store, and what to do."""
    status, kind = status_of(error), type(error).__name__
    reason = " ".join(str(error).split()) or kind
    if isinstance(error, PermissionError) or status in (401, 403) or "Credentials" in kind:
        answer = f"{url} answers {status} Forbidden" if status else f"{url} refuses ({reason})"
        said = f"{answer}: check its credentials"
    elif isinstance(error, FileNotFoundError) and not url.startswith("file:"):
        said = f"{url} cannot be written (404): no such bucket, which is to be made first"
    elif isinstance(error, TimeoutError):
        said = f"{url} does not answer (not within {PATIENCE_SECONDS:g} s)"
    elif (status or 0) >= 500 or "Connect" in kind or "Timeout" in kind:
        said = f"{url} does not answer ({status or reason})"
    else:
        said = f"{url} cannot be used ({reason})"
    return f"{said}: {kept(local)}"


def kept(local: Path) -> str:
    """Return what is said where something could not be pushed."""
    return f"nothing is lost: what is finished lies in {local}, and the same command pushes it"


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error: of botocore's responses, of what gcsfs raises."""
    link: BaseException | None = error
    while link is not None:
        response = getattr(link, "response", None)
        if isinstance(response, Mapping):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0) or None
        code = getattr(link, "code", None)
        if isinstance(code, int):
            return code
        if str(link).startswith("Forbidden"):
            return 403
        link = link.__cause__
    return None
