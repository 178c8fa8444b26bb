"""What a kind of job declares and does. Training, page and model card ask the task, never which task it is."""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core.errors import UserError
from core.settings import Limits
from core.spec import TrainSpec

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from core.data.preparing import Split
    from core.device import Device


@dataclass(frozen=True)
class Prediction:
    """The answer to one text.

    Attributes:
        label: the most probable label.
        confidence: its probability, 0 to 1.
        probabilities: every label with its probability, most probable first.
    """

    label: str
    confidence: float
    probabilities: tuple[tuple[str, float], ...]


class Task(ABC):
    """A kind of job. Subclasses live in one file each, as `TASK`; heavy imports stay inside the methods.

    Attributes:
        id: name in specs, files and flags.
        roles: columns that it needs, in the order in which people are asked for them.
        main_metric: chooses the best checkpoint; larger is better.
        metrics: what is reported, main metric included.
        baselines: what the model is compared with.
        starters: keys of starter models, the first is the default.
        pipeline_tag: the Hub's name of this kind of job.
        auto_class: class of `transformers` that loads the result.
    """

    id: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]
    main_metric: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    baselines: ClassVar[tuple[str, ...]]
    starters: ClassVar[tuple[str, ...]]
    pipeline_tag: ClassVar[str]
    auto_class: ClassVar[str]

    @abstractmethod
    def prepare(
        self, frame: "pd.DataFrame", spec: TrainSpec, limits: Limits, test_frame: "pd.DataFrame | None"
    ) -> "Split":
        """Clean and split the rows."""

    @abstractmethod
    def load(self, folder: Path, split: "Split", spec: TrainSpec) -> tuple[Any, Any]:
        """The (model, tokenizer) to train, from a local folder, with a head for this split's labels."""

    @abstractmethod
    def reload(self, folder: Path) -> tuple[Any, Any]:
        """The (model, tokenizer) of an earlier result, as it is, for answers."""

    @abstractmethod
    def encode(self, rows: "pd.DataFrame", labels: tuple[str, ...], tokenizer: Any, max_length: int) -> "Dataset":
        """Rows as `input_ids`, `attention_mask`, `labels` and `length`, without padding."""

    @abstractmethod
    def collate(self, tokenizer: Any) -> Any:
        """A function from encoded rows to one padded batch."""

    @abstractmethod
    def loss(self, split: "Split") -> Any:
        """`loss(outputs, labels, num_items_in_batch) -> scalar tensor`, weighted as the labels of training need."""

    @abstractmethod
    def predict(
        self, model: Any, tokenizer: Any, texts: list[str], device: "Device", max_length: int | None = None
    ) -> list[Prediction]:
        """Answers in the order of the texts; computed in order of length."""

    @abstractmethod
    def score(self, references: list[str], predictions: list[str], labels: tuple[str, ...]) -> dict[str, float]:
        """Every metric of `metrics`, 0 to 1."""

    @abstractmethod
    def evaluation_scores(self, logits: Any, label_ids: Any) -> dict[str, float]:
        """The same metrics from raw validation logits (rows x labels) and label numbers, during training."""

    @abstractmethod
    def baseline_predictions(self, split: "Split") -> dict[str, list[str]]:
        """Each baseline's answers to the test rows, fitted on the training rows alone."""


def all_tasks() -> dict[str, Task]:
    """Every task by id: each module of this package whose name has no leading underscore brings one as `TASK`."""
    package = importlib.import_module("core.tasks")
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_") and m.name != "base"]
    tasks: list[Task] = [importlib.import_module(f"core.tasks.{name}").TASK for name in names]
    return {task.id: task for task in tasks}


def find(task_id: str) -> Task:
    """The task of this id.

    Raises:
        UserError: `task_unknown`.
    """
    tasks = all_tasks()
    if task_id not in tasks:
        raise UserError("task_unknown", task=task_id[:40], known=", ".join(tasks))
    return tasks[task_id]
