"""Asks a model in a process of its own: one is kept warm, it can be killed, and ends when nobody asks."""

import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from core.errors import UserError
from core.evaluation.answers import Asked, Prediction
from core.processes import spawn
from core.settings import Settings
from core.spec import Writing

Predictions = list[Prediction]
_LOADING_SECONDS = 120.0
_IDLE_SECONDS = 300.0
_LONGEST_TEXT = 100_000
# After these its process cannot be asked again; whatever else it says leaves it as it was.
_UNUSABLE = ("predict_timeout", "predict_ended")
# Of the time that an answer may take: a model that writes ends by itself then, and hands over what is there.
_PATIENCE = 1.5


class Predictors:
    """Answers from the model in a folder. Several threads may ask; they are served one after the other.

    Args:
        settings: where things are and how long an answer may take.
        idle: seconds without a question after which the process is ended.
    """

    def __init__(self, settings: Settings, idle: float = _IDLE_SECONDS) -> None:
        self._settings, self._idle = settings, idle
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._timer: threading.Timer | None = None

    def warm(self, folder: Path, task: str) -> None:
        """Load the model now, so that the first answer is quick.

        Raises:
            UserError: as `predict`.
        """
        with self._loaded(folder, task):
            pass

    def predict(self, folder: Path, asked: Sequence[Asked], task: str, writing: Writing | None = None) -> Predictions:
        """An answer for each text or conversation.

        Args:
            writing: how answers are written; None for how the model was judged.

        Raises:
            UserError: `text_empty`, `predict_timeout`, `predict_failed`, `predictor_busy` or why it cannot be loaded.
        """
        request = {"asked": _bounded(asked), "writing": writing.model_dump() if writing else None}
        with self._loaded(folder, task) as child:
            child.send(request)
            answer = child.read(self._patience)
        return [_prediction(found) for found in answer["predictions"]]

    def stream(self, folder: Path, asked: Asked, task: str, writing: Writing | None = None) -> Iterator[str]:
        """The answer to one text or conversation in pieces, as it is written.

        Whoever does not want the rest closes the generator: the model then stops writing.

        Raises:
            UserError: as `predict`.
        """
        request = {"asked": _bounded([asked]), "writing": writing.model_dump() if writing else None, "stream": True}
        with self._loaded(folder, task) as child:
            child.send(request)
            end = monotonic() + self._patience
            try:
                while "piece" in (answer := child.read(end - monotonic())):
                    yield str(answer["piece"])
            except GeneratorExit:
                child.send({"stop": True})
                while "piece" in child.read(end - monotonic()):
                    continue
                raise

    @property
    def _patience(self) -> float:
        return _PATIENCE * self._settings.limits.predict_timeout

    def forget(self, folder: Path) -> None:
        """End the process if it has the model of this folder loaded: as long as it has, deleting frees no disk."""
        with self._lock:
            if self._child and self._child.key[0] == str(folder):
                self._drop()

    def close(self, patience: float = 2.0) -> None:
        """End the process, also in the middle of an answer that takes longer than `patience` seconds."""
        mine = self._lock.acquire(timeout=patience)
        try:
            self._drop()
        finally:
            if mine:
                self._lock.release()

    @contextmanager
    def _loaded(self, folder: Path, task: str) -> "Iterator[_Child]":
        """The process of this model, for one question at a time."""
        if not self._lock.acquire(timeout=self._settings.limits.predict_timeout):
            raise UserError("predictor_busy")
        try:
            yield self._child_of(folder, task)
        except UserError as error:
            if error.code in _UNUSABLE:
                self._drop()
            raise
        finally:
            self._lock.release()

    def _child_of(self, folder: Path, task: str) -> "_Child":
        try:
            key = (str(folder), (folder / "config.json").stat().st_mtime_ns, task)
        except OSError as error:
            raise UserError("model_not_loadable", name=folder.name) from error
        if self._child is None or self._child.key != key or not self._child.alive():
            self._drop()
            self._child = _Child(self._settings, folder, task, key)
            try:
                self._child.read(_LOADING_SECONDS)
            except UserError:
                self._drop()
                raise
        self._end_when_idle()
        return self._child

    def _end_when_idle(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(self._idle, self._end_if_idle)
        self._timer.daemon = True
        self._timer.start()

    def _end_if_idle(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._lock.release()

    def _drop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        child, self._child = self._child, None
        if child:
            child.kill()


def _bounded(asked: Sequence[Asked]) -> list[Asked]:
    """What is asked, each text cut where no model reads on.

    Raises:
        UserError: `text_empty`.
    """
    if not asked:
        raise UserError("text_empty")
    found: list[Asked] = []
    for one in asked:
        bounded: Asked
        if isinstance(one, str):
            words, bounded = one, one[:_LONGEST_TEXT]
        else:
            bounded = [{"role": turn["role"], "content": turn["content"][:_LONGEST_TEXT]} for turn in one]
            words = bounded[-1]["content"] if bounded else ""
        if not words.strip():
            raise UserError("text_empty")
        found.append(bounded)
    return found


def _prediction(found: dict[str, Any]) -> Prediction:
    probabilities = tuple((str(name), float(p)) for name, p in found["probabilities"])
    return Prediction(found["answer"], found["confidence"], probabilities, tuple(found["labels"]))


class _Child:
    """One server process and the thread that reads its answers."""

    def __init__(self, settings: Settings, folder: Path, task: str, key: tuple[str, int, str]) -> None:
        self.key = key
        pipe = subprocess.PIPE
        self._process = spawn(
            settings, "core.inference.server", [str(folder), task], stdin=pipe, stdout=pipe, computes=True
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read_all, name="predictor-answers", daemon=True)
        self._reader.start()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def send(self, request: dict[str, Any]) -> None:
        """Ask.

        Raises:
            UserError: `predict_ended` when it is gone.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise UserError("predict_ended") from error

    def read(self, seconds: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            UserError: what the process says, `predict_timeout`, or `predict_ended` when it is gone.
        """
        end = monotonic() + seconds
        try:
            line = self._answers.get(timeout=max(0.0, end - monotonic()))
        except queue.Empty:
            raise UserError("predict_timeout", seconds=round(seconds)) from None
        if not line:
            raise UserError("predict_ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"]["code"], **answer["error"]["facts"])
        return answer

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    continue

    def _read_all(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")
