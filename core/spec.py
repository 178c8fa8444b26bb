"""TrainSpec: every choice a person can make about a run, typed, bounded and serialisable."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, cast, get_args

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
        group: `training` for the hyperparameters, `data` for the split, `adapting` for how much of the model is
            changed, `writing` for how answers are written.
    """

    scale: Literal["linear", "log"] = "linear"
    step: float = 1
    choices: tuple[float, ...] = ()
    group: Literal["training", "data", "adapting", "writing"] = "training"


@dataclass(frozen=True)
class Switch:
    """A field that is no number: one of some words, yes or no, or a text. Its choices are the field's own type.

    Attributes:
        group: as a Knob's, and `reading` for how an example is given to the model.
        longest: of a text, in characters.
    """

    group: Literal["training", "adapting", "writing", "reading"] = "training"
    longest: int = 0


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


Method = Literal["full", "lora", "head", "quick", "few"]
Truncation = Literal["head", "tail", "both"]


class TrainSpec(Frozen):
    """Everything a run is to do. A knob's default, bounds, scale and step live on its field alone.

    Attributes:
        method: what is changed. `full`: every weight that is not frozen; `lora`: small matrices beside the weights;
            `head`: the classification head alone; `quick`: a linear head on features that are computed once; `few`:
            texts of a class are drawn together first (contrastive), then a linear head: for few examples.
        larger_batches: whether a trial may make batches larger where that is faster, and steps with them: see
            `core.training.batch_size`.
        max_length: tokens that are read of an example; of an encoder-decoder its source, of a decoder-only model prompt
            and answer together.
        max_target_length: tokens of an answer that are learned from.
        truncation: which part of a text that is too long is kept.
        source_language, target_language: ISO 639-1 codes, empty where they are not told.
        instruction: what a decoder-only model is told before each example; empty for the task's own words.
        lora_targets: which linear layers get matrices, all or those of attention alone.
        lora_dora, lora_rslora: variants (Liu et al., 2024; Kalajdzievski, 2023).
        quantization: bits of the frozen base under LoRA, on CUDA alone.
        keep_adapter: whether the adapter is also saved by itself.
        freeze_layers: first layers that stay as they are.
        head_layers, pooling: of a classification head; `own` for what the model brings.
        packing: whether short examples share a row of tokens, without seeing one another.
        beams … stop: how answers are written when the result is judged, and the first values in "Try it".
    """

    version: Literal[1] = 1
    task: str = "classification"
    data: DataChoice
    model: ModelChoice = ModelChoice()

    learning_rate: Annotated[float, Field(ge=1e-6, le=1e-2), Knob(scale="log")] = 5e-5
    batch_size: Annotated[int, Field(ge=1, le=128), Knob(choices=(4, 8, 16, 32, 64, 128))] = 16
    epochs: Annotated[int, Field(ge=1, le=50), Knob()] = 4
    larger_batches: Annotated[bool, Switch()] = False
    max_length: Annotated[int, Field(ge=8, le=8192), Knob(choices=(32, 64, 128, 256, 512))] = 128
    weight_decay: Annotated[float, Field(ge=0, le=0.3), Knob(step=0.01)] = 0.01
    warmup_ratio: Annotated[float, Field(ge=0, le=0.5), Knob(step=0.05)] = 0.1
    dropout: Annotated[float, Field(ge=0, le=0.5), Knob(step=0.05)] = 0.1
    max_target_length: Annotated[int, Field(ge=8, le=512), Knob(choices=(16, 32, 64, 128, 256, 512))] = 64
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), Knob()] = 42

    truncation: Annotated[Truncation, Switch(group="reading")] = "head"
    source_language: Annotated[str, Field(max_length=12), Switch(group="reading", longest=12)] = ""
    target_language: Annotated[str, Field(max_length=12), Switch(group="reading", longest=12)] = ""
    instruction: Annotated[str, Field(max_length=2000), Switch(group="reading", longest=2000)] = ""
    packing: Annotated[bool, Switch(group="reading")] = False

    method: Annotated[Method, Switch(group="adapting")] = "full"
    freeze_embeddings: Annotated[bool, Switch(group="adapting")] = False
    freeze_layers: Annotated[int, Field(ge=0, le=100), Knob(group="adapting")] = 0
    head_layers: Annotated[Literal["own", "one", "two"], Switch(group="adapting")] = "own"
    pooling: Annotated[Literal["own", "cls", "mean"], Switch(group="adapting")] = "own"
    lora_rank: Annotated[int, Field(ge=1, le=256), Knob(choices=(2, 4, 8, 16, 32, 64, 128), group="adapting")] = 16
    lora_alpha: Annotated[int, Field(ge=1, le=512), Knob(choices=(4, 8, 16, 32, 64, 128, 256), group="adapting")] = 32
    lora_dropout: Annotated[float, Field(ge=0, le=0.5), Knob(step=0.05, group="adapting")] = 0.05
    lora_targets: Annotated[Literal["all", "attention"], Switch(group="adapting")] = "all"
    lora_dora: Annotated[bool, Switch(group="adapting")] = False
    lora_rslora: Annotated[bool, Switch(group="adapting")] = False
    quantization: Annotated[Literal["none", "8", "4"], Switch(group="adapting")] = "none"
    keep_adapter: Annotated[bool, Switch(group="adapting")] = False

    beams: Annotated[int, Field(ge=1, le=8), Knob(group="writing")] = 1
    max_new_tokens: Annotated[int, Field(ge=1, le=512), Knob(choices=(16, 32, 64, 128, 256, 512), group="writing")] = 64
    no_repeat_ngram: Annotated[int, Field(ge=0, le=10), Knob(group="writing")] = 0
    length_penalty: Annotated[float, Field(ge=-2, le=3), Knob(step=0.1, group="writing")] = 1.0
    temperature: Annotated[float, Field(ge=0, le=2), Knob(step=0.1, group="writing")] = 0.0
    top_p: Annotated[float, Field(ge=0.05, le=1), Knob(step=0.05, group="writing")] = 1.0
    stop: Annotated[str, Field(max_length=100), Switch(group="writing", longest=100)] = ""

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
    return {name: knob for name, knob in _knobs().items() if group in (None, knob.knob.group)}


