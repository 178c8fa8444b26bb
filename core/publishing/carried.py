"""What the file of a run may hold: the shape of its parts, since whoever made the file may mean harm.

What is not named here is dropped; what the page and the model card need and is not there, or is another kind of thing,
refuses the whole file.
"""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core import events
from core.evaluation.scales import SCALES
from core.hub.repos import REVISION
from core.models.catalogue import STARTERS
from core.models.fetching import check_id
from core.spec import ModelChoice, TrainSpec, Truncation, Writing
from core.tasks.base import find

_MOST_LABELS = 1_000
_LONGEST_LINE = 2**18
_MOST_VALUES = 2_000_000
_MOST_EVENTS = 100_000
_KEPT_EVENTS = (
    events.Started, events.Prepared, events.Planned, events.Step, events.Evaluated, events.Finished,
)  # fmt: skip

Count = Annotated[int, Field(ge=0, le=10**15)]
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Share = Annotated[float, Field(ge=0, le=1)]
Word = Annotated[str, Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Rows(_Part):
    """Rows of each part, and how many of the test rows were judged."""

    train: Count
    validation: Count
    test: Count
    judged: Count | None = None


class Finding(_Part):
    """What the data check changed."""

    code: Word
    rows: Count


class Data(_Part):
    """What a report says about the table."""

    name: str = ""
    label_counts: dict[str, Count] = {}
    findings: list[Finding] = []


class Verdict(_Part):
    """Whether it was worth it: in rows that are right, or in the main score."""

    code: Literal["beats_both", "not_better", "unclear"]
    rows: Count
    strongest: Word
    chance: Share
    right: Count | None = None
    baseline_right: Count | None = None
    metric: Word | None = None
    ours: Number | None = None
    theirs: Number | None = None


class OneLabel(_Part):
    """The scores of a label."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    rows: Count


class Wrong(_Part):
    """A row that was answered wrong."""

    row: int
    text: str
    label: str
    prediction: str
    confidence: Share


class Sample(_Part):
    """A written answer."""

    row: int
    text: str
    reference: str
    answer: str
    before: str | None = None


class Turn(_Part):
    """A turn of a conversation."""

    role: Word
    content: str


class Machine(_Part):
    """What it was computed on."""

    kind: Literal["cpu", "cuda", "mps"]
    precision: Word
    threads: Count = 1
    bfloat16_speedup: Number | None = None
    reason: Word = ""
    name: Word = ""


class Begun(_Part):
    """How large the model is."""

    trainable: Count | None = None
    parameters: Count | None = None


class Checked(_Part):
    """The best score on the validation rows."""

    metric: Word
    value: Number


class Use(_Part):
    """How the model is to be asked: see `core.models.notes`."""

    task: Word | None = None
    kind: Literal["decoder", "seq2seq"] | None = None
    source_language: Word | None = None
    target_language: Word | None = None
    instruction: str | None = None
    system_turn: bool | None = None
    max_length: Count | None = None
    max_target_length: Count | None = None
    truncation: Truncation | None = None
    writing: Writing | None = None
    thresholds: dict[str, Share] | None = None
    pooling: Word | None = None
    chat_template: bool = False


class Report(_Part):
    """`report.json`: see `core.tasks.base.Task.judge` and `core.training.run`."""

    version: Literal[1]
    task: Word
    labels: Annotated[list[str], Field(max_length=_MOST_LABELS)]
    main_metric: Word
    rows: Rows
    data: Data
    model: Begun
    device: Machine
    metrics: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]]
    baselines: dict[str, dict[str, Number]]
    verdict: Verdict
    per_class: list[OneLabel] | None = None
    confusion: list[list[Count]] | None = None
    errors: list[Wrong] | None = None
    samples: list[Sample] | None = None
    examples: Annotated[list[str | Annotated[list[Turn], Field(min_length=1)]], Field(max_length=100)]
    signatures: dict[str, str] | None = None
    epochs_done: Number = 0.0
    best_epoch: Number = 0.0
    seconds: Annotated[float, Field(ge=0, le=1e8)] = 0.0
    stopped: bool = False
    diverged: bool = False
    validation: Checked | None = None
    use: Use | None = None

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, given: Any) -> Any:
        """A report has the intervals among the scores; here they stand beside them."""
        if not isinstance(given, dict) or not isinstance(given.get("metrics"), dict):
            return given
        scores = dict(given["metrics"])
        between = scores.pop("intervals", None)
        return given | {"metrics": {n: v for n, v in scores.items() if n in SCALES}, "intervals": between}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Whether all is there that is looked up by name."""
        names, size = find(self.task).baselines, len(self.labels)
        shown = [self.main_metric] if self.verdict.right is None else [self.main_metric, "accuracy"]
        if any(name not in self.metrics or name not in self.intervals for name in shown):
            raise ValueError("a score is missing")
        if self.verdict.strongest not in names or any(name not in names for name in self.baselines):
            raise ValueError("unknown baseline")
        told = (self.verdict.right, self.verdict.baseline_right), (self.verdict.ours, self.verdict.theirs)
        if all(None in figures for figures in told):
            raise ValueError("a verdict on nothing")
        if self.confusion is not None and (
            len(self.confusion) != size or any(len(line) != size for line in self.confusion)
        ):
            raise ValueError("a confusion of other labels")
        return self

    def as_dict(self, spec: TrainSpec) -> dict[str, Any]:
        """The content of `report.json` for a run of this spec."""
        kept = self.model_dump(mode="json", exclude_none=True)
        intervals = kept.pop("intervals")
        kept["metrics"] = kept["metrics"] | {"intervals": intervals}
        kept["baselines"] = {n: {m: v for m, v in own.items() if m in SCALES} for n, own in self.baselines.items()}
        kept["model"] = spec.model.model_dump() | kept["model"]
        kept["headline"] = [name for name in find(self.task).metrics[:2] if name in self.metrics]
        return kept | {"spec": spec.model_dump(mode="json")}


def parsed(content: bytes, most: int) -> Any:
    """JSON of at most `most` bytes and two million values: a small file could ask for much memory.

    Raises:
        ValueError: it is larger, or no JSON.
    """
    # Each value but the first of a list or object has a comma before it, and each name of an entry a colon behind it.
    if len(content) > most or sum(content.count(mark) for mark in b"[{,:") > _MOST_VALUES:
        raise ValueError("too large")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("too deep") from error


def carried_spec(spec: TrainSpec) -> TrainSpec:
    """A spec without the place of a folder on the machine that it was used on.

    Raises:
        UserError: `model_id_malformed`.
        ValueError: it begins from no starter, or from a revision that is none.
    """
    start = spec.model
    if start.source == "hub":
        check_id(start.name)
        if start.revision and not REVISION.fullmatch(start.revision):
            raise ValueError("no revision")
    elif start.source == "starter" and start.name not in STARTERS:
        raise ValueError("no starter")
    elif start.source == "directory":
        start = ModelChoice(source="directory", name=PurePosixPath(start.name.replace("\\", "/")).name.strip("."))
    return spec.model_copy(update={"model": start})


def carried_events(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The events from which curves are drawn and times are told. Lines that are none are passed over."""
    for line in islice(lines, _MOST_EVENTS):
        try:
            event = events.parse(line) if len(line) <= _LONGEST_LINE else None
            if isinstance(event, _KEPT_EVENTS) and (kept := _plain(event)):
                yield (json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n").encode()
        except (ValidationError, ValueError):
            continue


def _plain(event: events.Event) -> dict[str, Any] | None:
    told = event.model_dump()
    if isinstance(event, events.Started):
        told["device"] = Machine.model_validate(event.device).model_dump()
    if isinstance(event, events.Prepared):
        told["findings"] = []
    numbers = [value for value in (*told.values(), *told.get("rows", {}).values()) if isinstance(value, int | float)]
    return told if all(math.isfinite(number) and abs(number) < 1e15 for number in numbers) else None
