"""How the models that write a text for a text are given their examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.models import notes
from core.spec import Truncation
from core.tasks import _prompts


@dataclass(frozen=True)
class Reading:
    """How a model was given its examples: noted in it, so that it is asked as it was taught.

    Attributes:
        kind: of the model.
        source_language, target_language: ISO 639 codes, told or guessed from the rows; else empty.
        instruction: what a decoder-only model is told; of an encoder-decoder, what stands before each text.
        max_length: tokens that are read; of a decoder-only model prompt and answer together.
        max_target_length: tokens of an answer that are learned from.
        truncation: which part of a text that is too long is kept.
    """

    kind: Literal["decoder", "seq2seq"]
    source_language: str
    target_language: str
    instruction: str
    max_length: int
    max_target_length: int
    truncation: Truncation

    @property
    def room(self) -> int:
        """Tokens of a prompt whose answer is not known yet."""
        return self.max_length - (self.max_target_length if self.kind == "decoder" else 0)


def reading_of(model: Any) -> Reading:
    """What a loaded model has noted."""
    known = notes.notes(model)
    return Reading(**{name: known[name] for name in Reading.__dataclass_fields__})


def prompt(tokenizer: Any, reading: Reading, text: str, room: int = 0) -> list[int]:
    """What a model reads before it writes, at most `room` tokens, or as many as leave room for an answer.

    Raises:
        UserError: as `core.tasks._prompts.prompt_ids`.
    """
    room = room or reading.room
    if reading.kind == "decoder":
        return _prompts.prompt_ids(tokenizer, reading.instruction, text, room, reading.truncation)
    return _prompts.source_ids(tokenizer, reading.instruction, text, room, reading.truncation)


def examples(
    tokenizer: Any, reading: Reading, texts: Sequence[str], answers: Sequence[str]
) -> tuple[list[dict[str, Any]], list[int]]:
    """Texts with their answers as rows to learn from, and the lengths of the answers that had to be cut.

    Raises:
        UserError: as `prompt`.
    """
    end = _prompts.end_token(tokenizer) if reading.kind == "decoder" else 0
    most, encoded, cut = reading.max_target_length, [], []
    for text, answer in zip(texts, answers, strict=True):
        if reading.kind == "decoder":
            ids = _prompts.answer_ids(tokenizer, answer, end)
            asked = prompt(tokenizer, reading, text, reading.max_length - len(ids[:most]))
            row: dict[str, Any] = _prompts.with_answer(asked, ids[:most])
        else:
            ids = _prompts.target_ids(tokenizer, answer)
            row = {"input_ids": prompt(tokenizer, reading, text), "labels": ids[:most]}
        cut += [len(ids)] if len(ids) > most else []
        encoded.append(row | {"attention_mask": [1] * len(row["input_ids"]), "length": len(row["input_ids"])})
    return encoded, cut
