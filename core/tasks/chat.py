"""A conversation partner: answers as in the conversations of the rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core.errors import UserError
from core.models import notes
from core.settings import Limits
from core.spec import TrainSpec
from core.tasks import _dialogue
from core.tasks._encoded import blocks
from core.tasks._language_model import LanguageModel
from core.tasks._packing import Row
from core.tasks.base import Answering, Answers, Asked, Message, Prediction

if TYPE_CHECKING:
    import pandas as pd

    from core.data.preparing import Split
    from core.device import Device


class Chat(LanguageModel):
    """Learned are the assistant's turns alone.

    Judged by ROUGE-L first, though perplexity varies less: it is about what is written, and copied answers have it too,
    so that a model is compared with them as well as with itself before.
    """

    id = "chat"
    main_metric = "rougeL"
    metrics: ClassVar[tuple[str, ...]] = ("rougeL", "perplexity", "loss", "token_accuracy")
    baselines: ClassVar[tuple[str, ...]] = ("nearest", "untouched")
    uses: ClassVar[frozenset[str]] = LanguageModel.uses | {"instruction"}
    answers: ClassVar[Answering] = "chat"

    def prepare(
        self, frame: "pd.DataFrame", spec: TrainSpec, limits: Limits, test_frame: "pd.DataFrame | None"
    ) -> "Split":
        """As usual, without rows that have no question with an answer.

        Raises:
            UserError: `chat_nothing_answered`, and as usual.
        """
        return _answered(super().prepare(frame, spec, limits, test_frame))

    def load(self, folder: Path, split: "Split", spec: TrainSpec) -> tuple[Any, Any]:
        """A pretrained decoder-only model, whose tokenizer has a chat template.

        Raises:
            UserError: `model_without_end`, and as for every language model.
        """
        model, tokenizer = super().load(folder, split, spec)
        system_turn = _dialogue.dialect(tokenizer).system
        notes.note(model, instruction=spec.instruction.strip(), system_turn=system_turn)
        return model, tokenizer

    def ends(self, tokenizer: Any) -> list[int]:
        """The token after which a turn is over."""
        return [_dialogue.dialect(tokenizer).end]

    def examples(self, rows: "pd.DataFrame", model: Any, tokenizer: Any) -> Iterator[Row]:
        """The conversations, of which the assistant's turns are learned.

        Raises:
            UserError: `no_answer_fits` where no answer is within reach.
        """
        found = False
        for some in blocks(rows):
            for encoded in _encoded(some, model, tokenizer):
                if encoded.teaches:
                    found = True
                    yield {"input_ids": encoded.input_ids, "labels": encoded.labels}
        if not found:
            raise UserError("no_answer_fits", most=tokenizer.model_max_length)

    def question(self, words: str, *, system: str = "", before: Sequence[Message] = ()) -> Asked:
        """The conversation so far, with the words as its last turn."""
        first = [{"role": "system", "content": system.strip()}] if system.strip() else []
        return [*first, *before, {"role": "user", "content": words}]

    def asked(self, rows: "pd.DataFrame") -> list[Asked]:
        """Each conversation before its last answer."""
        return [messages[:-1] for messages in _dialogue.conversations(rows)]

    def references(self, rows: "pd.DataFrame") -> list[str]:
        """The last answers."""
        return [messages[-1]["content"] for messages in _dialogue.conversations(rows)]

    def prompts(self, model: Any, tokenizer: Any, asked: Sequence[Asked], limit: int) -> list[tuple[list[int], bool]]:
        """The conversations, with the instruction that was learned with where they have no system turn.

        Raises:
            UserError: `text_empty`, `chat_role_unknown`, `chat_template_refuses`, `chat_template_broken`.
        """
        told, instruction = _dialogue.dialect(tokenizer), _instruction(model)
        given = [[{"role": "user", "content": one}] if isinstance(one, str) else one for one in asked]
        full = [_dialogue.instructed(_dialogue.checked(messages), instruction) for messages in given]
        return [_dialogue.prompt_ids(told, messages, limit) for messages in full]

    def answer(
        self,
        model: Any,
        tokenizer: Any,
        rows: "pd.DataFrame",
        spec: TrainSpec,
        device: "Device",
        tell: Callable[[int, int], None] | None = None,
    ) -> Answers:
        """What the model writes as each last answer, and how likely it finds all that were wanted."""
        from core.tasks._generation import token_losses

        written = self.written(model, tokenizer, self.asked(rows), device, None, tell)
        encoded = _encoded(rows, model, tokenizer)
        teaching = [place for place, e in enumerate(encoded) if e.teaches]
        given = [{"input_ids": encoded[place].input_ids, "labels": encoded[place].labels} for place in teaching]
        losses = [(0.0, 0, 0)] * len(encoded)
        for place, loss in zip(teaching, token_losses(model, tokenizer, given, device), strict=True):
            losses[place] = loss
        return Answers(written, losses)

    def simple_answers(self, split: "Split", rows: "pd.DataFrame", spec: TrainSpec) -> dict[str, Answers]:
        """The last answer of the training conversation whose last question is most alike."""
        from core.evaluation.baselines import nearest_answers

        found = nearest_answers(_last_questions(split.train), self.references(split.train), _last_questions(rows))
        return {"nearest": Answers([Prediction(answer) for answer in found])}

    def shown(self, rows: "pd.DataFrame") -> list[str]:
        """The last questions."""
        return _last_questions(rows)


TASK = Chat()


def _instruction(model: Any) -> str:
    return str(notes.notes(model).get("instruction", ""))


def _encoded(rows: "pd.DataFrame", model: Any, tokenizer: Any) -> list[_dialogue.Encoded]:
    told, instruction = _dialogue.dialect(tokenizer), _instruction(model)
    return [
        _dialogue.encode_conversation(told, _dialogue.instructed(messages, instruction), tokenizer.model_max_length)
        for messages in _dialogue.conversations(rows)
    ]


def _last_questions(rows: "pd.DataFrame") -> list[str]:
    return [
        next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
        for messages in _dialogue.conversations(rows)
    ]


def _answered(split: "Split") -> "Split":
    """The rows that have an answer to learn; a finding counts the others."""
    from core.data.findings import Finding, examples

    parts, gone = {}, []
    for name in ("train", "validation", "test"):
        rows = getattr(split, name)
        kept = [bool(messages) for messages in _dialogue.conversations(rows)]
        gone += [int(row) for row, keep in zip(rows["row"], kept, strict=True) if not keep]
        parts[name] = rows[kept].reset_index(drop=True)
    if any(part.empty for part in parts.values()):
        raise UserError("chat_nothing_answered", rows=len(gone))
    if not gone:
        return split
    finding = Finding(
        "chat_no_answer", len(gone), "warning", {}, examples(sorted(gone)), "drop", ("drop",), True, "drop"
    )
    return replace(split, findings=(*split.findings, finding), **parts)
