"""The command line: `python -m core inspect | search | train | estimate | evaluate | predict | publish`.

JSON is the last line of stdout, progress and sentences go to stderr. Exit 0 done, 1 failed, 2 bad input.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn

from core import settings as place
from core.commands import COMMANDS, RunFailedError
from core.data.shapes import SHAPES
from core.errors import UserError
from core.processes import end_with
from core.spec import AUGMENTATIONS
from core.terminal import Terminal

_FIX_HELP = "recommended, all, none, or codes of findings such as duplicate_rows,html or rare_labels:other"

# What the person did not cause and cannot mend by other input.
_NOT_THEIR_INPUT = (
    "disk_full", "push_failed", "download_failed", "out_of_memory", "estimate_busy", "estimate_while_training",
    "estimate_failed",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and leaves with 2."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message}\n")
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    top = _Parser(prog="python -m core", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, parser_class=_Parser)

    def add(name: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name)
        command.add_argument(
            "--home", type=Path, help="folder of runs and data; else TUNING_FORK_HOME, else a folder of yours"
        )
        return command

    inspect = add("inspect")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--task", help=f"what it is for: {', '.join(SHAPES)}; guessed where left out")
    _columns(inspect)
    inspect.add_argument("--fix", metavar="FIXES", help=_FIX_HELP)
    inspect.add_argument("--out", type=Path, help="where to write the mended table: .csv, .jsonl or .parquet")
    _reading(inspect)

    search = add("search")
    search.add_argument("words", help="words in the name of a model on the Hub")
    search.add_argument("--task", default="classification", help="what it shall do")
    search.add_argument("--limit", type=int, default=20)

    train = add("train")
    _training(train)
    train.add_argument("--name", default="")

    _training(add("estimate"))

    evaluate = add("evaluate")
    evaluate.add_argument("--model", required=True, help="a run's id or a folder")
    evaluate.add_argument("--data", type=Path, required=True)
    evaluate.add_argument("--text", help="column that the model reads")
    evaluate.add_argument("--label", help="column with the wanted answers")
    _columns(evaluate)
    _settings(evaluate)

    predict = add("predict")
    predict.add_argument("--model", required=True, help="a run's id or a folder")
    predict.add_argument("sentence", nargs="?", help="one text to answer")
    predict.add_argument("--data", type=Path)
    predict.add_argument("--text", help="column with the text")
    _columns(predict)
    _settings(predict)
    predict.add_argument("--out", type=Path)

    publish = add("publish")
    publish.add_argument("--model", required=True, help="a run's id")
    publish.add_argument("--repo", required=True, help="name, or owner/name, on the Hub")
    publish.add_argument("--public", action="store_true")
    return top


def _training(command: argparse.ArgumentParser) -> None:
    """Flags for a training."""
    command.add_argument("--task", default="classification", help=", ".join(SHAPES))
    command.add_argument("--data", type=Path, required=True)
    _columns(command)
    command.add_argument("--text", help="column that the model reads; guessed where left out")
    command.add_argument("--label", help="column that it shall learn to say; guessed where left out")
    command.add_argument("--test", type=Path, help="a second file with the test rows")
    command.add_argument("--fix", metavar="FIXES", default="recommended", help=_FIX_HELP)
    command.add_argument("--split-column", help="column that says which rows are for training, validation and test")
    command.add_argument("--group-column", help="rows with the same value of this column stay together")
    command.add_argument(
        "--augment", metavar="METHODS", help=f"changed copies of training rows: {', '.join(AUGMENTATIONS)}"
    )
    command.add_argument("--copies", type=float, default=1.0, help="changed copies for each training row")
    command.add_argument("--balance", action="store_true", help="more copies for smaller classes")
    _reading(command)
    command.add_argument("--model", default="starter", help="starter, a Hub id, a folder, or a run's id")
    _settings(command)


def _columns(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="ROLE=COLUMN",
        help="a column by hand, such as source=German; several with commas between",
    )


def _settings(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting by hand, such as epochs=3, method=lora or beams=4",
    )


def _reading(command: argparse.ArgumentParser) -> None:
    """Flags for what is otherwise found out about a file."""
    command.add_argument("--encoding", help="such as gbk or cp1252")
    command.add_argument("--delimiter", help="character between cells; tab for a tab")
    command.add_argument("--title-rows", type=int, help="rows above the header to pass over")
    command.add_argument("--header", choices=("yes", "no"), help="whether the first row holds the names")
    command.add_argument("--part", help="sheet of a workbook, list in a JSON document, file in an archive")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    given = parser().parse_args(arguments)
    settings = place.from_environment(given.home)
    terminal = Terminal(place.terminal_language())
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        answer = COMMANDS[given.command](given, settings, terminal)
    except UserError as error:
        terminal.error(error)
        return 1 if error.code in _NOT_THEIR_INPUT else 2
    except RunFailedError as failed:
        terminal.error(UserError(failed.code, **failed.facts))
        sys.stdout.write(json.dumps(failed.answer, ensure_ascii=False) + "\n")
        return 1
    sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    end_with(main)
