"""Short texts that say what long ones say."""

from typing import TYPE_CHECKING, ClassVar

from core.spec import TrainSpec
from core.tasks._language_codes import english_name
from core.tasks._writing import TextToText
from core.tasks.base import Answers, Prediction

if TYPE_CHECKING:
    import pandas as pd

    from core.data.preparing import Split


class Summarization(TextToText):
    """Judged by ROUGE-L first, which counts the words that stand in the same order."""

    id = "summarization"
    main_metric = "rougeL"
    metrics: ClassVar[tuple[str, ...]] = ("rougeL", "rouge1", "rouge2", "loss")
    baselines: ClassVar[tuple[str, ...]] = ("first_sentence", "nearest", "untouched")
    pipeline_tag = "summarization"
    text_column = "text"
    answer_column = "summary"

    def instruction(self, source: str, target: str) -> str:
        """Names the language of the summary where it is not English, in which models answer by themselves."""
        aim = f" in {english_name(target)}" if target not in ("", "en") else ""
        return f"Summarize this text{aim}. Answer with the summary alone."

    def prefix(self, source: str, target: str) -> str:
        """The word of T5's summarization examples (Raffel et al., 2020, appendix D)."""
        return "summarize: "

    def simple_answers(self, split: "Split", rows: "pd.DataFrame", spec: TrainSpec) -> dict[str, Answers]:
        """The text's first sentence, and the summary of the training text that is most like it."""
        from core.evaluation.baselines import first_sentences, nearest_answers

        texts = [str(text) for text in rows["text"]]
        nearest = nearest_answers(split.train["text"].tolist(), split.train["summary"].tolist(), texts)
        return {
            name: Answers([Prediction(answer) for answer in answers])
            for name, answers in (("first_sentence", first_sentences(texts)), ("nearest", nearest))
        }


TASK = Summarization()
