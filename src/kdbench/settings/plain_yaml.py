"""YAML that may come from anyone, read as nothing but data."""

from __future__ import annotations

from typing import Any

import yaml


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases: a few lines of them can stand for billions of nodes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node. Raises `YAMLError` for an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds aliases")
        return super().compose_node(parent, index)


def load_plain(text: str) -> Any:
    """Return what the YAML text holds. Raises `YAMLError` on anything but plain data without aliases."""
    return yaml.load(text, Loader=PlainLoader)
