"""Teachers that are equals of their student: under other seeds, or as generations that teach each other.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdbench.errors import BadSetting, nearest
from kdbench.settings import checks
from kdbench.settings.network import NetworkSpec, Node, StepSpec

# How far the seeds of equals of a network are from its own: seeds that people type for a study stay among themselves.
SEEDS_APART = 1_000_000
LARGEST_SEED = 2_147_483_647
KNOBS = ("generations", "each", "equals")


def are_described(described: Any) -> bool:
    """Whether teachers are described as equals of their student."""
    return isinstance(described, dict) and ("generations" in described or "equals" in described)


def equal_of(network: NetworkSpec, number: int = 1) -> NetworkSpec:
    """Return the same network under another seed, of a range of its own; `number` counts such ranges."""
    return network.with_seed(seed_of(network.seed, number))


def seed_of(seed: int, number: int) -> int:
    """Return the seed of the equal of that number."""
    apart = number * SEEDS_APART
    return seed + apart if seed + apart <= LARGEST_SEED else seed - apart


def teachers(described: Mapping[str, Any], student: NetworkSpec, method: Node) -> tuple[NetworkSpec, ...]:
    """Return the teachers that are described, of a student before any step.

    `{equals: N}`: N networks of its kind. `{generations: N}`: of N generations (Furlanello et al. 2018) that learn,
    one after the other, each by `method` under the one before it, the one before the last, which ships; with `each:
    true` all before it that had a teacher. Generation 0 learns from the labels alone.
    """
    for name in described:
        if name not in KNOBS:
            raise BadSetting(f"{name} is not a setting of teachers by generations: {nearest(str(name), KNOBS)}")
    if "equals" in described and len(described) > 1:
        raise BadSetting("compress.teacher: {equals:N} goes with no other setting: leave generations and each out")
    if "equals" in described:
        checks.whole("compress.equals", described["equals"], 1)
        return tuple(equal_of(student, number) for number in range(1, described["equals"] + 1))
    count = described["generations"]
    checks.whole("compress.generations", count, 1)
    made = [equal_of(student)]
    for number in range(1, count):
        taught = replace(student, steps=(StepSpec(method, (made[-1],)),), compress="born_again")
        made.append(replace(taught, seed=seed_of(student.seed, number + 1)))
    each = described.get("each", False)
    if not isinstance(each, bool):
        raise BadSetting(f"compress.teacher: each is true or false, not {each}")
    if not each:
        return (made[-1],)
    if count < 2:
        raise BadSetting("compress.generations=1 leaves no other generation to join: type compress.generations=2")
    return tuple(made[1:])
