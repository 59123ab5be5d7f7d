"""What the composed YAML must look like; Hydra refuses other keys and types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class TrainSchema:
    """Types of `train.*`."""

    epochs: int = MISSING
    batch_size: int = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    shift: int = MISSING


@dataclass
class TeacherTrainSchema:
    """Types of `teacher_train.*`."""

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    shift: int | None = None


@dataclass
class Schema:
    """What the composed YAML must look like."""

    data: Any = MISSING
    model: Any = MISSING
    compress: Any = MISSING
    train: TrainSchema = field(default_factory=TrainSchema)
    teacher_train: TeacherTrainSchema = field(default_factory=TeacherTrainSchema)
    weights: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    seeds_together: str = "auto"
    checkpoint_seconds: float = 30.0
    again: bool = False
    retrain: bool = False
    outputs: str = "outputs"
