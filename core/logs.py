"""What happened, for who looks after the place: lines that cannot be forged, tell no secrets and stay few."""

import json
import logging
import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.redacting import Clean, clean_streams, cleaning, told
from core.settings import MEBIBYTE, Settings

log = logging.getLogger(__name__)
_FILES, _FILE_BYTES = 5, 2 * MEBIBYTE
_LONGEST_MESSAGE, _LONGEST_TRACEBACK = 8_000, 32_000
_LEFT_OUT = b"[...]\n"


@dataclass(frozen=True)
class Noted:
    """An error as it may be told to everybody.

    Attributes:
        code: of the `UserError`, or the exception's type, or the logger's name where there was no exception.
        time: ISO 8601, UTC.
    """

    code: str
    time: str


class LogFile(RotatingFileHandler):
    """Five files of two megabytes at most: `app.jsonl`, and the older `app.jsonl.1` to `app.jsonl.4`."""

    def __init__(self, path: Path, clean: Clean) -> None:
        super().__init__(path, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8", delay=True)
        self.setFormatter(_JsonLine(clean))
        self.last_error: Noted | None = None
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or pass over it where the disk does not take it."""
        if record.levelno >= logging.ERROR:
            self.last_error = Noted(_code(record), _time(record))
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        """Say once that the disk takes no lines, and try again with a file opened anew at the next line."""
        stream, self.stream = self.stream, None
        with suppress(OSError, ValueError):
            if stream:
                stream.close()
        if not self._told:
            self._told = True
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(f"{_time(record)} WARNING {__name__}: {_printable(repr(sys.exception()))}\n")

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = _torn(path)  # by a full disk or a power cut
        opened = super()._open()
        if torn:
            opened.write("\n")
        return opened


class _JsonLine(logging.Formatter):
    def __init__(self, clean: Clean) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": told(self._clean, _message(record), _LONGEST_MESSAGE),
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            traceback = told(self._clean, self.formatException(record.exc_info), _LONGEST_TRACEBACK)
            line["exception"] = {"type": type(error).__name__, "traceback": traceback}
        # Whatever is not plain ASCII is escaped: other line ends, half characters, marks that turn the reading order.
        return json.dumps(line, ensure_ascii=True)


class _ShortLine(logging.Formatter):
    def __init__(self, clean: Clean) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        words = told(self._clean, _message(record), _LONGEST_MESSAGE)
        error = f" ({type(record.exc_info[1]).__name__})" if record.exc_info and record.exc_info[1] else ""
        return _printable(f"{_time(record)} {record.levelname} {record.name}: {words}{error}")


def start(settings: Settings, name: str, known: Iterable[str] = ()) -> None:
    """Write what this process logs to `home/logs/<name>.jsonl`, and warnings to stderr as well, a short line each.

    Args:
        settings: where home is.
        name: of the file.
        known: see `core.redacting.cleaning`.
    """
    clean = cleaning(settings.home, known)
    clean_streams(clean)
    short = logging.StreamHandler(sys.stderr)
    short.setLevel(logging.WARNING)
    short.setFormatter(_ShortLine(clean))
    logging.raiseExceptions = False
    file = LogFile(settings.home / "logs" / f"{name}.jsonl", clean)
    logging.basicConfig(level=logging.WARNING, handlers=[file, short], force=True)
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended
    gather()
    log.setLevel(logging.INFO)
    log.info("started, %s", settings.place)


def start_plain(settings: Settings) -> None:
    """Write what this process logs and prints to its own streams, for people, without secrets."""
    clean_streams(cleaning(settings.home))
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")


def gather() -> None:
    """Let libraries that write their lines elsewhere write them where everybody does."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def last_error() -> Noted | None:
    """The newest error since the start, None where there was none or nothing was started."""
    return next((h.last_error for h in logging.root.handlers if isinstance(h, LogFile)), None)


def bound(path: Path, most: int = MEBIBYTE) -> None:
    """Take the middle out of a file of lines that a child appends to, so that `most` bytes are never passed for long.

    The first quarter of `most` and about as much of the end stay. The child need not know: it was given a file that
    was opened for appending, so its next line follows the new end. What it writes in the moment of the cut is lost.
    """
    if os.name == "nt" or not path.is_file() or path.stat().st_size <= most:
        return  # Windows has no such appending: a child would go on behind a hole of the old size
    with path.open("r+b") as file:
        beginning = file.read(most // 4)
        begun, marked, _ = beginning.partition(_LEFT_OUT)
        begun = begun if marked else beginning[: beginning.rfind(b"\n") + 1] or beginning
        file.seek(-(most // 4), os.SEEK_END)
        end = file.read()
        file.seek(0)
        file.write(begun + _LEFT_OUT + end[end.find(b"\n", 0, -1) + 1 :])
        file.truncate()


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        name = ended.thread.name if ended.thread else "?"
        log.error("the thread %s ended", name, exc_info=ended.exc_value)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 (whatever is logged may fail to say what it is)
        return str(record.msg) if isinstance(record.msg, str) else type(record.msg).__name__


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _code(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return record.name
    return error.code if isinstance(error, UserError) else type(error).__name__


def _torn(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
