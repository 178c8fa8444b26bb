"""What a kind of job declares and does. Training, page and model card ask the task, never which task it is."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from core.data.shapes import SHAPES, Shape
from core.errors import UserError
from core.evaluation.answers import Answers, Asked, Message, Prediction
from core.settings import Limits
from core.spec import TrainSpec, Writing
from core.tasks._relevance import relevant

__all__ = [
    "Answering", "Answers", "Asked", "Message", "ModelKind", "Prediction", "Task", "all_tasks", "find", "judged_rows",
]  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from core.data.preparing import Split
    from core.device import Device

Answering = Literal["label", "labels", "text", "chat", "continuation"]
ModelKind = Literal["encoder", "decoder", "seq2seq"]


class Task(ABC):
    """A kind of job. Subclasses live in one file each, as `TASK`; heavy imports stay inside the methods.

    Attributes:
        id: name in specs, files and flags; the columns that it needs are those of `core.data.shapes.SHAPES[id]`.
        main_metric: what the result is judged by first; the chart shows it too, unless `training_metric` is another.
        training_metric: measured on the validation rows while training.
        chooses_by: whether a checkpoint is kept by its `training_metric` or its loss, see `core.training.choosing`.
        metrics: what is reported, main metric first. Their scales are in `core.evaluation.scales`.
        baselines: what the model is compared with, `untouched` being the model before it was trained.
        kinds: kinds of models that can do it, the first is suggested first.
        methods: values of `TrainSpec.method` that make sense, the first is the default.
        uses: fields of TrainSpec that matter to this task beside those that matter to all.
        starters: keys of starter models, the first is the default.
        answers: what an answer looks like, and so how the page asks for it.
        most_validated: validation rows that are looked at while training, at most.
        most_judged: test rows that are judged at most, evenly chosen; writing answers takes long. 0 for all.
        pipeline_tag: the Hub's name of this kind of job.
    """

    id: ClassVar[str]
    main_metric: ClassVar[str]
    training_metric: ClassVar[str]
    chooses_by: ClassVar[Literal["metric", "loss"]] = "metric"
    metrics: ClassVar[tuple[str, ...]]
    baselines: ClassVar[tuple[str, ...]]
    kinds: ClassVar[tuple[ModelKind, ...]]
    methods: ClassVar[tuple[str, ...]]
    uses: ClassVar[frozenset[str]] = frozenset()
    starters: ClassVar[tuple[str, ...]]
    answers: ClassVar[Answering]
    most_validated: ClassVar[int] = 4_000
    most_judged: ClassVar[int] = 0
    pipeline_tag: ClassVar[str]

    @property
    def writes(self) -> bool:
        """Whether answers are written word by word, rather than chosen among labels."""
        return self.answers not in ("label", "labels")

    def relevant(self, method: str) -> frozenset[str]:
        """Names of the settings of TrainSpec that matter to this task under a method."""
        return relevant(self.uses, method)

    @property
    def shape(self) -> Shape:
        """The columns that its examples have."""
        return SHAPES[self.id]

    def prepare(
        self, frame: "pd.DataFrame", spec: TrainSpec, limits: Limits, test_frame: "pd.DataFrame | None"
    ) -> "Split":
        """Clean and split the rows: see `core.data.preparing.prepare`."""
        from core.data.preparing import prepare

        return prepare(
            frame,
            spec.data.columns,
            validation_fraction=spec.validation_fraction,
            test_fraction=spec.test_fraction,
            seed=spec.seed,
            limits=limits,
            test_frame=test_frame,
            fixes=spec.data.fixes,
            split=spec.data.split,
            shape=self.shape,
        )

    @abstractmethod
    def load(self, folder: Path, split: "Split", spec: TrainSpec) -> tuple[Any, Any]:
        """The (model, tokenizer) to train, from a local folder, with a head for this split's labels.

        What is needed to use the result later (task, languages, instruction, thresholds) is noted with
        `core.models.notes.note`, which is saved with the model.

        Raises:
            UserError: `model_not_loadable`, `model_wrong_kind`, and what `core.models.loading.check_folder` raises.
        """

    @abstractmethod
    def reload(self, folder: Path) -> tuple[Any, Any]:
        """The (model, tokenizer) of an earlier result, as it is, for answers.

        Raises:
            UserError: as `load`.
        """

    def encode(
        self,
        rows: "pd.DataFrame",
        labels: tuple[str, ...],
        model: Any,
        tokenizer: Any,
        spec: TrainSpec,
        folder: Path | None = None,
    ) -> "Dataset":
        """Rows as `input_ids`, `attention_mask`, `labels` and `length`, without padding.

        Args:
            folder: where they are kept; what was made there of the same rows in the same way is used again. None for
                in memory.

        Raises:
            UserError: where no row can be learned from; `disk_full`.
        """
        from core.tasks import _encoded

        pieces = self.pieces(rows, labels, model, tokenizer, spec)
        if folder is None:
            return _encoded.in_memory(pieces)
        return _encoded.on_disk(folder, _encoded.origin_of(self.id, rows, labels, model, tokenizer, spec), pieces)

    @abstractmethod
    def pieces(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], model: Any, tokenizer: Any, spec: TrainSpec
    ) -> Iterator[dict[str, Any]]:
        """What `encode` gives, column by column, some rows at a time.

        Raises:
            UserError: where no row can be learned from.
        """

    @abstractmethod
    def collate(self, model: Any, tokenizer: Any) -> Callable[[list[dict[str, Any]]], Any]:
        """A function from encoded rows to one padded batch."""

    @abstractmethod
    def loss(self, split: "Split") -> Callable[..., Any]:
        """`loss(outputs, labels, num_items_in_batch) -> scalar tensor`, weighted as the labels of training need."""

    def reduce_logits(self, logits: Any, labels: Any) -> Any:
        """What is kept of a validation batch's logits for `evaluation_scores`; all of them by default."""
        return logits

    @abstractmethod
    def evaluation_scores(self, logits: Any, label_ids: Any) -> dict[str, float]:
        """`training_metric`, and others, from what `reduce_logits` kept and label numbers, during training."""

    def finish(  # noqa: B027 (most tasks have none)
        self, model: Any, tokenizer: Any, split: "Split", spec: TrainSpec, device: "Device"
    ) -> None:
        """A last choice on the validation rows, once the best weights are known, noted in the model. Usually none."""

    def labels(self, model: Any) -> tuple[str, ...]:
        """The labels that a loaded model answers with, in order of their numbers; none where it writes."""
        return ()

    def question(self, words: str, *, system: str = "", before: Sequence[Message] = ()) -> Asked:
        """What a model is asked when a person writes these words.

        Args:
            system: what it is told first, where the task holds conversations.
            before: the conversation so far.
        """
        return words

    @abstractmethod
    def asked(self, rows: "pd.DataFrame") -> list[Asked]:
        """What a model is asked for each row."""

    @abstractmethod
    def references(self, rows: "pd.DataFrame") -> list[str]:
        """The wanted answer of each row, as `Prediction.answer` would say it."""

    @abstractmethod
    def predict(
        self, model: Any, tokenizer: Any, asked: Sequence[Asked], device: "Device", writing: Writing | None = None
    ) -> list[Prediction]:
        """Answers in the order of what was asked; computed in order of length.

        Args:
            writing: how answers are written; None for how the model was judged, as noted in it.
        """

    def stream(
        self, model: Any, tokenizer: Any, asked: Asked, device: "Device", writing: Writing | None = None
    ) -> Iterator[str]:
        """The answer in pieces as it is written; in one piece where it cannot be had otherwise."""
        yield self.predict(model, tokenizer, [asked], device, writing)[0].answer

    def answer(
        self,
        model: Any,
        tokenizer: Any,
        rows: "pd.DataFrame",
        spec: TrainSpec,
        device: "Device",
        tell: Callable[[int, int], None] | None = None,
    ) -> Answers:
        """What the model makes of judged rows.

        Args:
            tell: called with (rows done, rows in all) now and then; an exception that it raises ends the work.
        """
        return Answers(self.predict(model, tokenizer, self.asked(rows), device))

    @abstractmethod
    def simple_answers(self, split: "Split", rows: "pd.DataFrame", spec: TrainSpec) -> dict[str, Answers]:
        """Each baseline's answers to the judged rows but for `untouched`, fitted on the training rows alone."""

    @abstractmethod
    def judge(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], ours: Answers, others: dict[str, Answers]
    ) -> dict[str, Any]:
        """The part of `report.json` that follows from the answers.

        Always: `labels`, `main_metric`, `metrics` (with `intervals`: name -> [low, high] at 95 %), `baselines` (name ->
        metrics), `verdict` (`code`, `strongest`, `rows`, …), `examples` (what to try: texts or messages). Where it has
        a meaning: `per_class`, `confusion`, `errors` (label tasks), `samples` (written answers: `row`, `text`,
        `reference`, `answer`, `before`), `signatures` (metric -> how it was computed).

        Args:
            rows: the judged test rows.
            labels: of the split.
            ours: what the trained model made of them.
            others: baseline -> what it made of them; `untouched` among them where the task compares with it.
        """


def judged_rows(task: Task, rows: "pd.DataFrame") -> "pd.DataFrame":
    """The test rows that are judged: all, or `most_judged` of them evenly chosen."""
    most = task.most_judged
    if not most or len(rows) <= most:
        return rows
    return rows.iloc[[place * len(rows) // most for place in range(most)]].reset_index(drop=True)


@cache
def all_tasks() -> dict[str, Task]:
    """Every task by id: each module of this package whose name has no leading underscore brings one as `TASK`."""
    package = importlib.import_module("core.tasks")
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_") and m.name != "base"]
    tasks: list[Task] = [importlib.import_module(f"core.tasks.{name}").TASK for name in names]
    order = list(SHAPES)
    return {task.id: task for task in sorted(tasks, key=lambda task: order.index(task.id))}


def find(task_id: str) -> Task:
    """The task of this id.

    Raises:
        UserError: `task_unknown`.
    """
    tasks = all_tasks()
    if task_id not in tasks:
        raise UserError("task_unknown", task=task_id[:40], known=", ".join(tasks))
    return tasks[task_id]
