"""What Hydra finds in the one namespace in which it looks for plugins: the sweeper of kdbench's multiruns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf


class KdbenchSweeper(BasicSweeper):
    """Every combination of what was typed, as Hydra's own sweeper makes them; kdbench says in what order.

    A job whose worker was lost is handed to the launcher again, which Hydra's own does not do.
    """

    def __init__(self, max_batch_size: int | None, tries: int, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size, params)
        self.tries = tries

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the jobs and return what they returned."""
        from kdbench.cli import hydra_app
        from kdbench.cli.elsewhere import Limits

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        [runs] = self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), None)
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")

        def compose(run: Sequence[str]) -> DictConfig:
            return self.hydra_context.config_loader.load_sweep_config(self.config, list(run))

        return hydra_app.launch_jobs(
            self.launcher, self.config, runs, Limits(self.max_batch_size, self.tries), compose
        )
