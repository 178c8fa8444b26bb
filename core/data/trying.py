"""Some changed copies of training rows, to look at before they are used: made by a bounded child, as the real ones are.

`python -m core.data.trying OPTIONS` is that child.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from core.data import reading
from core.data.doctor.base import Sheet
from core.data.doctor.examining import examine
from core.data.shapes import SHAPES
from core.data.survey import Question, frames, question
from core.errors import UserError
from core.processes import end_with, limit_self
from core.settings import Limits, Settings
from core.spec import AugmentChoice

_SHOWN = 6


def copies(settings: Settings, asked: Question, choice: AugmentChoice) -> list[dict[str, Any]]:
    """A few copies of training rows beside their originals: `row`, `label`, `method`, `before`, `after`.

    Raises:
        UserError: `check_too_heavy`, and what keeps the table from being trained on.
    """
    told = {"question": asked.as_dict(), "choice": choice.model_dump(), "limits": asdict(settings.limits)}
    code, output = reading.run(settings, "core.data.trying", [json.dumps(told)], settings.limits.doctor_wall)
    if code != 0:
        raise UserError("check_too_heavy")
    answer = json.loads(output)
    if "error" in answer:
        raise UserError(answer["error"]["code"], **answer["error"]["facts"])
    shown: list[dict[str, Any]] = answer["shown"]
    return shown


def look(asked: Question, choice: AugmentChoice, limits: Limits) -> list[dict[str, Any]]:
    """The same in this process."""
    from core.data import preparing
    from core.data.augmenting import preview

    frame, test = frames(asked)
    by_column = asked.split.column if asked.split.method == "column" else None
    sheet = Sheet(frame, SHAPES[asked.task], asked.columns, limits, test, by_column)
    split = preparing.prepare_examined(
        sheet,
        examine(sheet, asked.fixes),
        validation_fraction=asked.validation_fraction,
        test_fraction=asked.test_fraction,
        seed=asked.seed,
        split=asked.split,
    )
    return preview(split.train, choice, asked.seed, _SHOWN)


def main() -> None:
    """Answer one request on stdout."""
    told = json.loads(sys.argv[1])
    limits = Limits(**told["limits"])
    limit_self(limits.doctor_memory, limits.doctor_cpu)
    try:
        shown = look(question(told["question"]), AugmentChoice.model_validate(told["choice"]), limits)
        answer: dict[str, Any] = {"shown": shown}
    except UserError as error:
        answer = {"error": error.as_dict()}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    end_with(main)
