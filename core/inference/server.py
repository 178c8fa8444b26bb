"""The process of one loaded model: `python -m core.inference.server FOLDER TASK`. A line of JSON in, lines out.

`{"asked": […], "writing": {…} or null}` is answered by `{"predictions": […]}`; with `"stream": true` the one answer
comes as `{"piece": "…"}` lines and `{"done": true}`, and ends early when `{"stop": true}` is sent meanwhile. Trouble is
answered by `{"error": {"code", "facts"}}`. The process ends when its input is closed, so it never outlives the page.
"""

import json
import os
import queue
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from core.device import Device, detect
from core.errors import UserError
from core.processes import end_with
from core.quiet import quiet_libraries
from core.spec import Writing
from core.tasks.base import Task, find

_Requests = queue.Queue[dict[str, Any] | None]


def serve(folder: Path, task: Task) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the answers
    device = detect()
    try:
        model, tokenizer = task.reload(folder)
        _say(answers, {"ready": True})
    except UserError as error:
        _say(answers, {"error": error.as_dict()})
        return
    requests: _Requests = queue.Queue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    while (request := requests.get()) is not None:
        if "asked" not in request:
            continue  # a stop that came after the answer had ended
        try:
            _answer(answers, request, requests, (task, model, tokenizer, device))
        except UserError as error:
            _say(answers, {"error": error.as_dict()})
        except BaseException as error:  # the process's edge: one bad text must not end it, nor a panic of Rust code
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            traceback.print_exc()
            _say(answers, {"error": {"code": "predict_failed", "facts": {}}})


def _read(requests: _Requests) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    requests.put(None)


def _answer(
    answers: IO[str], request: dict[str, Any], requests: _Requests, loaded: tuple[Task, Any, Any, Device]
) -> None:
    task, model, tokenizer, device = loaded
    writing = Writing(**request["writing"]) if request.get("writing") else None
    if not request.get("stream"):
        predictions = task.predict(model, tokenizer, request["asked"], device, writing)
        _say(answers, {"predictions": [asdict(p) for p in predictions]})
        return
    for piece in task.stream(model, tokenizer, request["asked"][0], device, writing):
        _say(answers, {"piece": piece})
        if not requests.empty():
            break
    _say(answers, {"done": True})


def _say(answers: IO[str], content: dict[str, Any]) -> None:
    answers.write(json.dumps(content, ensure_ascii=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    quiet_libraries()
    end_with(serve, Path(sys.argv[1]), find(sys.argv[2]))
