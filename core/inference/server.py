"""The process of one loaded model: `python -m core.inference.server FOLDER TASK`. A line of JSON in, a line out.

It ends when its input is closed, so it never outlives the page.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from core.device import Device, detect
from core.errors import UserError
from core.quiet import quiet_libraries
from core.tasks.base import Task, find


def serve(folder: Path, task: Task) -> None:
    """Answer `{"texts": […]}` by `{"predictions": […]}` or `{"error": {"code", "facts"}}` until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the answers
    device = detect()
    try:
        model, tokenizer = task.reload(folder)
        _answer(answers, {"ready": True})
    except UserError as error:
        _answer(answers, {"error": error.as_dict()})
        return
    for line in sys.stdin:
        _answer(answers, _predict(task, model, tokenizer, json.loads(line)["texts"], device))


def _predict(task: Task, model: Any, tokenizer: Any, texts: list[str], device: Device) -> dict[str, Any]:
    try:
        predictions = task.predict(model, tokenizer, texts, device)
    except Exception:  # noqa: BLE001 (the process's edge: one bad text must not end it)
        traceback.print_exc()
        return {"error": {"code": "predict_failed", "facts": {}}}
    return {"predictions": [[p.label, p.confidence, p.probabilities] for p in predictions]}


def _answer(answers: Any, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content, ensure_ascii=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    quiet_libraries()
    serve(Path(sys.argv[1]), find(sys.argv[2]))
