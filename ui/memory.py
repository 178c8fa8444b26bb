"""Answers that are slow to find out and do not change: kept for a while, the oldest forgotten first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any


class Memory:
    """A small cache that is handed around, so that no module holds state."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._working: dict[Hashable, tuple[Lock, int]] = {}
        self._lock = Lock()

    def once(self, key: Hashable, find: Callable[[], Any]) -> Any:
        """The answer for a key, found out by `find` where it is not known. An exception is not remembered.

        Who asks while another is finding it out waits for that answer: nothing is worked out twice.
        """
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            working, waiting = self._working.get(key, (Lock(), 0))
            self._working[key] = (working, waiting + 1)
        try:
            with working:
                return self._found(key, find)
        finally:
            with self._lock:
                lock, waiting = self._working[key]
                if waiting > 1:
                    self._working[key] = (lock, waiting - 1)
                else:
                    del self._working[key]

    def knows(self, key: Hashable) -> bool:
        """Whether the answer is there at once."""
        with self._lock:
            return key in self._known

    def _found(self, key: Hashable, find: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._known:
                return self._known[key]
        answer = find()
        with self._lock:
            self._known[key] = answer
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return answer
