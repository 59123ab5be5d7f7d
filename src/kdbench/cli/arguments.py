"""Parsers of the commands; their errors are one line like all others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from kdbench.errors import BadSetting, printable
from kdbench.settings import outputs_url, own_folder


class Arguments(argparse.ArgumentParser):
    """A parser that raises `BadSetting` where argparse would print its usage and leave.

    `page` makes the whole text of --help, if argparse's own is not wanted.
    """

    def __init__(self, *, page: Callable[[], str] | None = None, **options: object) -> None:
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]
        self.page = page

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise BadSetting(f"{message}: see {self.prog} --help")

    def format_help(self) -> str:
        """Return the text of --help."""
        return self.page() if self.page else super().format_help()


Subparsers = argparse._SubParsersAction  # the type of what `add` of every command adds its parser to


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Let a command name the folder that runs wrote to, or the URL of an object store."""
    about = "or the URL of an object store; default: outputs"
    parser.add_argument("folder", type=place, nargs="?", default=Path("outputs"), metavar="FOLDER", help=about)


def place(text: str) -> Path | str:
    """Return a folder, or a URL, whose runs `bring_down` brings here before the command begins."""
    return text if outputs_url.is_url(text) else Path(text)


def bring_down(options: argparse.Namespace) -> None:
    """Take the runs of URLs that were given for folders; the folders where they lie now take their places."""

    def here(given: Path | str) -> Path:
        if isinstance(given, Path):
            return given
        from kdbench.results.taken import taken

        folder, lines = taken(given)
        for line in lines:
            print(printable(line), file=sys.stderr)
        return folder

    if hasattr(options, "folder"):
        options.folder = here(options.folder)
    if hasattr(options, "folders"):
        options.folders = [here(given) for given in options.folders]


def add_own_folder(parser: argparse.ArgumentParser) -> None:
    """Let a command that Hydra does not handle name a folder of the user's own."""
    parser.add_argument(
        "-cd",
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="also use the choices and the Python in DIR",
    )


def own_folders(options: argparse.Namespace) -> list[Path]:
    """Return the folder that was named, if one was, once its Python can be imported. Raises `BadSetting`."""
    if options.config_dir is None:
        return []
    own_folder.serve(options.config_dir)
    return [options.config_dir]
