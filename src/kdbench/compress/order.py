"""The steps of a compression in their order: what can be done after what, and which make a file in the end."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.compress.step import FileStep, NetworkStep
from kdbench.errors import BadSetting
from kdbench.settings import targets
from kdbench.settings.network import ONNX_FILE, NetworkSpec, StepSpec


def method_of(step: StepSpec) -> NetworkStep | FileStep:
    """Return the method of a step, which checks its knobs. Raises `BadSetting`."""
    return targets.instantiate(step.method, "compress")


def split_steps(network: NetworkSpec) -> tuple[NetworkSpec, list[FileStep]]:
    """Return the network with the steps that change it, and those that change its file after that.

    Raises `BadSetting` for knobs out of range and for an order that makes no sense, here or in a teacher.
    """
    require_sensible_steps(network, network.compress)
    methods = [method_of(step) for step in network.steps]
    count = sum(isinstance(method, NetworkStep) for method in methods)
    files = [method for method in methods[count:] if isinstance(method, FileStep)]
    return network.with_steps(count), files


def teachers_of(network: NetworkSpec) -> tuple[NetworkSpec, ...]:
    """Return the teachers that a network is compared with: those of the last step that has any.

    None where that joins them with its own: the members of an ensemble have taught it nothing.
    """
    last = next((step for step in reversed(network.steps) if step.teachers), None)
    return () if last is None or getattr(method_of(last), "joins", False) else last.teachers


def is_compared(network: NetworkSpec) -> bool:
    """Whether what its steps make is compared with another: its teachers, or itself before steps that compress it."""
    return bool(teachers_of(network)) or any(getattr(method_of(step), "compared", True) for step in network.steps)


def require_sensible_steps(network: NetworkSpec, name: str) -> None:
    """Raise `BadSetting` if steps of the network or of a teacher cannot be done, or not in their order."""
    methods = [method_of(step) for step in network.steps]
    require_sensible_order(name, methods)
    if network.model["_target_"] == ONNX_FILE:
        require_file_steps(network, name, methods)
    for number, step in enumerate(network.steps):
        method = method_of(step)
        called = type(method).__name__
        if isinstance(method, FileStep) and (step.teachers or step.transfer):
            raise BadSetting(
                f"compress={name}: {called} changes a file, which learns nothing: no teacher, no transfer"
            )
        from_scratch = isinstance(method, NetworkStep) and method.from_scratch
        own = getattr(method, "epochs", None)
        if from_scratch and not number and not (network.recipe.epochs if own is None else own):
            knob = "train.epochs" if own is None else "compress.epochs"
            raise BadSetting(f"{knob}=0 leaves nothing for {called} to train: type {knob}=1, or more")
        for teacher in step.teachers:
            require_sensible_steps(teacher, f"{name}, teacher {teacher.name}")
            files = [type(m).__name__ for m in map(method_of, teacher.steps) if isinstance(m, FileStep)]
            if files:
                raise BadSetting(
                    f"compress.teacher: {files[0]} makes a file of {teacher.name}, which cannot teach: leave it out"
                )


def require_file_steps(network: NetworkSpec, name: str, steps: Sequence[NetworkStep | FileStep]) -> None:
    """Raise `BadSetting` unless a network that is an ONNX file is named, and nothing in it is trained."""
    if network.weights is None:
        raise BadSetting(f"model={network.name} is the ONNX file of a network: type weights=FILE.onnx train.epochs=0")
    for step in steps:
        if isinstance(step, NetworkStep):
            raise BadSetting(
                f"compress={name}: {type(step).__name__} trains the layers of a network, and {network.weights.name} "
                "is a file without any: give its Python class and weights, or quantize it"
            )
    if network.recipe.epochs:
        raise BadSetting(f"{network.weights.name} is an ONNX file, which cannot be trained: type train.epochs=0")


def require_sensible_order(name: str, steps: Sequence[NetworkStep | FileStep]) -> None:
    """Raise `BadSetting`, with the reason, for an order of steps in which one undoes another or cannot be done."""
    for number, step in enumerate(steps):
        before = steps[:number]
        called = type(step).__name__
        if not isinstance(step, NetworkStep | FileStep):
            raise BadSetting(f"compress={name}: {called} is neither a NetworkStep nor a FileStep")
        files = [type(other).__name__ for other in before if isinstance(other, FileStep)]
        if isinstance(step, NetworkStep) and files:
            raise BadSetting(
                f"compress={name}: {called} changes a network, but {files[0]} before it has made a file of it: "
                f"put {called} first"
            )
        if isinstance(step, FileStep) and called in files:
            raise BadSetting(f"compress={name}: {called} finds nothing left to do after {called}: leave one out")
        if isinstance(step, NetworkStep) and step.changes_shapes and not step.keeps_zeros:
            constrained = [other for other in before if isinstance(other, NetworkStep) and other.leaves_constraint]
            if constrained:
                earlier = type(constrained[0]).__name__
                raise BadSetting(
                    f"compress={name}: {called} gives the layers other weights, in which what {earlier} did is lost: "
                    f"put {called} before {earlier}"
                )
