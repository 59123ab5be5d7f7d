"""Weights that were trained elsewhere, put into a network whose names and shapes they have to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from kdbench.errors import BadSetting, nearest
from kdbench.models.network import Network, Normalise, fill, in_words
from kdbench.models.onnx_file import OnnxFile
from kdbench.models.weights_file import read
from kdbench.settings.normalisation import DATA

SHOWN = 4  # how many names that do not fit are listed
NORMALISATION = ("0.mean", "0.deviation")  # of a whole network, whose model is "1."
COUNTER = "num_batches_tracked"  # of batch norm; files of early versions of torch lack it, and nothing here reads it


def load_weights(
    network: Network, path: Path, model_name: str = "the model", normalise: str = "data", left_out: Sequence[str] = ()
) -> None:
    """Put the tensors of `path` into `network`; what is under the names `left_out`, such as `fc`, stays as it is.

    Their names are those of the model, or of the whole network with its normalisation, which then becomes that of
    `network`, unless `normalise` is another. Raises `BadSetting`, in one line that lists the first few under
    `model_name`, if names, shapes or types do not fit.
    """
    if isinstance(network.model, OnnxFile):
        network.model.load_file(path)
        if normalise == DATA:  # which is inside the file, if it has any
            network[0] = Normalise((0.0,), (1.0,))
        return
    tensors, own = read(path), network.model.state_dict()
    whole = any(name in tensors for name in NORMALISATION) and not own.keys() >= tensors.keys()
    prefix = "1." if whole else ""
    require_known(left_out, [*own, *(name.removeprefix(prefix) for name in tensors)], model_name)
    given = {name: tensor for name, tensor in tensors.items() if not under(name.removeprefix(prefix), left_out)}
    wanted = {prefix + name: tensor for name, tensor in own.items() if not under(name, left_out)}
    wanted |= {name: given.get(name, torch.zeros(())) for name in NORMALISATION if whole}  # of any shape
    head = next(reversed(own), "").rpartition(".")[0]
    require_fit(f"weights={path} do not fit {model_name}", wanted, given, prefix, head)
    fitted = {
        name: fitting(path, name.removeprefix(prefix), given[name], tensor)
        for name, tensor in wanted.items()
        if name in given
    }
    if whole:
        means, deviations = (fitted.pop(name).flatten().tolist() for name in NORMALISATION)
        network[0] = normalisation_of(path, means, deviations, network[0], normalise)
    fill(network.model, own | {name.removeprefix(prefix): tensor for name, tensor in fitted.items()})


def under(name: str, prefixes: Sequence[str]) -> bool:
    """Whether `name` is one of `prefixes`, or of something in it: `fc` holds `fc.weight`."""
    return any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


def require_known(left_out: Sequence[str], names: Sequence[str], model_name: str) -> None:
    """Raise `BadSetting` for a name that nothing has."""
    for prefix in left_out:
        if not any(under(name, [prefix]) for name in names):
            layers = dict.fromkeys(name.rpartition(".")[0] for name in names)
            raise BadSetting(f"weights_except={prefix} is nothing in {model_name}: {nearest(prefix, layers)}")


def require_fit(what: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], prefix: str, head: str) -> None:
    """Raise `BadSetting`, which begins with `what`, unless names and shapes are the same.

    Where they differ in nothing but `head`, the layer that gives the logits, it says what to type. `prefix` stands in
    front of the names that these have in the model.
    """
    plain = {name: name.removeprefix(prefix) for name in (*wanted, *given)}  # as the model has them
    missing = [f"{plain[name]} is missing" for name in wanted if name not in given and not name.endswith(COUNTER)]
    unknown = [f"{plain[name]} is unknown" for name in given if name not in wanted]
    # In turns, so that what the model wants and what the file has both stand among the first.
    problems = [problem for pair in zip_longest(missing, unknown) for problem in pair if problem]
    reshaped = [name for name, tensor in wanted.items() if name in given and given[name].shape != tensor.shape]
    only_head = not problems and all(under(plain[name], [head]) for name in reshaped)
    problems += [
        f"{plain[name]} is {in_words(given[name].shape)} there and {in_words(wanted[name].shape)} in the model"
        for name in reshaped
    ]
    if problems:
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        hint = f"; weights_except={head} trains that layer anew, for other classes"
        raise BadSetting(f"{what}: {', '.join(problems[:SHOWN])}{more}{hint if only_head else ''}")


def fitting(path: Path, name: str, given: Tensor, wanted: Tensor) -> Tensor:
    """Return `given` in the type of `wanted`. Raises `BadSetting` if one has real numbers and the other has not."""
    if given.is_floating_point() != wanted.is_floating_point() or given.is_complex() or given.is_quantized:
        kind = str(given.dtype).removeprefix("torch.")
        raise BadSetting(f"weights={path}: {name} holds {kind}, and the network takes float32: save it as that")
    converted = given.to(wanted.dtype)
    if not converted.isfinite().all():
        raise BadSetting(
            f"weights={path}: {name} holds NaN or infinity: its training diverged, or the file is damaged"
        )
    return converted


def normalisation_of(
    path: Path, means: Sequence[float], deviations: Sequence[float], own: Normalise, normalise: str
) -> Normalise:
    """Return the normalisation that stands in a file. Raises `BadSetting` if another was asked for."""
    if not means or len(means) != len(deviations) or min(deviations) <= 0:
        raise BadSetting(f"weights={path}: 0.mean and 0.deviation are not those of pixels, a channel at a time")
    theirs = Normalise(means, deviations)
    black_and_white = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    try:
        agree = torch.allclose(theirs(black_and_white), own(black_and_white), rtol=1e-4, atol=1e-5)
    except RuntimeError:  # for other channels
        agree = False
    if normalise != "data" and not agree:
        raise BadSetting(
            f"weights={path} bring their own normalisation, which normalise={normalise} is not: leave that out"
        )
    return theirs
