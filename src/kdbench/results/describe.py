"""A run in the words of its row: what was run, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from kdbench.compress.order import teachers_of
from kdbench.results.row import Row
from kdbench.settings import earlier_run
from kdbench.settings.config import Config
from kdbench.settings.network import WHOLE, NetworkSpec, knobs_in_words
from kdbench.settings.normalisation import DATA


def row_of(config: Config, figures: Mapping[str, Any], environment: Mapping[str, Any], together: int) -> Row:
    """Return the row: what was run, the `figures` measured, and the `environment`, both by their columns.

    `together` is how many seeds were trained as one network.
    """
    network, teachers = config.network, teachers_of(config.network)
    members = [] if teachers or not network.teachers else [f"members={1 + len(network.teachers)}"]
    beside = [words_of_teacher(other, network, config.files) for other in network.teachers]
    seeds = {teacher.seed for teacher in teachers}
    return Row(
        dataset=config.data.name,
        model=network.name,
        compress=config.compress,
        teacher="+".join(map(name_of_teacher, teachers)) or None,
        teacher_seed=seeds.pop() if len(seeds) == 1 else None,
        settings=" ".join([*config.settings.split(), *members]),
        architecture=" ".join(words_of_architecture(network)),
        recipe=" ".join(words_of_recipe(network)),
        weights=name_of_weights(network, config.files),
        origin=origin(network),
        teacher_settings=" ".join(beside) or None,
        seed=network.seed,
        **figures,
        device=config.device,
        precision=config.precision,
        seeds_together=together,
        **environment,
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        code_hash=config.code["row"],
        config_hash=config.hash,
        variant_hash=config.variant,
        network_hash=config.network_hash,
        teacher_hash=teacher_hash(config),
        data_fingerprint=config.data.fingerprint,
    )


def teacher_hash(config: Config) -> str | None:
    """Return the `network_hash` of the teacher's own runs; None where there is no teacher, or more than one."""
    return config.teacher_hash if teachers_of(config.network) else None


def origin(network: NetworkSpec) -> str:
    """Return where the weights before any compression come from."""
    if network.weights is None:
        return "trained"
    return "fine-tuned" if network.recipe.epochs else "given"


def name_of_teacher(teacher: NetworkSpec) -> str:
    """Return the name of a teacher's model, and of what was done to it."""
    return f"{teacher.name}-{teacher.compress}" if teacher.steps else teacher.name


def words_of_architecture(network: NetworkSpec) -> list[str]:
    """Return the knobs of a model, and how pixels are shown to it, as words."""
    normalise = [f"normalise={network.normalise}"] if network.normalise != DATA else []
    view = [f"view={network.view}"] if network.view != WHOLE else []
    return [*knobs_in_words(network.model, "model.").split(), *normalise, *view]


def words_of_recipe(network: NetworkSpec) -> list[str]:
    """Return how a network is trained as words."""
    left_out = [f"weights_except={'+'.join(network.weights_except)}"] if network.weights_except else []
    return [*(f"train.{name}={value}" for name, value in asdict(network.recipe).items()), *left_out]


def name_of_weights(network: NetworkSpec, files: Mapping[str, str]) -> str | None:
    """Return name and content of the file of given weights; `files` are checksums by path."""
    path = network.weights
    return f"{earlier_run.name_of_weights(path)}:{files[str(path)][:8]}" if path else None


def words_of_teacher(teacher: NetworkSpec, student: NetworkSpec, files: Mapping[str, str]) -> str:
    """Return the knobs of a teacher as words, such as `teacher.train.epochs=6`.

    A seed that follows the student's is said as its distance: `teacher.seed=+1`.
    """
    apart = teacher.seed - student.seed
    seed = f"teacher.seed={teacher.seed}" if teacher.seed_is_fixed else f"teacher.seed={apart:+d}" if apart else ""
    steps = [knobs_in_words(step.method, "teacher.compress.") for step in teacher.steps]
    steps += [
        f"teacher.compress.transfer={word_of_data(step.transfer.name, step.transfer.loader)}"
        for step in teacher.steps
        if step.transfer
    ]
    others = [
        f"teacher.{word}"
        for step in teacher.steps
        for other in step.teachers
        for word in words_of_teacher(other, teacher, files).split(" ")
    ]
    weights = [f"weights={name_of_weights(teacher, files)}"] if teacher.weights else []
    own = [f"teacher.{word}" for word in (*words_of_architecture(teacher), *words_of_recipe(teacher), *weights)]
    return " ".join(filter(None, [f"teacher.model={teacher.name}", seed, *own, *steps, *others]))


def word_of_data(name: str, loader: Mapping[str, Any]) -> str:
    """Return a data set that was learnt from as one word: its name and knobs, of several in a list."""
    parts = loader.get("parts")
    if parts:
        return f"[{','.join(word_of_data(part['name'], part['loader']) for part in parts)}]"
    knobs = knobs_in_words(loader).split()
    return f"{name}({','.join(knobs)})" if knobs else name
