"""Who draws the settings of the next trial, and who gives up a trial, in Optuna."""

from __future__ import annotations

import warnings

import optuna

WARM_UP_TRIALS = 5  # before which none is given up
HOPEFUL = 75.0  # percent of the trials that ended: who is below these after a third of the epochs is given up
ONCE = 1_000_000  # epochs between two such questions: asked after every epoch, it ended two trials of three


def sampler_of(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return what draws the settings: TPE (Bergstra et al. 2011), NSGA-II (Deb et al. 2002), or chance alone."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=16, seed=seed)
    with warnings.catch_warnings():
        # What knobs there are depends on the method, so each group of them is modelled by itself.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(n_startup_trials=8, multivariate=True, group=True, seed=seed)


def pruner_of(epochs: int) -> optuna.pruners.BasePruner:
    """Return what gives up a trial that is hopeless after a third of its `epochs`, at least two."""
    return optuna.pruners.PercentilePruner(HOPEFUL, WARM_UP_TRIALS, max(2, -(-epochs // 3)), ONCE)
