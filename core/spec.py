"""TrainSpec: every choice a person can make about a run, typed, bounded and serialisable."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from core.errors import UserError


@dataclass(frozen=True)
class Knob:
    """How a field is turned: declared beside its default and bounds, read by slider, flag and search.

    Attributes:
        scale: `log` where ratios matter more than differences.
        step: smallest useful change on a linear scale.
        choices: the positions, where only some make sense.
        group: `training` for the hyperparameters, `data` for the split.
    """

    scale: Literal["linear", "log"] = "linear"
    step: float = 1
    choices: tuple[float, ...] = ()
    group: Literal["training", "data"] = "training"


class Frozen(BaseModel):
    """A value: cannot be changed, refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitChoice(Frozen):
    """How the rows are divided into training, validation and test.

    Attributes:
        method: `fraction` draws rows by their share, class by class; `column` reads the part from a column; `group`
            keeps all rows with the same value of a column (one customer, one document) in the same part.
        column: the column that `column` and `group` need.
    """

    method: Literal["fraction", "column", "group"] = "fraction"
    column: str | None = None


MOST_COPIES = 10
AUGMENTATIONS = ("delete", "swap", "synonyms", "typos", "noise")


class AugmentChoice(Frozen):
    """Changed copies of training rows. No method means none.

    Attributes:
        methods: which kinds of change, a copy gets one of them.
        copies: copies for each training row.
        strength: share of the words of a text that are changed.
        balance: whether smaller classes get more copies, up to the size of the largest one.
    """

    methods: tuple[Literal["delete", "swap", "synonyms", "typos", "noise"], ...] = ()
    copies: float = Field(default=1.0, ge=0, le=MOST_COPIES)
    strength: float = Field(default=0.1, ge=0.02, le=0.5)
    balance: bool = False


class DataChoice(Frozen):
    """Which table, and what its columns mean.

    Attributes:
        table: id of a table in the table store.
        columns: role -> column name or names, the roles that the task asks for (`text`, `label`).
        test_table: id of a second table with the test rows; None holds rows of the first one out.
        name: the file's name, for people.
        fixes: what is mended before training, finding's code -> name of the fix.
        split: how the rows are divided.
        augment: changed copies of training rows.
    """

    table: str = Field(pattern=r"^[0-9a-f]{64}$")
    columns: dict[str, str | tuple[str, ...]]
    test_table: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    name: str = ""
    fixes: dict[str, str] = {}
    split: SplitChoice = SplitChoice()
    augment: AugmentChoice = AugmentChoice()


class ModelChoice(Frozen):
    """Which model to start from.

    Attributes:
        source: `starter` (a package), `hub`, `run` (an earlier result) or `directory` (command line only).
        name: package key, Hub id, run id or folder.
        revision: commit of a Hub model, resolved when it was fetched.
    """

    source: Literal["starter", "hub", "run", "directory"] = "starter"
    name: str = "minilm"
    revision: str | None = None


class TrainSpec(Frozen):
    """Everything a run is to do. A knob's default, bounds, scale and step live on its field alone."""

    version: Literal[1] = 1
    task: str = "classification"
    data: DataChoice
    model: ModelChoice = ModelChoice()

    learning_rate: Annotated[float, Field(ge=1e-6, le=1e-2), Knob(scale="log")] = 5e-5
    batch_size: Annotated[int, Field(ge=1, le=128), Knob(choices=(4, 8, 16, 32, 64, 128))] = 16
    epochs: Annotated[int, Field(ge=1, le=50), Knob()] = 4
    max_length: Annotated[int, Field(ge=8, le=8192), Knob(choices=(32, 64, 128, 256, 512))] = 128
    weight_decay: Annotated[float, Field(ge=0, le=0.3), Knob(step=0.01)] = 0.01
    warmup_ratio: Annotated[float, Field(ge=0, le=0.5), Knob(step=0.05)] = 0.1
    dropout: Annotated[float, Field(ge=0, le=0.5), Knob(step=0.05)] = 0.1
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), Knob()] = 42

    validation_fraction: Annotated[float, Field(ge=0.05, le=0.4), Knob(step=0.05, group="data")] = 0.15
    test_fraction: Annotated[float, Field(ge=0.05, le=0.4), Knob(step=0.05, group="data")] = 0.15


@dataclass(frozen=True)
class KnobField:
    """A knob with everything its field declares."""

    name: str
    knob: Knob
    default: float
    low: float
    high: float
    whole: bool


def _bounds(field: FieldInfo) -> tuple[float, float]:
    low = next(m.ge for m in field.metadata if getattr(m, "ge", None) is not None)
    high = next(m.le for m in field.metadata if getattr(m, "le", None) is not None)
    return float(low), float(high)


def knobs(group: str | None = None) -> dict[str, KnobField]:
    """All knobs by name, in the order they are declared, or those of one group."""
    found: dict[str, KnobField] = {}
    for name, field in TrainSpec.model_fields.items():
        knob = next((m for m in field.metadata if isinstance(m, Knob)), None)
        if knob and group in (None, knob.group):
            low, high = _bounds(field)
            found[name] = KnobField(name, knob, cast(float, field.default), low, high, field.annotation is int)
    return found


def build(**choices: Any) -> TrainSpec:
    """A TrainSpec from values as they come from sliders or flags.

    Raises:
        UserError: `knob_unknown`, `knob_not_a_number` or `knob_out_of_range`, naming the first wrong knob.
    """
    known = knobs()
    try:
        return TrainSpec(**choices)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if name not in known:
            raise UserError("knob_unknown", knob=name, known=", ".join(known)) from wrong
        field, value = known[name], str(first["input"])
        if first["type"] in ("greater_than_equal", "less_than_equal"):
            raise UserError("knob_out_of_range", knob=name, value=value, low=field.low, high=field.high) from wrong
        code = "knob_not_whole" if field.whole else "knob_not_a_number"
        raise UserError(code, knob=name, value=value, low=field.low, high=field.high) from wrong
