"""Texts without what nobody else may read: tokens, passwords, cookies, the queries of addresses, personal folders."""

import re
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

_LONGEST_BEGINNING = 65_536
_HIDDEN = "[hidden]"
_NAMED = (
    "(?:access|refresh|id|hf|hub|auth|oauth)_token|(?<![a-z_])token|client_secret|secret_key|(?<![a-z_])secret|password"
    "|passwd|api_?key|authorization"
)
_IS = r"(?:[\"']?\s{0,3}[:=]|[\"'],)\s{0,3}b?[\"']?"  # as in `name=x`, `"name": "x"` and `(b"name", b"x")`
# Each runs in time that is proportional to the text, whatever a stranger puts into it.
_SECRETS = tuple(
    (re.compile(pattern, re.IGNORECASE), put)
    for pattern, put in (
        (rf"(cookie{_IS}).*", rf"\1{_HIDDEN}"),
        (r"://[^\s/@]{1,500}@", f"://{_HIDDEN}@"),
        (r"\?[\w.%-]{1,100}=[^\s\"'<>]*", f"?{_HIDDEN}"),
        (r"eyJ[\w+/=-]{10,}(?:\.[\w+/=-]+)*", _HIDDEN),  # a JWT, and the signed cookie of a login: JSON in base64
        (r"hf_oauth_[\w.-]{8,}|api_org_\w{8,}|hf_[a-z0-9]{12,}", _HIDDEN),
        (r"\bbearer\s{1,3}[\w.~+/=-]{6,}", f"Bearer {_HIDDEN}"),
        (
            rf"((?:{_NAMED}){_IS})(?:(?:basic|bearer)\s{{1,3}})?[^\s\"'&,;)}}\]]+",
            rf"\1{_HIDDEN}",
        ),
        (r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", _HIDDEN),
    )
)

Clean = Callable[[str], str]


def cleaning(home: Path, known: Iterable[str] = ()) -> Clean:
    """A function that takes secrets, the queries of addresses and the names of personal folders out of a text.

    Args:
        home: written as `<home>`.
        known: secrets that nothing in their form tells from other words.
    """
    exact = [(re.compile(re.escape(secret)), _HIDDEN) for secret in known if len(secret) >= 8]
    folders = {home: "<home>"}
    with suppress(RuntimeError):  # the system knows no home of this user
        folders.setdefault(Path.home(), "~")
    for folder, short in folders.items():
        if folder != folder.parent:
            for written in {str(folder), str(folder).replace("\\", "\\\\")}:
                exact.append((re.compile(re.escape(written) + r"(?![\w-])"), short))

    def clean(text: str) -> str:
        for pattern, put in (*exact, *_SECRETS):
            text = pattern.sub(put, text)
        return text

    return clean


def told(clean: Clean, text: str, most: int) -> str:
    """A text without secrets, about `most` characters at most; cut twice, so that no half secret stays at a cut."""
    return _shortened(clean(_shortened(text, 4 * most)), most)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"


class CleanStream:
    """A text stream that takes secrets out of what is printed, line by line, and lets nobody fail who prints."""

    def __init__(self, stream: TextIO, clean: Clean) -> None:
        self._stream, self._clean, self._begun, self._lock = stream, clean, "", threading.RLock()

    def write(self, text: str) -> int:
        """Pass on the lines that are whole now."""
        with self._lock:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._pass_on(lines + end)
            if len(self._begun) > _LONGEST_BEGINNING:
                self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Pass on several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on what there is of a line."""
        with self._lock:
            begun, self._begun = self._begun, ""
            self._pass_on(begun)

    def _pass_on(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the disk is full, or the stream was closed
            self._stream.write(self._clean(text))
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def clean_streams(clean: Clean) -> None:
    """Let whatever this process prints from here on pass through `clean`."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:
            setattr(sys, name, CleanStream(stream, clean))
