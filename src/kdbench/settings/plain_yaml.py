"""YAML that is data and nothing else: what may come from anyone, such as the config.yaml of a run folder."""

from __future__ import annotations

from typing import Any

import yaml


class _Plain(yaml.SafeLoader):
    """Refuses aliases, a few lines of which can stand for billions of nodes, and tags, which name types."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, f"the alias *{event.anchor}", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, f"the tag {event.tag}", event.start_mark)
        return super().compose_node(parent, index)


def load_plain(text: str) -> Any:
    """Return what `text` holds: mappings, lists, texts, numbers, booleans and null.

    Raises `yaml.YAMLError` for anything else, and `RecursionError` for what is nested too deep.
    """
    return yaml.load(text, Loader=_Plain)
