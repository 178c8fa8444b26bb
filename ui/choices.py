"""From what a person chose to a TrainSpec: recommendations, values moved by hand, the model and its size."""

from dataclasses import dataclass, field
from dataclasses import fields as fields_of

from core import spec
from core.errors import UserError
from core.models import sizing, starters
from core.models.architectures import examples
from core.models.shares import Adapting
from core.spec import DataChoice, ModelChoice, TrainSpec
from core.tasks.base import Task, find
from core.training.recommending import Advice, recommend
from ui import cards
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
    """The settings: what is recommended and why, and what holds. Knobs and switches alike."""

    advice: dict[str, Advice] = field(default_factory=dict)
    values: dict[str, float | str | bool] = field(default_factory=dict)

    def whole(self, name: str) -> int:
        """The value of a knob without fractions."""
        return int(self.values[name])


def task_of(visit: Visit) -> Task:
    """What the examples are for; classification while that is not known."""
    return find(visit.draft.task)


def chosen_model(visit: Visit) -> ModelChoice:
    """The model to start from. A starter that cannot do the task gives way to the one that can."""
    chosen, able = visit.draft.model, task_of(visit).starters
    if chosen.source == "starter" and chosen.name not in able:
        return ModelChoice(source="starter", name=able[0])
    return chosen


def languages_of(visit: Visit) -> tuple[str, ...]:
    """The languages of what is read and of what is written, as far as they were guessed."""
    guess, columns = visit.draft.guess or {}, visit.draft.columns
    known = guess.get("languages") or {}
    roles = (role for role in task_of(visit).shape.roles if role.kind in ("text", "answer", "messages"))
    named = (columns.get(role.name) for role in roles)
    return tuple(str(known[column]) for column in named if isinstance(column, str) and column in known)


def prepare_starter(visit: Visit) -> None:
    """Make a starter that lies packed in its package ready, so that its texts can be measured and a run begins at once.

    Raises:
        UserError: what `core.models.starters.prepare` raises.
    """
    chosen, settings = chosen_model(visit), visit.house.settings
    if chosen.source == "starter" and starters.prepared(chosen.name, settings) is None:
        starters.prepare(chosen.name, settings)


def relevant(visit: Visit, settled: Settled) -> frozenset[str]:
    """The settings that matter to the chosen task and method."""
    return task_of(visit).relevant(str(settled.values["method"]))


def settled(visit: Visit) -> Settled:
    """All settings: the recommendation, overlaid by what was moved by hand."""
    found: Settled = visit.once("settled", lambda: _settled(visit))
    return found


def _settled(visit: Visit) -> Settled:
    draft, data, task = visit.draft, overview(visit), task_of(visit)
    fields = spec.knobs()
    defaults: dict[str, float | str | bool] = {name: knob.default for name, knob in fields.items()}
    defaults |= {name: switch.default for name, switch in spec.switches().items()}
    facts = _model(visit, defaults).facts
    rows, tokens = data.sizes.get("train", 0), draft.tokens or {}
    counts = data.train_counts
    chosen = {name: value for name, value in draft.knobs.items() if name in defaults}
    advice = recommend(
        rows=rows,
        classes=len(data.counts),
        tokens_p95=int(tokens.get("p95") or 0),
        answer_tokens_p95=int(tokens.get("answer_p95") or 0),
        facts=facts,
        task=task,
        method=str(chosen["method"]) if chosen.get("method") in task.methods else "",
        rows_per_class=(min(counts.values()), max(counts.values())) if counts else None,
    )
    # What has not been measured yet gives no reason: the usual value stands until then.
    unknown = ([] if tokens else ["max_length", "max_target_length"]) + ([] if rows else ["batch_size", "epochs"])
    advice |= {name: Advice(defaults[name], "usual_value") for name in unknown}
    languages = languages_of(visit)
    if "source_language" in task.uses and len(languages) == 2:
        found = zip(("source_language", "target_language"), languages, strict=True)
        advice |= {name: Advice(language, "language_guessed") for name, language in found}
    values = defaults | {name: a.value for name, a in advice.items()} | chosen
    if values["method"] not in task.methods:
        values["method"] = task.methods[0]
    return Settled(advice, values)


def model(visit: Visit) -> ModelView:
    """The chosen model with its need for memory under the settings that hold."""
    found: ModelView = visit.once("model", lambda: _model(visit, settled(visit).values))
    return found


def _model(visit: Visit, values: dict[str, float | str | bool]) -> ModelView:
    choice, house, task = chosen_model(visit), visit.house, task_of(visit)
    # Before there is data, labels are two.
    labels = 0 if task.writes else max(2, len(overview(visit).counts))
    adapting = {one.name: values[one.name] for one in fields_of(Adapting)}
    try:
        facts = sizing.describe(
            choice,
            house.settings,
            house.runs,
            visit.owner,
            max_length=int(values["max_length"]),
            batch_size=int(values["batch_size"]),
            token=visit.token,
            max_target_length=int(values["max_target_length"]),
            labels=labels,
            **adapting,
        )
    except UserError as error:
        return ModelView(error=error)
    kinds = task.kinds
    if facts.kind and facts.kind not in kinds:
        wrong = UserError("model_wrong_kind", name=facts.name, kind=facts.family, wanted=examples(kinds))
        return ModelView(error=wrong)
    return ModelView(facts)


def method_card(visit: Visit, settled: Settled) -> str:
    """How much of the model will be changed, in words and in numbers."""
    return cards.method(visit.text, str(settled.values["method"]), model(visit).facts)


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
    fields = spec.knobs()
    values = {
        name: int(value) if name in fields and fields[name].whole and float(value).is_integer() else value
        for name, value in settled(visit).values.items()
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
    return spec.build(task=draft.task, data=table, model=chosen_model(visit), **values)
