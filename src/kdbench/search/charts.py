"""Optuna's own charts of a search: how it went, what mattered, and the front of several objectives."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib
import optuna
from matplotlib import pyplot
from matplotlib.figure import Figure
from optuna.visualization import matplotlib as optunas

from kdbench.search.plan import Plan
from kdbench.storage import durable

LEAST = 4  # trials, of which a chart says anything


def drawn(study: optuna.Study, plan: Plan, folder: Path) -> list[Path]:
    """Write the charts of a study into `folder`, and return their files."""
    matplotlib.use("agg")
    complete = [one for one in study.get_trials(deepcopy=False) if one.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < LEAST:
        return []
    names = list(plan.objectives)
    ways: dict[str, Callable[[], object]] = {}
    several = len(names) > 1
    for place, (name, how) in enumerate(plan.objectives.items()):
        sign = -1 if how == "maximise" else 1

        def value(trial: optuna.trial.FrozenTrial, place: int = place) -> float:
            return float(trial.values[place])

        def cost(trial: optuna.trial.FrozenTrial, place: int = place, sign: int = sign) -> float:
            return sign * float(trial.values[place])  # of targets, the evaluator takes the low ones for the good ones

        ways[f"history_{name}"] = lambda value=value, name=name: optunas.plot_optimization_history(
            study, target=value if several else None, target_name=name
        )
        ways[f"importance_{name}"] = lambda cost=cost, name=name: optunas.plot_param_importances(
            study, optuna.importance.PedAnovaImportanceEvaluator(), target=cost, target_name=name
        )
    if len(names) in (2, 3):
        ways["front"] = lambda: optunas.plot_pareto_front(study, target_names=names)
    files = []
    for name, draw in ways.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental in Optuna, and of targets
            try:
                axes = draw()
            except ValueError:  # too few trials have a knob for its importance
                continue
        figure = getattr(axes, "figure", axes)
        if isinstance(figure, Figure):
            content = io.BytesIO()
            figure.savefig(content, format="png", dpi=150, bbox_inches="tight")
            files.append(durable.folder(folder) / f"{name}.png")
            durable.write(files[-1], content.getvalue())
            pyplot.close(figure)
    return files
