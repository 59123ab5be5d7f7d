"""The steps of a compression in their order: what can be done after what, and which make a file in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kdbench.compress.reshaped import gives_other_layers
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
        if not isinstance(step, NetworkStep | FileStep):
            raise BadSetting(f"compress={name}: {type(step).__name__} is neither a NetworkStep nor a FileStep")
        reason = objection(step, steps[:number])
        if reason:
            raise BadSetting(f"compress={name}: {reason}")


def objection(step: NetworkStep | FileStep, before: Sequence[NetworkStep | FileStep]) -> str | None:
    """Return why a step cannot be done after those `before` it; None: it can."""
    called = type(step).__name__

    def earlier(applies: Callable[[Any], bool]) -> str | None:
        return next((type(other).__name__ for other in before if applies(other)), None)

    if isinstance(step, NetworkStep) and (file := earlier(lambda other: isinstance(other, FileStep))):
        return f"{called} changes a network, but {file} before it has made a file of it: put {called} first"
    takes_float = stores_weights(step) or (isinstance(step, NetworkStep) and gives_other_layers(step))
    if takes_float and (stored := earlier(stores_weights)):
        return (
            f"{called} takes weights in float32, and {stored} before it stores them in another form: "
            f"put {called} before {stored}, or leave one out"
        )
    if isinstance(step, FileStep):
        return None
    constrained = earlier(leaves_constraint)
    if constrained and gives_other_layers(step) and not step.keeps_zeros:
        return (
            f"{called} gives the layers other weights, in which what {constrained} did is lost: "
            f"put {called} before {constrained}"
        )
    reshaped = earlier(gives_other_layers)
    if reshaped and step.rewinds:
        return (
            f"{called} goes back to the network as it was initialised, in which what {reshaped} did is lost: "
            f"put {called} before {reshaped}"
        )
    return None


def leaves_constraint(step: NetworkStep) -> bool:
    """Whether something of the weights that a step leaves must hold while later ones train them."""
    return type(step).constraint is not NetworkStep.constraint


def stores_weights(step: NetworkStep | FileStep) -> bool:
    """Whether the file has weights in another form than float32 after a step."""
    return step.stores_weights if isinstance(step, FileStep) else step.rounds_weights
