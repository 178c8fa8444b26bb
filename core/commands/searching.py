"""`search`: models of the Hub to start from."""

import argparse
from dataclasses import asdict
from typing import Any

from core.hub import searching
from core.models.suggesting import search_tags
from core.settings import Settings
from core.tasks.base import find
from core.terminal import Terminal


def search(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Models on the Hub whose name has these words, and that can do the task here."""
    from huggingface_hub import get_token

    task = find(given.task)
    found = searching.search(given.words, settings, get_token(), task_tags=search_tags(task), limit=given.limit)
    return {"models": [asdict(one) for one in found]}
