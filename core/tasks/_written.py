"""What all tasks share whose models write: token by token they are learned, and what they wrote is judged as text."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from core.tasks import _batches
from core.tasks.base import Answers, Task

if TYPE_CHECKING:
    import pandas as pd


class Written(Task):
    """The weights that are kept are those that find the held-out answers likeliest."""

    training_metric = "token_accuracy"
    chooses_by: ClassVar[Literal["metric", "loss"]] = "loss"
    most_validated: ClassVar[int] = 500

    def reduce_logits(self, logits: Any, labels: Any) -> Any:
        """The likeliest token at each place: logits over a vocabulary would fill the memory."""
        return _batches.likeliest(logits)

    def evaluation_scores(self, logits: Any, label_ids: Any) -> dict[str, float]:
        """Share of the tokens to be learned that are guessed right when those before are given."""
        return {"token_accuracy": _batches.token_accuracy(logits, label_ids)}

    @abstractmethod
    def shown(self, rows: "pd.DataFrame") -> list[str]:
        """What a person sees as given, for each row."""

    def answer_language(self, rows: "pd.DataFrame") -> str:
        """ISO 639-1 code of the answers, for scores that split words; empty for what the answers look like."""
        return ""

    def judge(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], ours: Answers, others: dict[str, Answers]
    ) -> dict[str, Any]:
        """See `core.evaluation.texts.judge_texts`."""
        from core.evaluation.texts import judge_texts

        return judge_texts(
            self.asked(rows),
            self.references(rows),
            ours,
            others,
            metrics=self.metrics,
            main_metric=self.main_metric,
            rows_numbers=[int(number) for number in rows["row"]],
            shown_texts=self.shown(rows),
            language=self.answer_language(rows),
        )
