"""The child that downloads: `python -m core.hub.fetcher`, asked by pipe, answers with JSON lines."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from core import files, processes
from core.errors import UserError
from core.hub import answers, repos

_TRIES = 4
_READ_SECONDS = 20.0
_SECONDS_BETWEEN_NEWS = 0.3


class _News:
    """Counts bytes and tells the parent now and then."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self._say, self._told, self.bytes = say, 0.0, 0

    def add(self, count: int) -> None:
        self.bytes += count
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_NEWS:
            self.tell()
            self._told = now

    def tell(self) -> None:
        self._say({"bytes": self.bytes})


def download(request: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    """Write every file asked for into the folder named, synced to disk.

    Raises:
        UserError: `download_failed`, `token_invalid`, `disk_full`, and the kind's `gated`.
    """
    news, kind = _News(say), repos.KINDS[request["kind"]]
    timeout = httpx2.Timeout(_READ_SECONDS, connect=request["timeout"])
    name = repos.check_id(request["id"])
    base = f"{request['endpoint']}/{kind.prefix}{name}/resolve/{request['revision']}"
    # Redirects to another host (where large files lie) are followed by httpx2 without the token.
    with httpx2.Client(
        timeout=timeout, follow_redirects=True, max_redirects=5, headers=answers.headers(request["token"])
    ) as client:
        for path, size, called in request["files"]:
            if not repos.is_path(path) or not repos.is_path(called) or "/" in called:
                raise UserError("download_failed", name=name)
            try:
                arrived = _fetch(client, f"{base}/{quote(path)}", Path(request["folder"]) / called, size, news)
            except answers.RefusedError as refused:
                if refused.bad_token:
                    raise UserError("token_invalid") from refused
                raise UserError(kind.gated if refused.gated else "download_failed", name=name) from refused
            if not arrived:
                raise UserError("download_failed", name=name)
    news.tell()


def _fetch(client: httpx2.Client, url: str, target: Path, size: int, news: _News) -> bool:
    """Whether one file came whole; a broken connection is taken up where it broke.

    Raises:
        RefusedError: the Hub said no.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(min(2.0, 0.25 * 2**attempt))
        try:
            _stream(client, url, target, size, news)
        except httpx2.HTTPError:
            continue
        if target.stat().st_size == size:
            return True
    return False


def _stream(client: httpx2.Client, url: str, target: Path, size: int, news: _News) -> None:
    """Append what is missing; a file longer than announced is cut off at once."""
    have = target.stat().st_size if target.exists() else 0
    # Compressed on the way, the sizes would not be those on disk.
    asked = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=asked) as response:
        answers.raise_for(response)
        if have and response.status_code != httpx2.codes.PARTIAL_CONTENT:
            news.bytes, have = news.bytes - have, 0  # the server began anew
        with target.open("ab" if have else "wb") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                news.add(len(chunk))
                if file.tell() > size:
                    return
            file.flush()
            os.fsync(file.fileno())


def main() -> int:
    """Answer one request; the exit status is 0 also for an error that was said."""
    request, say = processes.requested()
    try:
        with files.disk_full_is_a_user_error():
            download(request, say)
    except UserError as error:
        say({"error": error.code, "facts": error.facts})
    return 0


if __name__ == "__main__":
    processes.end_with(main)
