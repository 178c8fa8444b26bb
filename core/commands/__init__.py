"""What each command of the command line does: values in, the JSON answer out."""

import argparse
from collections.abc import Callable
from typing import Any

from core.commands.answering import evaluate, predict
from core.commands.inspecting import inspect
from core.commands.publishing import publish
from core.commands.searching import search
from core.commands.training import RunFailedError, estimate, train
from core.settings import Settings
from core.terminal import Terminal

__all__ = ["COMMANDS", "RunFailedError"]

COMMANDS: dict[str, Callable[[argparse.Namespace, Settings, Terminal], dict[str, Any]]] = {
    "inspect": inspect,
    "search": search,
    "train": train,
    "estimate": estimate,
    "evaluate": evaluate,
    "predict": predict,
    "publish": publish,
}
