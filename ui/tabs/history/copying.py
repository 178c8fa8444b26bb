"""The settings of an earlier run as the choices for a new one, as far as what it was made from is still here."""

from typing import Any

from core.errors import UserError
from core.runs.store import RunRecord
from core.spec import TrainSpec, knobs, switches
from core.tasks.base import find
from ui import choices
from ui.page import Visit

# They decide what is recommended for all others.
_FIRST = ("method", "seed", *knobs("data"))


def copy_settings(visit: Visit, run: RunRecord) -> list[str]:
    """Choose what a run was told.

    Returns:
        What could not be chosen: `table`, `test_table`, `model`.
    """
    spec, missing = visit.house.runs.spec(run.id), []
    changes: dict[str, Any] = {"tokens": None}
    if _has_table(visit, spec.data.table):
        data = spec.data
        changes |= {"table": data.table, "task": spec.task, "columns": data.columns, "guess": None}
        changes |= {"fixes": data.fixes, "split": data.split, "augment": data.augment, "test_table": data.test_table}
        if data.test_table and not _has_table(visit, data.test_table):
            changes["test_table"] = None
            missing.append("test_table")
    else:
        missing.append("table")
    if _has_model(visit, spec):
        changes["model"] = spec.model
    else:
        missing.append("model")
    visit.change(**changes)
    _copy_knobs(visit, spec)
    return missing


def _copy_knobs(visit: Visit, spec: TrainSpec) -> None:
    """Move what stands elsewhere than it is recommended for the data and the model as they are chosen now."""
    task = find(visit.draft.task)
    method = spec.method if spec.method in task.methods else task.methods[0]
    told: dict[str, Any] = {name: getattr(spec, name) for name in (*knobs(), *switches())} | {"method": method}
    visit.change(knobs={name: told[name] for name in _FIRST})
    advice = choices.settled(visit).advice
    usual = {name: field.default for name, field in (knobs() | switches()).items()}
    usual |= {name: one.value for name, one in advice.items()}
    matter = task.relevant(method)
    visit.change(knobs={name: told[name] for name in usual if name in matter and told[name] != usual[name]})


def _has_table(visit: Visit, table: str) -> bool:
    try:
        visit.house.tables.get(table, visit.owner)
    except UserError:
        return False
    return True


def _has_model(visit: Visit, spec: TrainSpec) -> bool:
    """Whether the page can begin from it; a folder can be named on the command line alone."""
    if spec.model.source == "run":
        try:
            visit.house.runs.model_folder(visit.house.runs.get(spec.model.name, visit.owner).id)
        except UserError:
            return False
    return spec.model.source != "directory"
