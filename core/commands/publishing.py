"""`publish`: a run's model to the Hub."""

import argparse
import getpass
import sys
from typing import Any

from core.commands.given import OWNER
from core.runs.store import RunStore
from core.settings import Settings
from core.terminal import Terminal


def publish(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Push a run's model to the Hub, private unless asked otherwise."""
    from huggingface_hub import get_token

    from core.publishing import hub

    runs = RunStore(settings.home)
    record = runs.find(given.model, OWNER)
    token = get_token()
    if not token and sys.stdin.isatty():
        terminal.say("token")
        token = getpass.getpass("")
    url = hub.push(runs, record.id, OWNER, repo=given.repo, token=token, settings=settings, private=not given.public)
    return {"run": record.id, "url": url, "private": not given.public}
