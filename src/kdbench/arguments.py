"""The arguments of commands that Hydra does not handle; their errors are one line like all others."""

from __future__ import annotations

import argparse
from typing import NoReturn

from kdbench.errors import BadSetting


class Arguments(argparse.ArgumentParser):
    """A parser that raises `BadSetting` where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise BadSetting(f"{message}: see {self.prog} --help")
