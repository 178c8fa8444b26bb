"""The model card: what a reader on the Hub or of the zip learns about a result. English prose, from facts alone."""

import re
from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from core.evaluation.scales import SCALES
from core.models.catalogue import STARTERS, SUGGESTIONS
from core.models.fetching import license_of
from core.publishing import card_text
from core.publishing.card_markup import plain
from core.runs.store import RunRecord, RunStore
from core.settings import Settings
from core.spec import ModelChoice, TrainSpec
from core.tasks.base import Task, find

TAG = "tuning-fork"
_LONGEST_CHAIN = 20
# What the Hub takes for a language: ISO 639.
_LANGUAGE = re.compile("[a-z]{2,3}")


@dataclass(frozen=True)
class Base:
    """What a result was fine-tuned from, as the Hub knows it; None where that is not known."""

    hub_id: str | None = None
    license: str | None = None


def for_run(store: RunStore, run_id: str, owner: str, settings: Settings, repo_id: str | None = None) -> str:
    """The card of a finished run.

    Args:
        repo_id: where it will be published, None for a zip.

    Raises:
        UserError: `run_unknown`, `run_has_no_model`.
    """
    record = store.get(run_id, owner)
    report = store.report(run_id)
    if report is None:
        raise UserError("run_has_no_model", run=run_id[:8])
    spec = store.spec(run_id)
    return model_card(spec, report, record, repo_id, base_of(spec.model, store, owner, settings))


def base_of(choice: ModelChoice, store: RunStore, owner: str, settings: Settings) -> Base:
    """The model at the beginning: a run that went on from another one is followed back to it."""
    for _ in range(_LONGEST_CHAIN):
        if choice.source != "run":
            break
        try:
            choice = store.spec(store.get(choice.name, owner).id).model
        except UserError:
            return Base()
    if choice.source == "starter" and choice.name in STARTERS:
        return Base(STARTERS[choice.name].hub_id, STARTERS[choice.name].license)
    if choice.source == "hub":
        known = next((s.license for s in SUGGESTIONS if s.hub_id == choice.name), None)
        return Base(choice.name, license_of(choice.name, choice.revision, settings, owner) or known)
    return Base()


def model_card(
    spec: TrainSpec, report: dict[str, Any], record: RunRecord, repo_id: str | None, base: Base | None = None
) -> str:
    """The card as Markdown with YAML in front. Words of strangers (labels, names) are shown as code, never as markup.

    Args:
        report: what `report.json` holds.
        repo_id: `org/name` where it will be published, None for a zip.
        base: what it was fine-tuned from; taken from the catalogue where it is not given.
    """
    if base is None:
        starter = STARTERS.get(spec.model.name) if spec.model.source == "starter" else None
        hub_id = spec.model.name if spec.model.source == "hub" else None
        base = Base(starter.hub_id, starter.license) if starter else Base(hub_id)
    front = _front_matter(spec, report, record, repo_id, base)
    return f"---\n{front}\n---\n\n{card_text.body(spec, report, record, repo_id, base.hub_id)}"


def _front_matter(spec: TrainSpec, report: dict[str, Any], record: RunRecord, repo_id: str | None, base: Base) -> str:
    from huggingface_hub import ModelCardData

    task = find(spec.task)
    title = plain(repo_id.split("/")[-1] if repo_id else record.name or "model")
    data = ModelCardData(
        license=base.license,
        library_name="transformers",
        pipeline_tag=task.pipeline_tag,
        base_model=base.hub_id,
        tags=[TAG, "generated_from_spreadsheet"],
        language=_languages(task, card_text.used_of(report)),
        metrics=sorted({SCALES[n].card_type for n in report["metrics"] if n in SCALES} - {"loss"}),
        model_name=title,
        eval_results=_results(task.pipeline_tag, report),
    )
    return str(data.to_yaml()).strip()


def _languages(task: Task, used: dict[str, Any]) -> list[str] | None:
    """The languages of a translation; what else is known of languages is guessed from the rows."""
    sides = [str(used.get(name) or "") for name in ("source_language", "target_language")]
    known = task.pipeline_tag == "translation" and all(_LANGUAGE.fullmatch(side) for side in sides)
    return list(dict.fromkeys(sides)) if known else None


def _results(task_type: str, report: dict[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=task_type,
            task_name=task_type.replace("-", " ").capitalize(),
            dataset_type="private-spreadsheet",
            dataset_name=plain(report["data"].get("name") or "spreadsheet"),
            dataset_split="test",
            metric_type=scale.card_type,
            metric_name=scale.card_name,
            metric_value=report["metrics"][key],
            metric_args=dict(scale.card_arguments) or None,
        )
        for key, scale in SCALES.items()
        if key in report["metrics"]
    ]
