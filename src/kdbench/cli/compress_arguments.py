"""What `kdbench compress` is given, as settings of `kdbench run`: a network in one of its forms, methods, data."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import BadSetting, nearest
from kdbench.settings import own_folder
from kdbench.settings.choices import config_dir, options, read

OF_FILES = ("quantize", "quantize_static")  # what can be done to a file whose layers cannot be trained
OF_NETWORKS = (*OF_FILES, "prune", "prune_distill_quantize")
TRAINED = ("distill",)  # besides, where the network is trained here


@dataclass(frozen=True)
class Form:
    """What a network was given as: the settings that choose it, and what may be done to it."""

    name: str
    settings: list[str]
    teacher: dict[str, str]  # the same, as the description of a teacher
    methods: tuple[str, ...]  # done where none are named
    file: Path | None = None  # of a network that is an ONNX file, whose layers cannot be trained
    folder: str | None = None  # of its Python


def form_of(options: argparse.Namespace) -> Form:
    """Return what NETWORK is. Raises `BadSetting` if it is nothing that can be compressed."""
    text, folder = options.network, options.config_dir
    file, _, name = text.rpartition(":")
    if text.endswith(".onnx"):
        if options.weights:
            raise BadSetting(f"{text} holds its weights: leave --weights out")
        path = existing(text)
        given = {"weights": quoted(path), "train.epochs": "0"}
        settings = ["model=onnx", *(f"{key}={value}" for key, value in given.items())]
        return Form(path.stem, settings, {"model": "onnx", **given}, OF_FILES, path, folder)
    if file.endswith(".py") and name.isidentifier():
        path = existing(file)
        require_defined(name, path)
        target, folder = f"{path.stem}.{name}", str(path.parent)
        if options.config_dir and Path(options.config_dir).resolve() != path.parent:
            raise BadSetting(f"--config-dir {options.config_dir} is not the folder of {file}: leave it out")
        model = {"model": "python", "model._target_": target}
    elif "." in text and all(part.isidentifier() for part in text.split(".")) and folder:
        target, model = text, {"model": "python", "model._target_": text}
    else:
        known = list_of_models(folder)
        if text not in known:
            hint = nearest(text, known) if "." not in text and "/" not in text else "type FILE.onnx or FILE.py:CLASS"
            raise BadSetting(f"NETWORK {text} is no ONNX file, no Python class and no model: {hint}")
        target, model = text, {"model": text}
    given = {"weights": quoted(existing(options.weights))} if options.weights else {}
    trained = any(setting.startswith("train.epochs=") for setting in options.settings) or not given
    if not trained:
        given["train.epochs"] = "0"
    settings = [f"{key}={value}" for key, value in (model | given).items()]
    methods = (*OF_NETWORKS, *TRAINED) if trained else OF_NETWORKS
    return Form(target.rpartition(".")[2].lower(), settings, model | given, methods, folder=folder)


def shared_out(typed: Sequence[str], form: Form) -> tuple[list[str], list[str]]:
    """Return which settings are for the network itself, and which for those that it is distilled into."""
    network = [setting for setting in typed if not (form.file and setting.startswith("train."))]
    return network, [setting for setting in typed if not is_of_network(setting)]


def is_of_network(setting: str) -> bool:
    """Whether a setting says what the given network is."""
    return setting.lstrip("+").startswith(("model.", "normalise=", "weights_except="))


def teacher_of(form: Form, typed: Sequence[str]) -> dict[str, str]:
    """Return the network as the description of a teacher, with what of the settings `typed` makes it what it is."""
    described = dict(form.teacher)
    for setting in typed:
        name, _, value = setting.lstrip("+").partition("=")
        if is_of_network(setting) or name.startswith("train."):
            described[name] = value if value[:1] in "'\"[{" else f"'{value}'" if {*",:/"} & {*value} else value
    return described


def methods_of(given: argparse.Namespace, form: Form) -> tuple[list[str], dict[str, str]]:
    """Return the methods to apply, and those that were asked for and cannot be, with the reason."""
    known = options("compress", [*([Path(given.config_dir)] if given.config_dir else []), config_dir()])
    if not given.methods:
        return list(form.methods), {}
    asked: dict[str, None] = {}
    followed = [setting for setting in given.settings if setting in known]
    if followed:
        raise BadSetting(f"methods are joined by commas: --methods {','.join([given.methods, *followed])}")
    for word in given.methods.split(","):
        family = word.removesuffix("_all")
        members = [name for name, path in known.items() if f".{family}." in str(read(path).get("_target_"))]
        if word in known:
            asked[word] = None
        elif word.endswith("_all") and members:
            asked |= dict.fromkeys(name for name in members if not (form.file and trains(read(known[name]))))
        else:
            raise BadSetting(f"--methods {word} is unknown: {nearest(word, known)}")
    asked.pop("baseline", None)
    if not form.file:
        return list(asked), {}
    left = {name: "it trains layers, which an ONNX file has none of" for name in asked if trains(read(known[name]))}
    return [name for name in asked if name not in left], left


def trains(compression: dict[str, object]) -> bool:
    """Whether a compression has a step that changes a network, and not its file."""
    from kdbench.compress.step import NetworkStep
    from kdbench.settings import targets

    steps = compression.get("steps", [compression])
    named = [step.get("_target_") for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    found = [targets.locate(str(target)) for target in named if target]
    return any(isinstance(one, type) and issubclass(one, NetworkStep) for one in found)


def data_of(given: argparse.Namespace, form: Form) -> list[str]:
    """Return the settings that choose the data. Raises `BadSetting` if there are none of that name."""
    if Path(given.data).is_dir():
        typed = {setting.partition("=")[0] for setting in given.settings}
        wanted = size_settings(form.file) if form.file else {}
        sizes = [f"{name}={value}" for name, value in wanted.items() if name not in typed]
        return ["data=image_folder", f"data.root={quoted(Path(given.data).resolve())}", *sizes]
    known = options("data", [*([Path(given.config_dir)] if given.config_dir else []), config_dir()])
    if given.data not in known:
        raise BadSetting(f"--data {given.data} is neither a folder nor a data set: {nearest(given.data, known)}")
    return [f"data={given.data}"]


def size_settings(path: Path) -> dict[str, str]:
    """Return the size and channels that an ONNX file takes, as settings of a folder of images; {} if that is free."""
    from kdbench.models.onnx_ends import image_shape
    from kdbench.models.onnx_graph import parsed

    shape = image_shape(parsed(path.read_bytes()))
    if shape is None:
        return {}
    return {"data.size": str(shape[1]), "data.channels": str(shape[0]), "data.convert_channels": "true"}


def list_of_models(folder: str | None) -> list[str]:
    """Return the models that can be chosen by name."""
    if folder:
        own_folder.serve(Path(folder))
    return list(options("model", [*([Path(folder)] if folder else []), config_dir()]))


def require_models(names: str, folder: str | None) -> None:
    """Raise `BadSetting` unless every one of `names`, joined by commas, is a model that can be chosen."""
    known = list_of_models(folder)
    for name in names.split(","):
        if name not in known:
            raise BadSetting(f"--into {name} is no model: {nearest(name, known)}")


def existing(name: str) -> Path:
    """Return the path of a file. Raises `BadSetting` if there is none."""
    path = Path(name).expanduser().resolve()
    if not path.exists():
        raise BadSetting(f"there is no file {name}")
    return path


def require_defined(name: str, path: Path) -> None:
    """Raise `BadSetting` unless a Python file, which is not run, may define `name` at its top."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        place = f", line {error.lineno}" if getattr(error, "lineno", None) else ""
        raise BadSetting(f"{path}{place}: {getattr(error, 'msg', error)}") from error
    classes, others = [], set()
    for node in at_top(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            classes.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            others |= {alias.asname or alias.name for alias in node.names}
        else:  # which may give a name a value
            others |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    if name not in others.union(classes) and "*" not in others:
        raise BadSetting(f"{path.name} has no {name}: {nearest(name, classes)}")


def at_top(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements of a file that are in no function and no class, those in `if` and `try` included."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from at_top(child)
        elif isinstance(child, ast.stmt):
            yield child


def quoted(path: Path) -> str:
    """Return a path as Hydra takes it whatever is in it."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"
