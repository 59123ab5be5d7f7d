"""What Hydra composes from: kdbench's choices and a folder of the user's own, in a process that may use Hydra too."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime

from kdbench.settings.choices import config_dir
from kdbench.settings.schema import Schema

SCHEMA = "schema"
SWEEPER = {
    "_target_": "hydra_plugins.kdbench_sweeper.KdbenchSweeper",
    "max_batch_size": None,  # runs in a launch
    "tries": 3,  # of a run whose worker is lost each time
    "params": None,
}
# Where Hydra keeps what it composes from: one object of each in a process.
STATE = (GlobalHydra, HydraConfig, JobRuntime, version.VersionBase)

_composing = threading.Lock()


def register() -> None:
    """Let Hydra know the schema that types are checked against, and the sweeper of multiruns."""
    ConfigStore.instance().store(name=SCHEMA, node=Schema, provider="kdbench")
    ConfigStore.instance().store(name="kdbench", group="hydra/sweeper", node=SWEEPER, provider="kdbench")


@contextlib.contextmanager
def searched(folders: Sequence[Path]) -> Iterator[None]:
    """A context, for one thread at a time, in which Hydra looks for choices in `folders`, kdbench's own the last.

    What the program has set up of Hydra is afterwards as it was.
    """
    with _composing:
        stored = ConfigStore.instance().repo
        theirs = stored.get(f"{SCHEMA}.yaml")
        before = {kind: Singleton._instances.pop(kind) for kind in STATE if kind in Singleton._instances}
        try:
            version.setbase("1.3")
            register()
            path = create_config_search_path(str(config_dir()))
            for own in folders[:-1]:  # where --config-dir puts it
                path.prepend("command-line", f"file://{own}", SearchPathQuery("schema", None))
            Hydra.create_main_hydra2("kdbench", path)
            yield
        finally:
            for kind in STATE:
                Singleton._instances.pop(kind, None)
            Singleton._instances.update(before)
            if theirs is not None:
                stored[f"{SCHEMA}.yaml"] = theirs
