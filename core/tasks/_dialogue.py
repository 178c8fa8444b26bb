"""Conversations: from rows of a table through a model's chat template to tokens, of which the answers are learned."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.data.doctor.chat import answered, in_turn, turns
from core.errors import UserError
from core.evaluation.answers import Message
from core.models.chat_templates import render
from core.tasks._batches import IGNORED

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("system", "user", "assistant", "tool")
# For a model that brings no template. Its marks are words, since tokens of our own would need new embeddings.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'assistant' %}Assistant:\n{{ message['content'] }}{{ eos_token }}\n\n"
    "{% else %}User:\n{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


@dataclass(frozen=True)
class Dialect:
    """How a model is told a conversation.

    Attributes:
        tokenizer: with a chat template.
        system: whether the template has a place for a system turn; else it is told with the first question.
        tool: whether it has one for a tool's result; else the person says it.
        end: number of the token after which a turn is over.
        written: whether the template writes that token; else it is put behind the last answer.
    """

    tokenizer: Any
    system: bool
    tool: bool
    end: int
    written: bool


@dataclass(frozen=True)
class Encoded:
    """A conversation as tokens.

    Attributes:
        input_ids: the tokens.
        labels: the same where the assistant speaks or ends its turn, else -100.
        shortened: whether turns or the end of the last one are missing.
    """

    input_ids: list[int]
    labels: list[int]
    shortened: bool

    @property
    def teaches(self) -> bool:
        """Whether there is a token to learn."""
        return any(label != IGNORED for label in self.labels[1:])


def conversations(rows: "pd.DataFrame") -> list[list[Message]]:
    """The conversation of each row, from its first question to its last answer; empty where there is none.

    Args:
        rows: with a column `messages` (JSON in the notation of OpenAI or ShareGPT), or `prompt`, `answer` and perhaps
            `system`.
    """
    if "messages" in rows.columns:
        return [_whole(turns(cell) or []) for cell in rows["messages"].tolist()]
    systems = rows["system"].tolist() if "system" in rows.columns else [""] * len(rows)
    columns = zip(systems, rows["prompt"].tolist(), rows["answer"].tolist(), strict=True)
    told = [
        [{"role": role, "content": text} for role, text in zip(ROLES, texts, strict=False) if text or role != "system"]
        for texts in columns
    ]
    return [_whole(messages) for messages in told]


def _whole(messages: Sequence[Message]) -> list[Message]:
    found = answered(in_turn(messages))
    return found if any(message["role"] == "user" and message["content"].strip() for message in found) else []


def asked_of(messages: Sequence[Message]) -> list[Message]:
    """The conversation before its last answer."""
    return list(messages[:-1])


def checked(messages: Sequence[Message]) -> list[Message]:
    """A conversation that somebody wants an answer to.

    Raises:
        UserError: `chat_role_unknown`, `text_empty` where the last turn says nothing.
    """
    unknown = next((message["role"] for message in messages if message["role"] not in ROLES), None)
    if unknown is not None:
        raise UserError("chat_role_unknown", role=unknown[:40], known=", ".join(ROLES))
    if not messages or messages[-1]["role"] not in ("user", "tool") or not messages[-1]["content"].strip():
        raise UserError("text_empty")
    return list(messages)


def instructed(messages: Sequence[Message], instruction: str) -> list[Message]:
    """The conversation with a system turn, its own or this one."""
    if not instruction or any(message["role"] == "system" for message in messages):
        return list(messages)
    return [{"role": "system", "content": instruction}, *messages]


def dialect(tokenizer: Any) -> Dialect:
    """How this tokenizer's model is told a conversation, found by trying its template.

    A tokenizer without a template, or with a broken one that does not show question and answer, gets `PLAIN_TEMPLATE`,
    which is saved with it.

    Raises:
        UserError: `model_without_end` where neither template nor tokenizer has a token that ends a turn.
    """
    pair = _turns("user", "assistant")
    if not tokenizer.chat_template or not _shows(tokenizer, pair):
        tokenizer.chat_template = PLAIN_TEMPLATE
    shown = _shown(tokenizer, pair)
    end = _ending(tokenizer, shown.rpartition(pair[1]["content"])[2])
    if end is None and tokenizer.eos_token_id is None:
        raise UserError("model_without_end")
    return Dialect(
        tokenizer,
        system=_shows(tokenizer, _turns("system", "user")),
        tool=_shows(tokenizer, _turns("user", "assistant", "tool", "assistant")),
        end=tokenizer.eos_token_id if end is None else end,
        written=end is not None,
    )


def _turns(*roles: str) -> list[Message]:
    words = ("Amber", "Birch", "Cedar", "Dune")
    return [{"role": role, "content": word} for role, word in zip(roles, words, strict=False)]


def _shows(tokenizer: Any, messages: list[Message]) -> bool:
    """Whether the template takes such turns, and leaves none out."""
    try:
        shown = _shown(tokenizer, messages)
    except UserError:
        return False
    return all(message["content"] in shown for message in messages)


def _ending(tokenizer: Any, tail: str) -> int | None:
    """The first special token in what a template writes behind an answer."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"]
    return next((number for number in ids if number in special and number != tokenizer.unk_token_id), None)


def _rendered(tokenizer: Any, messages: Sequence[Message], answering: bool = False) -> str | None:
    """The conversation as the template shows it; None where the template refuses it."""
    try:
        return _shown(tokenizer, messages, answering)
    except UserError as error:
        if error.code == "chat_template_refuses":
            return None
        raise


