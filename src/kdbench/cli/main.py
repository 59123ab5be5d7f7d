"""The command line. Subcommands are dispatched before anything heavy is imported, so help is instant."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence

import kdbench
from kdbench.cli import signals
from kdbench.errors import KdbenchError, nearest, printable

HELP = """\
kdbench: what does compressing this network cost, and what does it buy?

  kdbench run [SETTING=VALUE ...]     one run: train, compress, export, measure, write one row
  kdbench run -m [SETTING=A,B ...]    one run for each combination
  kdbench sweep [SETTING=VALUE ...]   all nine models x baseline, quantize, prune, distill
  kdbench plot [FOLDER] [--to DIR]    comparison charts (PNG and SVG) from the rows under FOLDER
  kdbench table [FOLDER]              the rows under FOLDER as one table, means over seeds
  kdbench status [FOLDER]             what is done, running, failed or missing, and how to finish it
  kdbench verify RUN_FOLDER           measure a stored run once more, and compare
  kdbench ls                          models, compressions and data sets

  kdbench COMMAND --help              more about one command
  kdbench --version

examples:
  kdbench run model=cnn_deep compress=distill
  kdbench run -m 'model=glob(*)' compress=baseline,quantize,prune,distill seed=0,1,2
  kdbench sweep data=mnist_5k
  kdbench plot outputs/
"""

RUN_HELP = """\
kdbench run [SETTING=VALUE ...]
kdbench run -m [SETTING=A,B,C ...]     (a multirun: one run for each combination)

Trains (or takes from the store), compresses, exports to ONNX, measures that file on the test set, and writes
one row to outputs/runs/DATA/RUN/metrics.csv. A run that is done is not done again; one that was cut off goes on.

choices (kdbench ls says what they are):
{choices}
settings, with their defaults:
  data.root=null            folder that holds the data files; null: the cache, then a download
  data.fallback=mnist_5k    used, with a warning, if the data cannot be had; null: an error
  train.epochs train.batch_size train.lr train.weight_decay train.shift
                            the recipe; its defaults depend on the model (--cfg job shows them)
  compress.KNOB             the knobs of the compression, such as compress.sparsity=0.9
  model.KNOB                the sizes of the model, such as model.widths=[32,64,128]
  seed=0                    initial weights, order of images, augmentation
  device=auto               auto, cpu, cuda, mps
  precision=auto            auto (bf16 where it is fast), fp32, bf16
  threads=null              CPU threads; null: all that this process may use
  seeds_together=auto       a sweep trains the seeds of a variant at once: auto (on a GPU), always, never
  checkpoint_seconds=30     at least so long between two checkpoints of a training (never over 1% of its time)
  again=false               true: make runs that are done once more (trainings come from the store)
  trust=null                packages outside kdbench whose code a YAML of yours may name (or KDBENCH_TRUST=A,B)
  outputs=outputs           where everything is written

flags (from Hydra):
  -m, --multirun            run every combination of the comma-separated values
  --cfg job                 print the composed configuration instead of running
  -cd, --config-dir DIR     also look for choices (and their Python files) in DIR

HYDRA_FULL_ERROR=1 in the environment shows tracebacks.
"""

SWEEP_HELP = """\
kdbench sweep [SETTING=VALUE ...]

All nine models x baseline, quantize, prune, distill: the same as
  kdbench run -m 'model=glob(*)' compress=baseline,quantize,prune,distill
Takes every setting of `kdbench run`; model=A,B or compress=A,B narrows the sweep, seed=0,1,2 repeats it.
Ends with the whole table. A run that fails is reported when it fails, and the others go on. Typed again, or with
more seeds or models, it does what is missing; typed in several terminals at once, they share the work.
"""

SWEEP = {"model": "model=glob(*)", "compress": "compress=baseline,quantize,prune,distill"}

INTERRUPTED = (130, 143)
COMMANDS = ("run", "sweep", "plot", "table", "status", "verify", "ls")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("--help", "-h", "help"):
        print(HELP, end="")
        return 0
    if command in ("--version", "-V"):
        print(f"kdbench {kdbench.__version__}")
        return 0
    if command not in COMMANDS:
        print(f"error: there is no command '{command}': {nearest(command, COMMANDS)}", file=sys.stderr)
        return 2
    try:
        with signals.handled(farewell(arguments)):
            return globals()[command](rest)
    except KdbenchError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except signals.Interrupted as stop:
        return stop.status
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
    status = main()
    if status in INTERRUPTED:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    return status


def farewell(arguments: Sequence[str]) -> str:
    """Return what is said when the command is interrupted."""
    if arguments[0] not in ("run", "sweep"):
        return "interrupted"
    again = shlex.join(["kdbench", *arguments])
    return f"interrupted; what is done is kept. To go on, type the same command again:\n  {again}"


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether -h or --help is among the arguments."""
    return "--help" in arguments or "-h" in arguments


def run(arguments: Sequence[str]) -> int:
    """Compose, and run one job or many."""
    if wants_help(arguments):
        print(RUN_HELP.format(choices=choices_in_words()), end="")
        return 0
    from kdbench.cli.launch import launch

    return launch(arguments, ["run", *arguments])


def sweep(arguments: Sequence[str]) -> int:
    """Run every model under every method, unless the arguments narrow it."""
    if wants_help(arguments):
        print(SWEEP_HELP, end="")
        return 0
    typed = {argument.partition("=")[0] for argument in arguments}
    from kdbench.cli.launch import launch

    narrowed = [default for name, default in SWEEP.items() if name not in typed]
    return launch(["--multirun", *narrowed, *arguments], ["sweep", *arguments])


def plot(arguments: Sequence[str]) -> int:
    """Draw the charts."""
    from kdbench.cli.plot import main

    return main(arguments)


def table(arguments: Sequence[str]) -> int:
    """Print the table."""
    from kdbench.cli.table import main

    return main(arguments)


def status(arguments: Sequence[str]) -> int:
    """Say what is done and what is not."""
    from kdbench.cli.status import main

    return main(arguments)


def verify(arguments: Sequence[str]) -> int:
    """Measure a run once more."""
    from kdbench.cli.verify import main

    return main(arguments)


def ls(arguments: Sequence[str]) -> int:
    """List what can be chosen."""
    from kdbench.cli.ls import main

    return main(arguments)


def choices_in_words() -> str:
    """Return the names of each group, a line each."""
    from kdbench.settings.choices import config_dir, options

    groups = ("model", "compress", "data")
    return "".join(f"  {group}={'|'.join(options(group, [config_dir()]))}\n" for group in groups)
