"""What stands in the header of a safetensors file beside its tensors. Imports neither torch nor safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST = 100 << 20  # bytes of a header, as safetensors has it


def metadata(path: Path) -> dict[str, str]:
    """Return the texts that whoever wrote the file put there, by their keys; {} of a file that is none."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: Any = json.loads(file.read(size)) if size <= LARGEST else None
        texts = header["__metadata__"]
        return {str(key): str(text) for key, text in texts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
