"""From what a person chose to a TrainSpec: recommendations, values moved by hand, the model and its size."""

from dataclasses import dataclass, field

from core import spec
from core.errors import UserError
from core.models import sizing
from core.spec import DataChoice, TrainSpec
from core.training.recommending import Advice, recommend
from ui.overview import overview
from ui.page import Visit


@dataclass(frozen=True)
class ModelView:
    """The chosen model as the page shows it: its facts, or why there are none."""

    facts: sizing.ModelFacts | None = None
    error: UserError | None = None

    @property
    def usable(self) -> bool:
        """Whether a run can be started with it."""
        return self.facts is not None and self.facts.downloaded and self.facts.fits != "no"


@dataclass(frozen=True)
class Settled:
    """The hyperparameters: what is recommended and why, and what holds."""

    advice: dict[str, Advice] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


def settled(visit: Visit) -> Settled:
    """All training knobs: the recommendation, overlaid by what was moved by hand."""
    draft, data = visit.draft, overview(visit)
    fields = spec.knobs("training")
    facts = _model(visit, {name: knob.default for name, knob in fields.items()}).facts
    rows, tokens = data.sizes.get("train", 0), (draft.tokens or {}).get("p95")
    advice = recommend(rows=rows, classes=len(data.counts), tokens_p95=int(tokens or 0), facts=facts)
    # What has not been measured yet gives no reason: the usual value stands until then.
    unknown = ([] if tokens else ["max_length"]) + ([] if rows else ["batch_size", "epochs"])
    advice |= {name: Advice(fields[name].default, "usual_value") for name in unknown}
    values = {
        name: draft.knobs.get(name, advice[name].value if name in advice else knob.default)
        for name, knob in fields.items()
    }
    return Settled(advice, values)


def model(visit: Visit) -> ModelView:
    """The chosen model with its need for memory under the settings that hold."""
    return _model(visit, settled(visit).values)


def _model(visit: Visit, values: dict[str, float]) -> ModelView:
    choice, house = visit.draft.model, visit.house
    length, batch = int(values["max_length"]), int(values["batch_size"])
    try:
        facts = sizing.describe(
            choice, house.settings, house.runs, visit.owner, max_length=length, batch_size=batch, token=visit.token
        )
    except UserError as error:
        return ModelView(error=error)
    return ModelView(facts)


def train_spec(visit: Visit) -> TrainSpec:
    """Everything chosen, as the run will have it.

    Raises:
        UserError: `nothing_to_train_on`, `model_not_ready`, `too_large_for_memory`, and what the data check or a
            knob says.
    """
    data, draft = overview(visit), visit.draft
    if data.error:
        raise data.error
    if data.table is None:
        raise UserError("nothing_to_train_on")
    chosen = model(visit)
    if chosen.error:
        raise chosen.error
    if chosen.facts is None or not chosen.facts.downloaded:
        raise UserError("model_not_ready")
    if chosen.facts.fits == "no":
        need, have = (round(amount / 2**30, 1) for amount in (chosen.facts.memory_bytes, chosen.facts.available_bytes))
        raise UserError("too_large_for_memory", need_gb=need, have_gb=have)
    shares = {name: draft.knobs[name] for name in spec.knobs("data") if name in draft.knobs}
    fields = spec.knobs()
    values = {
        n: int(v) if fields[n].whole and float(v).is_integer() else v
        for n, v in {**settled(visit).values, **shares}.items()
    }
    table = DataChoice(
        table=data.table.id,
        columns=data.columns,
        test_table=draft.test_table,
        name=data.table.name,
        fixes=data.applied,
        split=draft.split,
        augment=draft.augment,
    )
    return spec.build(task=draft.task, data=table, model=draft.model, **values)
