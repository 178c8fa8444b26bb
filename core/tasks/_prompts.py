"""How a decoder-only model is told what to do with a text, and where its answer begins and ends."""

from collections.abc import Callable
from typing import Any

from core.errors import UserError
from core.models.chat_templates import render
from core.spec import Truncation
from core.tasks._batches import IGNORED
from core.tasks._truncation import cut

# Stands between text and answer where a model brings no template: a line that texts seldom have.
_THEN = "\n\n=>\n"


def prompt_ids(tokenizer: Any, instruction: str, text: str, room: int = 0, how: Truncation = "head") -> list[int]:
    """The tokens that an answer follows: the model's own chat template where it has one, else a plain form.

    Args:
        room: tokens that it may have; 0 for any number. What does not fit is cut from the text alone.
        how: which part of a text that does not fit is kept.

    Raises:
        UserError: `instruction_too_long` where instruction and template leave no room for a text, and what
            `core.models.chat_templates.render` raises.
    """
    return fitted(tokenizer, lambda part: _framed(tokenizer, instruction, part), text, room, how)


def source_ids(tokenizer: Any, prefix: str, text: str, room: int, how: Truncation) -> list[int]:
    """What an encoder reads: the text behind a prefix, at most `room` tokens. What does not fit is cut from the text.

    Raises:
        UserError: as `prompt_ids`.
    """
    return fitted(tokenizer, lambda part: list(tokenizer(prefix + part, verbose=False)["input_ids"]), text, room, how)


def fitted(
    tokenizer: Any, framed: Callable[[str], list[int]], text: str, room: int = 0, how: Truncation = "head"
) -> list[int]:
    """`framed(text)`, or of a text that makes it longer than `room` as much as fits.

    Raises:
        UserError: `instruction_too_long` where the frame leaves no room for a text.
    """
    ids = framed(text)
    if not room or len(ids) <= room:
        return ids
    frame = len(framed(""))
    inner = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    keep = min(room - frame, len(inner) - 1)
    while keep > 0:
        ids = framed(tokenizer.decode(cut(inner, keep, how), skip_special_tokens=True))
        if len(ids) <= room:
            return ids
        # Cut text may have other tokens at its ends than the whole had.
        keep -= len(ids) - room
    raise UserError("instruction_too_long", tokens=frame, most=room)


def answer_ids(tokenizer: Any, answer: str, end: int) -> list[int]:
    """An answer's tokens and the `end_token`."""
    return [*tokenizer(answer.strip(), add_special_tokens=False, verbose=False)["input_ids"], end]


def target_ids(tokenizer: Any, answer: str) -> list[int]:
    """The same for a decoder beside an encoder: with the tokens around it that its family has."""
    return list(tokenizer(text_target=answer.strip(), verbose=False)["input_ids"])


def with_answer(prompt: list[int], answer: list[int]) -> dict[str, list[int]]:
    """Prompt and answer as one row, of which only the answer is learned.

    They are encoded apart, so that the answer begins at the same token when it is learned and when it is written.
    """
    return {"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + answer}


def end_token(tokenizer: Any) -> int:
    """The token after an answer: what the chat template puts there, or the end token where it puts no single one."""
    if tokenizer.chat_template:
        said = "ok"
        turns = [{"role": "user", "content": said}, {"role": "assistant", "content": said}]
        after = _rendered(tokenizer, turns, answer=False).rpartition(said)[2]
        first = tokenizer(after, add_special_tokens=False)["input_ids"][:1]
        if first and first[0] in tokenizer.added_tokens_decoder:
            return int(first[0])
    return int(tokenizer.eos_token_id)


def _framed(tokenizer: Any, instruction: str, text: str) -> list[int]:
    asked = f"{instruction}\n\n{text}".strip()
    if not tokenizer.chat_template:
        ids = tokenizer(asked + _THEN, verbose=False)["input_ids"]
        return list(ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids)
    told = _rendered(tokenizer, [{"role": "user", "content": asked}], answer=True)
    return list(tokenizer(told, add_special_tokens=False, verbose=False)["input_ids"])


def _rendered(tokenizer: Any, turns: list[dict[str, str]], *, answer: bool) -> str:
    # Models that can think aloud first are asked not to.
    return render(tokenizer, turns, add_generation_prompt=answer, enable_thinking=False)
