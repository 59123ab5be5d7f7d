"""What a row was measured with: the processor and the versions of packages."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from kdbench.settings.checks import MARKUP
from kdbench.version import __version__


def environment() -> dict[str, Any]:
    """Return all of it, by the names of the columns."""
    return {**processor(), **versions(), "python_version": platform.python_version()}


def versions() -> dict[str, str]:
    """Return the versions whose change may change a row."""
    return {
        "kdbench_version": __version__,
        "torch_version": torch.__version__,
        "onnxruntime_version": version("onnxruntime"),
        "onnx_version": version("onnx"),
        "onnxscript_version": version("onnxscript"),
    }


def processor() -> dict[str, Any]:
    """Return the processor's name, family and model, and the vector instructions that torch uses of it.

    Latency and throughput mean nothing without it, and virtual machines often give no more than half a name.
    """
    text = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    found = {name: re.search(rf"^{name}\s*: (.*)$", text, re.M) for name in ("model name", "cpu family", "model")}
    name = found["model name"]
    return {
        "cpu": (name[1].strip() if name else platform.processor() or platform.machine()).translate(
            dict.fromkeys(map(ord, MARKUP))
        ),
        "cpu_family": _number(found["cpu family"]),
        "cpu_model": _number(found["model"]),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _number(found: re.Match[str] | None) -> int | None:
    return int(found[1]) if found and found[1].isdecimal() else None
