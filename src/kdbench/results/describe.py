"""A run in the words of its row: what was run, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from kdbench.results.row import Row
from kdbench.settings.config import Config
from kdbench.settings.network import NetworkSpec, knobs_in_words


def row_of(config: Config, figures: Mapping[str, Any], environment: Mapping[str, Any], together: int) -> Row:
    """Return the row: what was run, the `figures` measured, and the `environment`, both by their columns.

    `together` is how many seeds were trained as one network.
    """
    network, teachers = config.network, config.teachers
    seeds = {teacher.seed for teacher in teachers}
    return Row(
        dataset=config.data.name,
        model=network.name,
        compress=config.compress,
        teacher="+".join(map(name_of_teacher, teachers)) or None,
        teacher_seed=seeds.pop() if len(seeds) == 1 else None,
        settings=config.settings,
        architecture=knobs_in_words(network.model, "model."),
        recipe=" ".join(f"train.{name}={value}" for name, value in asdict(network.recipe).items()),
        weights=f"{network.weights.name}:{config.files[str(network.weights)][:8]}" if network.weights else None,
        origin=origin(network),
        teacher_settings=" ".join(words_of_teacher(teacher, network) for teacher in teachers) or None,
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
        teacher_hash=config.teacher_hash,
        data_fingerprint=config.data.fingerprint,
    )


def origin(network: NetworkSpec) -> str:
    """Return where the weights before any compression come from."""
    if network.weights is None:
        return "trained"
    return "fine-tuned" if network.recipe.epochs else "given"


def name_of_teacher(teacher: NetworkSpec) -> str:
    """Return the name of a teacher's model, and of what was done to it."""
    return f"{teacher.name}-{teacher.compress}" if teacher.steps else teacher.name


def words_of_teacher(teacher: NetworkSpec, student: NetworkSpec) -> str:
    """Return the knobs of a teacher as words, such as `teacher.train.epochs=6`.

    A seed that follows the student's is said as its distance: `teacher.seed=+1`.
    """
    apart = teacher.seed - student.seed
    seed = f"teacher.seed={teacher.seed}" if teacher.seed_is_fixed else f"teacher.seed={apart:+d}" if apart else ""
    recipe = [f"teacher.train.{name}={value}" for name, value in asdict(teacher.recipe).items()]
    steps = [knobs_in_words(step.method, "teacher.compress.") for step in teacher.steps]
    others = [
        f"teacher.{word}"
        for step in teacher.steps
        for other in step.teachers
        for word in words_of_teacher(other, teacher).split(" ")
    ]
    weights = [f"teacher.weights={teacher.weights.name}"] if teacher.weights else []
    model = knobs_in_words(teacher.model, "teacher.model.")
    return " ".join(filter(None, [f"teacher.model={teacher.name}", seed, model, *recipe, *weights, *steps, *others]))
