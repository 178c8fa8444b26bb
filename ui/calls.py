"""What passes to gradio's own routes: a session is only of use to who opened it, and a file named is one on this disk.

gradio takes a session's id, which the browser makes up, for the right to read what the session shows; and a file whose
path is an address it fetches, from wherever that may be, before any handler is asked.
"""

import hashlib
import json
import shutil
import time
from collections import OrderedDict
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope

CALLS = frozenset({"/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/cancel"})
_HEARTBEAT = "/gradio_api/heartbeat/"
_NAMES = ("session_hash", "upload_id")
_DAY, _UPLOADS_A_DAY = 24 * 3600.0, 1000


class Pace:
    """How fast somebody may call: so often at once, then so often a second. Nobody fills the line for all others.

    Args:
        at_once: calls after a pause.
        a_second: calls that go on for ever.
        most: people who are remembered; who comes back after having been forgotten begins anew.
    """

    def __init__(self, at_once: int = 100, a_second: float = 20.0, most: int = 10_000) -> None:
        self._at_once, self._a_second, self._most = at_once, a_second, most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, owner: str) -> bool:
        """Whether one more call is not too much, which counts it."""
        now = time.monotonic()
        left, since = self._left.pop(owner, (float(self._at_once), now))
        left = min(float(self._at_once), left + (now - since) * self._a_second)
        self._left[owner] = (max(0.0, left - 1.0), now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return left >= 1.0


class Uploads:
    """How much each owner uploads. What becomes no table lies in gradio's folder until it is a day old.

    Args:
        folder: where uploads arrive.
        a_day: bytes that an owner may upload within a day.
        stay_free: bytes of the disk that no upload takes.
    """

    def __init__(self, folder: Path, a_day: int, stay_free: int, most: int = 10_000) -> None:
        self._folder, self._a_day, self._stay_free, self._most = folder, a_day, stay_free, most
        self._taken: OrderedDict[str, list[tuple[float, int]]] = OrderedDict()

    def allows(self, owner: str, size: int) -> bool:
        """Whether an upload has room, which counts it."""
        now = time.monotonic()
        taken = [(at, n) for at, n in self._taken.pop(owner, []) if now - at < _DAY]
        self._taken[owner] = taken
        if len(self._taken) > self._most:
            self._taken.popitem(last=False)
        if sum(n for _, n in taken) + size > self._a_day or len(taken) >= _UPLOADS_A_DAY:
            return False
        if shutil.disk_usage(_there(self._folder)).free - size < self._stay_free:
            return False
        taken.append((now, size))
        return True


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


class Line:
    """How many calls of one owner wait in gradio's queue, which all share: nobody takes all of its places.

    Args:
        queue: gradio's.
        most: calls of one owner that may wait; the queue itself takes 200.
    """

    def __init__(self, queue: Any, most: int = 40) -> None:
        self._queue, self._most = queue, most

    def has_room(self, owner: str) -> bool:
        """Whether one more call may wait."""
        mine, parts = _beginning(owner), self._queue.event_queue_per_concurrency_id.values()
        return sum(event.session_hash.startswith(mine) for part in parts for event in part.queue) < self._most


def own(name: str, owner: str) -> str:
    """A session's id as gradio is told it: whoever else uses the same one means another session.

    Its beginning is the same for all sessions of an owner.
    """
    return _beginning(owner) + _digest(f"{owner}\n{name}")


def _beginning(owner: str) -> str:
    return _digest(owner)[:8]


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:32]


def own_address(scope: Scope, owner: str) -> Scope:
    """The request with the sessions in its address made the owner's own."""
    path, query = scope["path"], scope["query_string"].decode("latin-1")
    if path.startswith(_HEARTBEAT):
        path = _HEARTBEAT + own(path.removeprefix(_HEARTBEAT), owner)
        return scope | {"path": path, "raw_path": path.encode()}
    asked = parse_qsl(query, keep_blank_values=True)
    if not path.startswith("/gradio_api/") or not any(name in _NAMES for name, _ in asked):
        return scope
    owned = [(name, own(value, owner) if name in _NAMES else value) for name, value in asked]
    return scope | {"query_string": urlencode(owned).encode("latin-1")}


async def own_call(scope: Scope, receive: Receive, owner: str) -> tuple[Scope, Receive]:
    """A call with the session in its body made the owner's own.

    Raises:
        ValueError: it is no call, or it names a file that is not on this disk.
    """
    content = b""
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        content += message.get("body", b"")
    call = json.loads(content)
    if not isinstance(call, dict) or names_foreign_file(call):
        raise ValueError("not a call of this page")
    if isinstance(call.get("session_hash"), str):
        call["session_hash"] = own(call["session_hash"], owner)
    content = json.dumps(call).encode()
    scope = scope | {"headers": list(scope["headers"])}
    MutableHeaders(scope=scope)["content-length"] = str(len(content))
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return scope, replay


def names_foreign_file(value: Any) -> bool:
    """Whether a file somewhere in a call's values lies elsewhere than in a folder of this machine."""
    if isinstance(value, list):
        return any(names_foreign_file(inner) for inner in value)
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("meta"), dict) and not _is_local(value.get("path")):
        return True
    return any(names_foreign_file(inner) for inner in value.values())


def _is_local(path: Any) -> bool:
    return isinstance(path, str) and PurePath(path).is_absolute()
