"""The facts that a run appends, one JSON line each: page, terminal and remote jobs read the same stream."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Event(BaseModel):
    """What all events carry: format version, attempt of the run, seconds since the epoch."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    v: Literal[1] = 1
    attempt: int = 0
    time: float = 0.0


class Started(_Event):
    """The worker is up and knows its machine.

    `step` is where it goes on from, 0 for the beginning; `damaged` counts newer states that could not be used.
    """

    kind: Literal["started"] = "started"
    device: dict[str, Any]
    step: int = 0
    damaged: int = 0


class Phase(_Event):
    """The run entered a named part: `data`, `loading`, `untouched`, `training`, `baselines`, `testing`, `saving`.

    Told again while a part goes on that takes long: `done` of `total` rows.
    """

    kind: Literal["phase"] = "phase"
    name: str
    done: int = 0
    total: int = 0


class Prepared(_Event):
    """The rows are cleaned and split. `findings` are what was changed, as `{"code", "rows", "facts"}`."""

    kind: Literal["prepared"] = "prepared"
    rows: dict[str, int]
    findings: list[dict[str, Any]]


class Planned(_Event):
    """What training will do. Parameters are counts of numbers."""

    kind: Literal["planned"] = "planned"
    steps: int
    epochs: int
    parameters: int
    trainable: int


class Step(_Event):
    """An optimizer step: mean loss since the last event, rows per second, seconds left for all phases."""

    kind: Literal["step"] = "step"
    step: int
    epoch: float
    loss: float
    learning_rate: float
    rows_per_second: float
    seconds_left: float


class Evaluated(_Event):
    """Scores on the validation rows; `best` where the model as it is now is kept, see `core.training.choosing`."""

    kind: Literal["evaluated"] = "evaluated"
    step: int
    epoch: float
    loss: float
    metric: str
    value: float
    best: bool


class Saved(_Event):
    """A checkpoint is whole on disk."""

    kind: Literal["saved"] = "saved"
    step: int


class Retrying(_Event):
    """Memory ran out: the run is tried once more, with so many rows at a time, and learns the same."""

    kind: Literal["retrying"] = "retrying"
    rows: int


class Finished(_Event):
    """All done. `stopped` when the person asked to end early; the best model so far was kept and judged."""

    kind: Literal["finished"] = "finished"
    stopped: bool = False
    seconds: float


class Failed(_Event):
    """The run ended without a result: the code and facts of a UserError, or code `unexpected`."""

    kind: Literal["failed"] = "failed"
    code: str
    facts: dict[str, Any]


Event = Annotated[
    Started | Phase | Prepared | Planned | Step | Evaluated | Saved | Retrying | Finished | Failed,
    Field(discriminator="kind"),
]
_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def parse(line: str | bytes) -> Event:
    """One event from its JSON line.

    Raises:
        pydantic.ValidationError: the line is torn or of another version.
    """
    return _adapter.validate_json(line)
