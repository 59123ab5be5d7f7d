"""The arguments of commands that Hydra does not handle; their errors are one line like all others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from kdbench.errors import BadSetting
from kdbench.settings import foreign_yaml, trust


class Arguments(argparse.ArgumentParser):
    """A parser that raises `BadSetting` where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise BadSetting(f"{message}: see {self.prog} --help")


def add_own_folder(parser: argparse.ArgumentParser) -> None:
    """Let a command that Hydra does not handle name a folder of the user's own, and packages to trust."""
    parser.add_argument("-cd", "--config-dir", type=Path, metavar="DIR", help="also look for choices and code in DIR")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="whose code may be run")


def own_folder(options: argparse.Namespace) -> list[Path]:
    """Do as those arguments say, and return the folder, if one was given. Raises `BadSetting`."""
    trust.grant(options.trust)
    if options.config_dir is None:
        return []
    foreign_yaml.require_plain_choices(options.config_dir)
    trust.serve(str(options.config_dir.absolute()))
    return [options.config_dir]
