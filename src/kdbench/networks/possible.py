"""What a method refuses, such as a layer that there is not, it refuses before anything is trained."""

from __future__ import annotations

from dataclasses import replace

from kdbench.compress.order import method_of
from kdbench.compress.reshaped import gives_other_layers
from kdbench.compress.step import Examples, NetworkStep
from kdbench.models.trained_on import require_to_teach
from kdbench.networks.maker import Maker
from kdbench.networks.transfer import transfer_for
from kdbench.settings.network import NetworkSpec


def require_possible(maker: Maker, spec: NetworkSpec) -> None:
    """Raise `BadSetting` for what a step of `spec`, or of a teacher at any depth, refuses.

    Where a step before it, or one of a teacher's, gives other layers, they are known only when that is done, and it
    refuses then.
    """
    for number, step in enumerate(spec.steps):
        for teacher in step.teachers:
            if teacher.weights is not None and teacher.recipe.epochs == 0:
                require_to_teach(teacher.weights, maker.splits.class_names)
            require_possible(maker, teacher)
        method = method_of(step)
        if not isinstance(method, NetworkStep):
            continue
        transfer = transfer_for(step, maker.splits, method.needs_labels)
        networks = (replace(spec, steps=spec.steps[:number]), *step.teachers)
        if type(method).check is NetworkStep.check or any(map(has_other_layers, networks)):
            continue
        student, *teachers = (maker.initial(network).network for network in networks)
        method.check(student, teachers, Examples(transfer.train, maker.splits.val, maker.splits.class_names))


def has_other_layers(spec: NetworkSpec) -> bool:
    """Whether the network comes out of its steps with other layers than those that it begins with."""
    methods = [method_of(step) for step in spec.steps]
    return any(isinstance(one, NetworkStep) and gives_other_layers(one) for one in methods)
