"""Values of JSON as cells of a table: text, numbers as written, conversations in one notation, other lists as JSON."""

import re
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any

from core.data.formats._json_stream import Number

# NUL and halves of surrogate pairs, which can be escaped in JSON and stored nowhere.
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")
_ROLES = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "developer": "system",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
}


def clean(text: str) -> str:
    """The text with U+FFFD for what is no character."""
    if text.isascii() and "\0" not in text:
        return text
    return _NO_CHARACTER.sub("\ufffd", text)


def cell(value: Any) -> str:
    """The value as text: blank for null, JSON for lists and objects."""
    if isinstance(value, str):
        return clean(str(value))
    if value is None:
        return ""
    if isinstance(value, list):
        return written(turns(value) or value)
    return written(value)


def written(value: Any) -> str:
    """The value as JSON in one line, letters of all languages as they are."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return str(encode_basestring(clean(value)))
    if isinstance(value, dict):
        members = (f"{encode_basestring(clean(key))}: {written(inner)}" for key, inner in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return {None: "null", True: "true", False: "false"}[value]


def turns(value: list[Any]) -> list[dict[str, str]] | None:
    """A conversation as `role` and `content`, None if the list is none.

    Known are the notations of OpenAI (`role`, `content`, which may be a list of parts) and ShareGPT (`from`, `value`).
    """
    if not value or not all(isinstance(turn, dict) for turn in value):
        return None
    if all("role" in turn for turn in value) and any("content" in turn for turn in value):
        names = ("role", "content")
    elif all("from" in turn for turn in value) and any("value" in turn for turn in value):
        names = ("from", "value")
    else:
        return None
    return [{"role": _role(turn[names[0]]), "content": _content(turn.get(names[1]))} for turn in value]


def _role(value: Any) -> str:
    role = cell(value).strip().lower()
    return _ROLES.get(role, role)


def _content(value: Any) -> str:
    """The text of a turn. Of parts that are no text, such as pictures, nothing is kept."""
    if isinstance(value, list):
        return "\n".join(filter(None, map(_part, value)))
    return _part(value) if isinstance(value, dict) else cell(value)


def _part(value: Any) -> str:
    if not isinstance(value, dict):
        return cell(value)
    if isinstance(value.get("text"), str):
        return cell(value["text"])
    return _content(value["parts"]) if isinstance(value.get("parts"), list) else ""


def records(value: Any) -> Iterator[dict[str, Any]]:
    """The records in an element of a list: itself, or the questions of an article as SQuAD has it.

    SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250) nests paragraphs with a context, and in them questions with answers.
    """
    if value is None:
        yield {}
    elif not isinstance(value, dict):
        yield {"value": value}
    elif _is_article(value):
        for paragraph in value["paragraphs"]:
            for question in paragraph["qas"]:
                yield _question(value, paragraph, question)
    elif _is_paragraph(value):
        for question in value["qas"]:
            yield _question({}, value, question)
    else:
        yield value


def _is_article(value: dict[str, Any]) -> bool:
    paragraphs = value.get("paragraphs")
    return isinstance(paragraphs, list) and bool(paragraphs) and all(map(_is_paragraph, paragraphs))


def _is_paragraph(value: Any) -> bool:
    questions = value.get("qas") if isinstance(value, dict) else None
    return isinstance(questions, list) and "context" in value and all(isinstance(one, dict) for one in questions)


def _question(article: dict[str, Any], paragraph: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    """A question as a record; `answer` is the first of the `answers`, blank where there is none."""
    given = question.get("answers")
    texts = [one.get("text") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    record = {
        "context": paragraph["context"],
        "question": question.get("question"),
        "answer": texts[0] if texts else None,
        "answers": list(dict.fromkeys(map(cell, texts))) or None,
    }
    around = {key: value for key, value in (article | paragraph).items() if key not in ("paragraphs", "qas")}
    return record | {key: value for key, value in (around | question).items() if key not in record}
