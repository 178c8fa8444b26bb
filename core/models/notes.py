"""What a result remembers of its making, inside its own `config.json`: its task, languages, instruction, thresholds."""

import json
from pathlib import Path
from typing import Any

# The key in the config. `transformers` keeps entries that it does not know, so any program still loads the model.
KEY = "tuning_fork"


def note(model: Any, **facts: Any) -> None:
    """Write facts (JSON-ready) into the model's config; they are saved with it."""
    setattr(model.config, KEY, notes(model) | facts)


def notes(model: Any) -> dict[str, Any]:
    """All facts of a loaded model; empty for one that was not made here."""
    found = getattr(model.config, KEY, None)
    return dict(found) if isinstance(found, dict) else {}


def notes_in(folder: Path) -> dict[str, Any]:
    """All facts of a model folder; empty where there are none."""
    try:
        found = json.loads((folder / "config.json").read_bytes()).get(KEY)
    except (OSError, ValueError, AttributeError):
        return {}
    return dict(found) if isinstance(found, dict) else {}