def _shown(tokenizer: Any, messages: Sequence[Message], answering: bool = False) -> str:
    # Models that think aloud are asked not to, since the answers to learn do not.
    return render(tokenizer, list(messages), add_generation_prompt=answering, enable_thinking=False)


def suited(told: Dialect, messages: Sequence[Message]) -> list[Message]:
    """The conversation with what its system turns say in the first one, and with roles that the template knows."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system" and m["content"].strip())
    rest = [
        {**message, "role": "user" if message["role"] == "tool" and not told.tool else message["role"]}
        for message in messages
        if message["role"] != "system"
    ]
    return in_turn([{"role": "system", "content": system}, *rest] if system else rest)


def _placed(told: Dialect, messages: list[Message]) -> list[Message]:
    """A suited conversation with its system turn said by the person, where the template has no place for it."""
    if told.system or messages[0]["role"] != "system":
        return messages
    return in_turn([{**messages[0], "role": "user"}, *messages[1:]])


def encode_conversation(told: Dialect, messages: Sequence[Message], max_length: int) -> Encoded:
    """A conversation as at most `max_length` tokens, to learn what the assistant says in it.

    Of one that is too long the earliest exchanges are left out, the system turn never; then its end is cut. One that
    the template refuses has no tokens.
    """
    suitable = suited(told, messages)
    (ids, labels), left_out = _fitting(lambda part: _learned(told, _placed(told, part)), suitable, max_length)
    shortened = left_out or len(ids) > max_length
    return Encoded(ids[:max_length], labels[:max_length], shortened)


def prompt_ids(told: Dialect, messages: Sequence[Message], limit: int) -> tuple[list[int], bool]:
    """A conversation as the tokens before the assistant's next turn, and whether its last question had to be cut.

    Of one above `limit` tokens the earliest exchanges are left out, then the beginning of what is left.

    Raises:
        UserError: `chat_template_refuses`, `chat_template_broken`.
    """

    def encode(part: list[Message]) -> tuple[list[int], list[int]]:
        shown = _prompt(told, _placed(told, part))
        return told.tokenizer(shown, add_special_tokens=False, verbose=False)["input_ids"], []

    (ids, _), _ = _fitting(encode, suited(told, messages), limit)
    return ids[-limit:], len(ids) > limit


def _prompt(told: Dialect, messages: list[Message]) -> str:
    """What an answer follows, as it did while answers were learned."""
    shown = _shown(told.tokenizer, messages, answering=True)
    learned = _rendered(told.tokenizer, [*messages, *_turns("assistant")])
    start = None if learned is None else _beginning(told, messages, shown, learned)
    return shown if start is None else shown[:start]


def _fitting(
    encode: Callable[[list[Message]], tuple[list[int], list[int]]], messages: list[Message], limit: int
) -> tuple[tuple[list[int], list[int]], bool]:
    """The tokens of the conversation without as many of its earliest exchanges as do not fit; the last one is kept."""
    whole = encode(messages)
    if len(whole[0]) <= limit:
        return whole, False
    head = [message for message in messages[:1] if message["role"] == "system"]
    starts = [place for place, message in enumerate(messages) if message["role"] == "user"]
    parts = [[*head, *messages[start:]] for start in starts] or [messages]
    first = bisect_left(range(1, len(parts)), True, key=lambda at: len(encode(parts[at])[0]) <= limit) + 1
    return encode(parts[min(first, len(parts) - 1)]), len(parts) > 1


def _learned(told: Dialect, messages: list[Message]) -> tuple[list[int], list[int]]:
    shown, spans = _answers(told, messages)
    endless = not told.written and bool(spans) and spans[-1][1] == len(shown.rstrip())
    if endless:
        shown = shown.rstrip()
    tokens = told.tokenizer(shown, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = list(tokens["input_ids"])
    labels = [
        token if any(begin <= start < end for begin, end in spans) else IGNORED
        for token, (start, _) in zip(ids, tokens["offset_mapping"], strict=True)
    ]
    if endless:
        ids, labels = [*ids, told.end], [*labels, told.end]
    return ids, labels


def _answers(told: Dialect, messages: list[Message]) -> tuple[str, list[tuple[int, int]]]:
    """The conversation as the template shows it, and from where to where the assistant speaks in it, in characters.

    Where it speaks is what the conversation has beyond the one that ends before. Templates that show an earlier turn
    otherwise than the last one (Qwen3 and the thoughts in it) leave the last alone to learn from.
    """
    shown = _rendered(told.tokenizer, messages)
    if shown is None:
        return "", []
    spans: list[tuple[int, int]] = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant" or not message["content"].strip():
            continue
        last = place == len(messages) - 1
        before = _rendered(told.tokenizer, messages[:place], answering=True)
        until = shown if last else _rendered(told.tokenizer, messages[: place + 1])
        if before is None or until is None or not shown.startswith(until):
            continue
        start = _beginning(told, messages[:place], before, until)
        if start is not None and start < len(until.rstrip()):
            spans.append((start, len(until.rstrip())))
    return shown, spans


def _beginning(told: Dialect, earlier: list[Message], before: str, until: str) -> int | None:
    """Where an answer begins: behind what the model is given to answer, as far as that comes in the conversation."""
    if until.startswith(before):
        return len(before)
    # Some templates open a thought there ("<think>") that an answer without one does not have.
    asked = _rendered(told.tokenizer, earlier)
    if asked is None or not until.startswith(asked):
        return None
    return next(place for place, pair in enumerate(zip(before, f"{until}\0", strict=False)) if pair[0] != pair[1])
