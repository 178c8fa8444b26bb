"""From rows of a file to what a model is asked, and to rows that it can be judged by."""

from typing import TYPE_CHECKING

from core.data.doctor.chat import answered, in_turn, turns
from core.tasks.base import Asked, Message, Task

if TYPE_CHECKING:
    import pandas as pd

_ANSWERED_TO = ("user", "tool")


def questions(task: Task, rows: "pd.DataFrame") -> list[Asked | None]:
    """What the model is asked for each row, all of its text or conversation; None where there is nothing to answer.

    Args:
        rows: of `core.data.cleaning.rows_of`, with a column that is read.
    """
    if "messages" in rows.columns:
        return [_asked(turns(cell) or []) or None for cell in rows["messages"]]
    read = next(role.name for role in task.shape.roles if role.kind == "text" and role.name in rows.columns)
    systems = rows["system"] if "system" in rows.columns else [""] * len(rows)
    return [
        task.question(text, system=system) if text else None for text, system in zip(rows[read], systems, strict=True)
    ]


def with_answers(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows but for conversations in which no question has an answer."""
    if "messages" not in rows.columns:
        return rows
    told = [answered(in_turn(turns(cell) or [])) for cell in rows["messages"]]
    return rows[[any(_says(turn) for turn in one) for one in told]].reset_index(drop=True)


def _asked(told: list[Message]) -> list[Message]:
    """The turns before the answers at the end; none where those before say nothing."""
    while told and told[-1]["role"] == "assistant":
        told = told[:-1]
    return in_turn(told) if told and _says(told[-1]) else []


def _says(turn: Message) -> bool:
    return turn["role"] in _ANSWERED_TO and bool(turn["content"].strip())
