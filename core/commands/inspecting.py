"""`inspect`: what a file is, and what is wrong with it."""

import argparse
from dataclasses import replace
from typing import Any

from core.commands.given import OWNER, fixes_named, options
from core.models.sizing import describe
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import ModelChoice, knobs
from core.terminal import Terminal


def inspect(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """What a file is and what is wrong with it."""
    from core.data.inspecting import Request
    from core.data.inspecting import inspect as look

    columns = dict(pair.partition("=")[::2] for pair in given.column)
    # A file to write without a word on fixes is wanted mended.
    fixes = fixes_named(given.fix if given.fix is not None else "recommended" if given.out else "none")
    first = knobs()
    length, batch = int(first["max_length"].default), int(first["batch_size"].default)
    runs = RunStore(settings.home)
    starter = describe(ModelChoice(), settings, runs, OWNER, max_length=length, batch_size=batch)
    asked = Request(given.file, given.task, columns, options(given), fixes, given.out)
    return look(replace(asked, tokenizer=starter.tokenizer, reads=starter.max_positions or None), settings)
