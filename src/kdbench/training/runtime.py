"""Where and how precisely a network is trained: device, precision and threads, resolved once and recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from kdbench.errors import BadSetting


@dataclass(frozen=True)
class Runtime:
    """What was really used; these three stand in the row and decide the weights to the last bit."""

    device: str
    precision: str
    threads: int

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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads is not None and threads > cores:
        raise BadSetting(f"threads={threads} is more than this process may use: choose 1 to {cores}")
    return Runtime(device, precision, threads or cores)


def fast_bf16(device: str) -> bool:
    """Whether bf16 arithmetic runs in hardware on `device`: elsewhere it is emulated, slower than fp32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        has = torch.cpu.get_capabilities()
        return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return False