@cache
def _knobs() -> dict[str, KnobField]:
    found: dict[str, KnobField] = {}
    for name, field in TrainSpec.model_fields.items():
        knob = next((m for m in field.metadata if isinstance(m, Knob)), None)
        if knob:
            low, high = _bounds(field)
            found[name] = KnobField(name, knob, cast(float, field.default), low, high, field.annotation is int)
    return found


@dataclass(frozen=True)
class SwitchField:
    """A switch with everything its field declares.

    Attributes:
        choices: the words it may be; empty for a text, `(False, True)` for yes or no.
    """

    name: str
    switch: Switch
    default: str | bool
    choices: tuple[str | bool, ...]


def switches(group: str | None = None) -> dict[str, SwitchField]:
    """All switches by name, in the order they are declared, or those of one group."""
    return {name: switch for name, switch in _switches().items() if group in (None, switch.switch.group)}


@cache
def _switches() -> dict[str, SwitchField]:
    found: dict[str, SwitchField] = {}
    for name, field in TrainSpec.model_fields.items():
        switch = next((m for m in field.metadata if isinstance(m, Switch)), None)
        if switch:
            choices = (False, True) if field.annotation is bool else get_args(field.annotation)
            found[name] = SwitchField(name, switch, cast("str | bool", field.default), choices)
    return found


class Writing(Frozen):
    """How an answer is written. The fields are those of TrainSpec of the same names.

    Attributes:
        beams: hypotheses that are followed at once; 1 is greedy (or drawn, where the temperature is above 0).
        max_new_tokens: longest answer in tokens.
        no_repeat_ngram: so many tokens in a row do not come twice; 0 for no such rule.
        length_penalty: above 1 favours long answers among beams, below 1 short ones.
        temperature: 0 for the likeliest token each time, else how freely the next one is drawn.
        top_p: share of probability from whose likeliest tokens one is drawn.
        stop: text at which writing ends; empty for none.
    """

    beams: int = Field(default=1, ge=1, le=8)
    max_new_tokens: int = Field(default=64, ge=1, le=512)
    no_repeat_ngram: int = Field(default=0, ge=0, le=10)
    length_penalty: float = Field(default=1.0, ge=-2, le=3)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0.05, le=1)
    stop: str = Field(default="", max_length=100)


def writing_of(spec: TrainSpec) -> Writing:
    """The part of a spec that says how answers are written."""
    return Writing(**{name: getattr(spec, name) for name in Writing.model_fields})


def build(**choices: Any) -> TrainSpec:
    """A TrainSpec from values as they come from sliders or flags.

    Raises:
        UserError: `knob_unknown`, `knob_not_a_number`, `knob_out_of_range`, `switch_unknown_choice` or
            `switch_too_long`, naming the first wrong knob or switch.
    """
    known, words = knobs(), switches()
    try:
        return TrainSpec(**choices)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if name in words:
            if words[name].switch.longest:
                raise UserError("switch_too_long", knob=name, longest=words[name].switch.longest) from wrong
            told = ", ".join(str(choice) for choice in words[name].choices)
            raise UserError("switch_unknown_choice", knob=name, value=str(first["input"])[:40], known=told) from wrong
        if name not in known:
            raise UserError("knob_unknown", knob=name, known=", ".join([*known, *words])) from wrong
        field, value = known[name], str(first["input"])
        if first["type"] in ("greater_than_equal", "less_than_equal"):
            raise UserError("knob_out_of_range", knob=name, value=value, low=field.low, high=field.high) from wrong
        code = "knob_not_whole" if field.whole else "knob_not_a_number"
        raise UserError(code, knob=name, value=value, low=field.low, high=field.high) from wrong
