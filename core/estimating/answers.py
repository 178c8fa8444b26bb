"""Some real answers, and how long all of them would take."""

from dataclasses import dataclass
from itertools import cycle, islice
from statistics import mean
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from core.device import Device
from core.estimating.sampling import sample
from core.evaluation.answers import Answers
from core.models import notes
from core.models.adapting import merged
from core.spec import TrainSpec
from core.tasks.base import Task

if TYPE_CHECKING:
    import pandas as pd

Item = TypeVar("Item")
# Texts that are read at least; and at most, where that takes no longer than `_SECONDS`.
LEAST_READ, _MOST_READ = 16, 128
# Answers that are written at least, as fewer are written in another way; and at most.
_LEAST_WRITTEN, _MOST_WRITTEN, _SECONDS = 4, 16, 3.0
# Answers end after so many tokens, and then after so many: the difference is what a token takes.
_FEW, _MORE = 2, 10


@dataclass(frozen=True)
class Answered:
    """What was found out about answering.

    Attributes:
        answers: as many as were asked for, the real ones over and over again.
        trained: seconds that a trained model takes for all.
        untouched: seconds that the model takes before it is trained.
    """

    answers: Answers
    trained: float
    untouched: float


def answer_some(
    task: Task, model: Any, tokenizer: Any, rows: "pd.DataFrame", spec: TrainSpec, device: Device
) -> Answered:
    """Have a model that was trained, and may be changed further, answer some of the judged rows.

    What is written takes longer the more tokens it has. A trained model writes about as many as are wanted; one that is
    not often goes on as long as it may.
    """
    model = merged(model)

    def answered(most: int) -> tuple[Answers, float, float]:
        some, more = sample(rows, most)
        begin = monotonic()
        found = task.answer(model, tokenizer, some, spec, device)
        return found, monotonic() - begin, more

    writing = notes.notes(model).get("writing")
    if not writing:
        answers, seconds, more = answered(LEAST_READ)
        if (most := int(_SECONDS / seconds * LEAST_READ)) > 2 * LEAST_READ:
            answers, seconds, more = answered(min(_MOST_READ, most))
        return Answered(_repeated(answers, len(rows)), more * seconds, more * seconds)
    longest = writing["max_new_tokens"]
    few, more_tokens = min(_FEW, longest), min(_MORE, longest)
    notes.note(model, writing=writing | {"max_new_tokens": few})
    begun = answered(_LEAST_WRITTEN)[1]
    most = max(_LEAST_WRITTEN, min(_MOST_WRITTEN, int(_SECONDS * _LEAST_WRITTEN / begun)))
    _, short, _ = answered(most)
    notes.note(model, writing=writing | {"max_new_tokens": more_tokens})
    answers, long, more = answered(most)
    notes.note(model, writing=writing)
    a_token = max(0.0, long - short) / max(1, more_tokens - few)
    wanted = task.references(sample(rows, _MOST_READ)[0])
    lengths = [min(longest, 1 + len(tokenizer(text)["input_ids"])) for text in wanted]
    return Answered(
        _repeated(answers, len(rows)),
        more * (short + a_token * (mean(lengths) - few)),
        more * (short + a_token * (longest - few)),
    )


def _repeated(answers: Answers, count: int) -> Answers:
    return Answers(_filled(answers.predictions, count), _filled(answers.token_losses, count))


def _filled(items: list[Item], count: int) -> list[Item]:
    return list(islice(cycle(items), count))
