"""The command line. Nothing heavy is imported before a command runs, so that help is instant."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence

from kdbench.cli import (
    best,
    compress,
    ls,
    pack,
    plot,
    predict,
    reproduce,
    run,
    search,
    signals,
    status,
    sweep,
    table,
    unpack,
    verify,
)
from kdbench.cli.arguments import Arguments, bring_down
from kdbench.errors import BadSetting, KdbenchError, nearest, printable
from kdbench.version import __version__

EXAMPLES = """\
kdbench COMMAND --help says more about one command.

examples:
  kdbench run model=cnn_deep compress=distill
  kdbench run -m 'model=glob(cnn_*)' compress=baseline,quantize,prune seed=0,1,2
  kdbench sweep data=mnist_5k
  kdbench plot outputs/
"""
INTERRUPTED = (130, 143)
COMMANDS = (run, sweep, compress, reproduce, search, plot, table, best, status, verify, predict, pack, unpack, ls)
TAKE_SETTINGS = ("compress", "reproduce", "search")  # beside arguments of their own
WRONG_COMMAND = 2


def parser() -> Arguments:
    """Return the parser of all commands."""
    whole = Arguments(
        prog="kdbench",
        description="What does compressing this network cost, and what does it buy?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("-V", "--version", action="version", version=f"kdbench {__version__}")
    subparsers = whole.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in COMMANDS:
        command.add(subparsers)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] == "help":
        arguments = ["--help"]
    names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    if arguments[0] not in names and not arguments[0].startswith("-"):
        print(
            f"error: there is no command '{printable(arguments[0])}': {nearest(arguments[0], names)}", file=sys.stderr
        )
        return WRONG_COMMAND
    try:
        options, rest = parser().parse_known_args(arguments)
        if options.command is None:
            raise BadSetting("no command is given: see kdbench --help")
        if options.command in ("run", "sweep"):
            options.settings = arguments[1:]  # which Hydra reads
        elif options.command in TAKE_SETTINGS and not any(word.startswith("-") for word in rest):
            options.settings, options.command_line = rest, arguments
        elif rest:
            raise BadSetting(f"unrecognized arguments: {' '.join(rest)}: see kdbench {options.command} --help")
        with signals.handled(on_interrupt(arguments)):
            bring_down(options)
            return int(options.main(options))
    except SystemExit as stop:  # after --help and --version
        return stop.code if isinstance(stop.code, int) else 0
    except KdbenchError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        return signals.status_of(stop)
    except BrokenPipeError:  # `kdbench table | head`
        sys.stderr.close()
        return 0
    except OSError as error:  # a folder that may not be written to, a disk that is full
        print(f"error: {error}", file=sys.stderr)
        return 1


def entry() -> int:
    """Run the command of this process, and end the process at once if it was interrupted.

    The clean-up of the interpreter could take long, or abort in threads that are busy in native code.
    """
    code = main()
    if code in INTERRUPTED:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def on_interrupt(arguments: Sequence[str]) -> str:
    """Return what is printed when the command is interrupted."""
    if arguments[0] not in ("run", "sweep", *TAKE_SETTINGS):
        return "interrupted"
    again = shlex.join(["kdbench", *arguments])
    return f"interrupted; what is done is kept. To go on, type the same command again:\n  {again}"
