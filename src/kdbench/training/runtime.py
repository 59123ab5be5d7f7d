"""Where and how precisely a network is trained: device, precision and threads, resolved once and recorded."""

from __future__ import annotations

import ctypes
import platform
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from kdbench.errors import BadSetting
from kdbench.settings import checks
from kdbench.storage.processes import cores


@dataclass(frozen=True)
class Runtime:
    """What was really used; all of it decides the weights to the last bit.

    `threads` are those of trainings; `threads_typed` what was asked for, or None where any number is as good.
    `instructions` is what torch's kernels are chosen by: the vector instructions of a CPU (they sum in another order
    where registers are wider), or the name of a GPU.
    """

    device: str
    precision: str
    threads: int
    instructions: str = field(default_factory=torch.backends.cpu.get_cpu_capability)
    threads_typed: int | None = None

    def prepare(self) -> None:
        """Make this process use it."""
        torch.set_num_threads(self.threads)
        if platform.libc_ver()[0] == "glibc":
            # A step frees activations of megabytes, which glibc hands back to the kernel; the next step then
            # pays for every page of them anew. To be kept instead: blocks of up to 32 MB (glibc's maximum for
            # M_MMAP_THRESHOLD, -3), and whatever lies free on top of the heap (M_TRIM_THRESHOLD, -1).
            libc = ctypes.CDLL(None)
            libc.mallopt(-3, 32 << 20)
            libc.mallopt(-1, 2**31 - 1)

    @property
    def identity(self) -> dict[str, Any]:
        """What of it is part of keys: threads only if they were asked for, so that processes with few share too."""
        own = {name: value for name, value in asdict(self).items() if name != "threads_typed"}
        return own | {"threads": self.threads_typed}

    @property
    def threads_measuring(self) -> int:
        """Those of the throughput: what was asked for, or all, since nobody else is at work then."""
        return self.threads_typed or cores()

    def shared_by(self, processes: int) -> Runtime:
        """Return what trainings use where so many processes share the machine: of its cores a part."""
        return replace(self, threads=self.threads_typed or max(1, cores() // processes))

    @property
    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")


def resolve(device: str, precision: str, threads: int | None) -> Runtime:
    """Turn `auto` into what this machine has. Raises `BadSetting` if it lacks what was asked for by name."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if device == "auto":
        device = available[0]
    elif device not in available:
        raise BadSetting(f"device={device} is not on this machine: choose from {', '.join(available)}, auto")
    if precision == "auto":
        precision = "bf16" if fast_bf16(device) else "fp32"
    elif precision == "bf16" and not fast_bf16(device):
        raise BadSetting(f"precision=bf16 is not in the hardware of {device} here: choose fp32 or auto")
    if threads is not None:
        checks.whole("threads", threads, 1, cores())
    return Runtime(device, precision, threads or cores(), instructions_of(device), threads)


def instructions_of(device: str) -> str:
    """Return what torch's kernels are chosen by on `device`: the name of the GPU, or vector instructions."""
    if device == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return torch.backends.cpu.get_cpu_capability()


def fast_bf16(device: str) -> bool:
    """Whether bf16 arithmetic runs in hardware on `device`: elsewhere it is emulated, slower than fp32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        has = torch.cpu.get_capabilities()
        return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return False
