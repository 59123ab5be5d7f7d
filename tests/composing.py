"""Hydra, which composes several times a command, a fifth of a second each time: the same is composed once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobRuntime

from kdbench.settings.composing import stamps

_load = ConfigLoaderImpl._load_configuration_impl
_merge = ConfigLoaderImpl._compose_config_from_defaults_list
_read = ConfigRepository.load_config
_known: dict[str, bytes] = {}
_origin = ""  # of what is composed now


def quickened(patch: Any) -> None:
    """Let Hydra keep what it composes, until a file that it composes from changes. `patch`: pytest's monkeypatch."""
    patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", load_once)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once)
    patch.setattr(ConfigRepository, "load_config", read_once)
    # It copies the whole store for every composition, and again each node that it takes from the copy.
    patch.setattr(ConfigStore, "__deepcopy__", lambda store, _: store, raising=False)


def origin(repository: Any) -> str:
    """Return what all that is composed depends on: where it is looked for, and which files are there."""
    sources = repository.get_sources()
    files = [stamps(Path(source.path)) for source in sources if source.scheme() == "file"]
    return repr(([(source.provider, source.path) for source in sources], files))


def load_once(
    self: Any,
    config_name: str,
    overrides: list[str],
    run_mode: Any,
    from_shell: bool = True,
    validate_sweep_overrides: bool = True,
) -> Any:
    """Return what was composed of the same words, once they are checked, in the folder of now."""
    global _origin
    _origin = origin(self.repository)
    job = JobRuntime.instance().get("name"), version.getbase()
    key = repr((config_name, overrides, run_mode, job, _origin))
    if key not in _known:
        composed = _load(self, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        _known[key] = pickle.dumps(composed)
        return composed
    if validate_sweep_overrides:
        parsed = OverridesParser.create().parse_overrides(overrides)
        self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
    composed = pickle.loads(_known[key])
    composed.hydra.runtime.cwd = str(Path.cwd())
    return composed


def merge_once(self: Any, defaults: Any, repo: Any) -> Any:
    """Return what the same files were merged to: most words only change values in it."""
    chosen = [(one, one.override_key) for one in defaults]
    return made_once(repr((chosen, _origin)), lambda: _merge(self, defaults, repo))


def read_once(self: Any, config_path: str) -> Any:
    """Return what stands in a file."""
    return made_once(repr((config_path, _origin)), lambda: _read(self, config_path))


def made_once(key: str, make: Callable[[], object]) -> Any:
    """Return a copy of what was made under this key."""
    if key not in _known:
        _known[key] = pickle.dumps(make())
    return pickle.loads(_known[key])
