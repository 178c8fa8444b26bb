"""Texts of one language in another."""

from typing import TYPE_CHECKING, ClassVar

from core.spec import TrainSpec
from core.tasks._language_codes import english_name
from core.tasks._writing import TextToText
from core.tasks.base import Answers, Prediction

if TYPE_CHECKING:
    import pandas as pd

    from core.data.preparing import Split


class Translation(TextToText):
    """Judged by chrF first: it follows people's judgement better than BLEU does, also where words are not spaced.

    Source: Kocmi et al., "To ship or not to ship: an extensive evaluation of automatic metrics for machine
    translation", WMT 2021.
    """

    id = "translation"
    main_metric = "chrf"
    metrics: ClassVar[tuple[str, ...]] = ("chrf", "bleu", "loss")
    baselines: ClassVar[tuple[str, ...]] = ("copied", "nearest", "untouched")
    pipeline_tag = "translation"
    text_column = "source"
    answer_column = "target"

    def instruction(self, source: str, target: str) -> str:
        """Names the languages that are known."""
        origin = f" from {english_name(source)}" if source else ""
        aim = f" into {english_name(target)}" if target else ""
        return f"Translate this text{origin}{aim}. Answer with the translation alone."

    def prefix(self, source: str, target: str) -> str:
        """The words of T5's translation examples (Raffel et al., 2020, appendix D)."""
        return f"translate {english_name(source)} to {english_name(target)}: " if source and target else "translate: "

    def simple_answers(self, split: "Split", rows: "pd.DataFrame", spec: TrainSpec) -> dict[str, Answers]:
        """The text as it is, and the translation of the training text that is most like it."""
        from core.evaluation.baselines import nearest_answers

        texts = [str(text) for text in rows["source"]]
        nearest = nearest_answers(split.train["source"].tolist(), split.train["target"].tolist(), texts)
        return {
            name: Answers([Prediction(answer) for answer in answers])
            for name, answers in (("copied", texts), ("nearest", nearest))
        }


TASK = Translation()
