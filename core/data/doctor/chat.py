"""Conversations that a model cannot learn from: broken notation, turns out of order, marks of a template."""

import re
from collections.abc import Callable, Sequence

from core.data.doctor.base import Check, Seen, Sheet
from core.data.doctor.rewriting import changed, changes_in_texts, dropped
from core.data.formats._json_cells import turns as turns_of
from core.data.formats._json_cells import written
from core.data.formats._json_stream import DECODER

Turn = dict[str, str]
_KNOWN = frozenset({"system", "user", "assistant", "tool"})
# Of the others two in a row are usual: the results of two tools that were called at once.
_IN_TURN = frozenset({"system", "user", "assistant"})

# What chat templates put around turns, in one piece with the role that follows.
_ROLE = r"(?:system|user|assistant|model|tool|human|gpt|bot)"
_MARKS = (
    rf"<\|(?:im_start|start_header_id)\|>\s{{0,4}}{_ROLE}?\s{{0,4}}(?:<\|end_header_id\|>)?",
    rf"<start_of_turn>\s{{0,4}}{_ROLE}?",
    r"<end_of_turn>|<\|[A-Za-z][\w\-]{1,40}\|>|<｜[A-Za-z][\w▁]{1,40}｜>",
    r"\[/?INST\]|<</?SYS>>|\[/?SYSTEM_PROMPT\]|\[/?AVAILABLE_TOOLS\]",
    # Elsewhere than at an end, <s> is a line through a text on a web page.
    r"\A\s{0,9}<s>|</s>\s{0,9}\Z|</s>\s{0,9}<s>|<[be]os>|<pad>",
    r"^\#\#\# (?:Instruction|Response|Human|Assistant):",
)
_SPECIAL = re.compile("|".join(_MARKS), re.MULTILINE)
# Found in every cell that has one of them, JSON or not.
_HINT = r"<\||<｜|_of_turn>|\[/?[ISA]|<</?SYS|</?s>|<[be]os>|<pad>|### "


def turns(cell: str) -> list[Turn] | None:
    """The turns of a conversation as `role` (system, user, assistant, tool) and `content`; None if the cell holds none.

    Known are the notations of OpenAI and ShareGPT.
    """
    if not cell.lstrip().startswith("["):
        return None
    try:
        value = DECODER.decode(cell)
        found = turns_of(value) if isinstance(value, list) else None
    except (ValueError, RecursionError):
        return None
    return found if found and all(turn["role"] in _KNOWN for turn in found) else None


def spoken(cell: str) -> str:
    """What was said in a conversation, one turn a line; the cell as it is where it holds no conversation."""
    found = turns(cell)
    return cell if found is None else "\n".join(turn["content"] for turn in found)


def chat_unreadable(sheet: Sheet) -> Seen | None:
    """Cells with something in them that is no conversation. Blank ones are found elsewhere."""
    return _dropped(sheet, "chat_unreadable", lambda cell: bool(cell.strip()) and turns(cell) is None)


def chat_special_tokens(sheet: Sheet) -> Seen | None:
    """Marks of a chat template inside a text, where they would be learned as words or end the answer."""
    if not any(role.kind == "messages" for role in sheet.shape.roles):
        return None
    return changed(sheet, "chat_special_tokens", "remove", changes_in_texts(sheet, without_marks, _HINT))


def without_marks(text: str) -> str:
    """The text without the marks of chat templates; a text that has none is returned as it is."""
    removed = _SPECIAL.sub("", text)
    return text if removed == text else removed.strip()


def chat_roles(sheet: Sheet) -> Seen | None:
    """Two turns of one role in a row, or an assistant that speaks first."""
    return _rewritten(sheet, "chat_roles", "join", in_turn)


def in_turn(told: Sequence[Turn]) -> list[Turn]:
    """The turns with neighbours of the same role joined by a blank line, from the first one that is not an answer."""
    joined: list[Turn] = []
    for turn in told:
        role, content = turn["role"], turn["content"]
        if role == "assistant" and all(earlier["role"] == "system" for earlier in joined):
            continue
        if joined and role in _IN_TURN and joined[-1]["role"] == role:
            content = "\n\n".join(filter(None, (joined[-1]["content"], content)))
            joined[-1] = {"role": role, "content": content}
        else:
            joined.append(turn)
    return joined


def chat_unanswered_end(sheet: Sheet) -> Seen | None:
    """Conversations with an answer that go on behind the last one."""
    return _rewritten(sheet, "chat_unanswered_end", "cut", answered)


def answered(told: Sequence[Turn]) -> list[Turn]:
    """The turns up to the last one of the assistant."""
    end = max((i for i, turn in enumerate(told) if turn["role"] == "assistant"), default=-1)
    return list(told[: end + 1])


def chat_no_answer(sheet: Sheet) -> Seen | None:
    """Conversations without an answer to learn from: none follows a question, or one is blank."""
    return _dropped(sheet, "chat_no_answer", lambda cell: not _has_answer(turns(cell)))


def _has_answer(told: list[Turn] | None) -> bool:
    if told is None:
        return True
    answers = [turn["content"].strip() for turn in in_turn(told) if turn["role"] == "assistant"]
    # A blank answer beside the result of a tool was the call.
    return any(answers) if any(turn["role"] == "tool" for turn in told) else bool(answers) and all(answers)


def _dropped(sheet: Sheet, code: str, unfit: Callable[[str], bool]) -> Seen | None:
    import numpy as np

    names = sheet.names("messages")
    found = np.zeros(len(sheet.frame), dtype=bool)
    for name in names:
        found |= np.array([unfit(cell) for cell in sheet.frame[name].tolist()], dtype=bool)
    return dropped(sheet, code, found, names)


def _rewritten(sheet: Sheet, code: str, fix: str, change: Callable[[Sequence[Turn]], list[Turn]]) -> Seen | None:
    """A finding about conversations whose turns can be mended. One that would have no answer then is left as it is."""
    changes: dict[str, dict[int, str]] = {}
    for name in sheet.names("messages"):
        cells: dict[int, str] = {}
        for place, cell in enumerate(sheet.frame[name].tolist()):
            told = turns(cell)
            new = change(told) if told else told
            if new and new != told and any(turn["role"] == "assistant" for turn in new):
                cells[place] = written(new)
        if cells:
            changes[name] = cells
    return changed(sheet, code, fix, changes)


CHAT_CHECKS: tuple[Check, ...] = (
    Check("chat_unreadable", ("messages",), chat_unreadable),
    Check("chat_special_tokens", ("messages", "text", "answer"), chat_special_tokens),
    Check("chat_roles", ("messages",), chat_roles),
    Check("chat_unanswered_end", ("messages",), chat_unanswered_end),
    Check("chat_no_answer", ("messages",), chat_no_answer),
)
