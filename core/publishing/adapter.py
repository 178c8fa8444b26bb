"""The adapter of a result by itself: what LoRA learned, for whoever has the model that it stands on."""

from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models import parts
from core.models.catalogue import STARTERS
from core.publishing import archive, card_use
from core.publishing.card import TAG
from core.publishing.card_markup import heading, plain, program, quoted
from core.publishing.card_text import used_of
from core.runs.store import RunRecord, RunStore
from core.spec import ModelChoice, TrainSpec
from core.tasks.base import Task, find


def folder_of(store: RunStore, run_id: str) -> Path | None:
    """Where the adapter of a run lies; None where it has none.

    Raises:
        UserError: `run_unknown`.
    """
    folder = store.folder(run_id) / "adapter"
    return folder if folder.is_dir() and len(parts.adapter_files(folder)) == 2 else None


def fits_base(spec: TrainSpec) -> bool:
    """Whether the adapter goes onto the model as it was: a pooling that was chosen may add or remove a layer."""
    return spec.pooling == "own"


def entries(store: RunStore, run_id: str, owner: str) -> list[archive.Entry]:
    """What leaves the house of a run's adapter: its two files, and its card as `README.md`.

    Raises:
        UserError: `run_unknown`; `run_has_no_model` where no adapter was kept, or none that fits its base.
    """
    record, spec = store.get(run_id, owner), store.spec(run_id)
    folder, report = folder_of(store, run_id), store.report(run_id)
    if folder is None or report is None or not fits_base(spec):
        raise UserError("run_has_no_model", run=run_id[:8])
    return archive.described(parts.adapter_files(folder), adapter_card(spec, report, record))


def adapter_card(spec: TrainSpec, report: dict[str, Any], record: RunRecord) -> str:
    """The card of an adapter, as Markdown with YAML in front: what it stands on, and how it is put there."""
    from huggingface_hub import ModelCardData

    task, base = find(spec.task), _hub_id(spec.model)
    data = ModelCardData(
        library_name="peft", pipeline_tag=task.pipeline_tag, base_model=base, tags=[TAG, "lora"]
    ).to_yaml()
    stands = f"[{base}](https://huggingface.co/{base})" if base else "the model that its training began with"
    body = [
        f"# {heading(plain(record.name) or 'Adapter')}",
        f"An adapter (LoRA) for {stands}: only what was learned on {report['rows']['train']:,}"
        f" {card_use.examples(task)}. It does nothing by itself; the model that it stands on is needed too.",
        program(_snippet(task, spec, report)),
        _besides(task),
        "---\n\nMade with Tuning Fork.",
    ]
    return f"---\n{str(data).strip()}\n---\n\n" + "\n\n".join(body) + "\n"


def _hub_id(choice: ModelChoice) -> str | None:
    """What the base is called on the Hub. An adapter of a run that went on from another one stands on that one."""
    if choice.source == "starter" and choice.name in STARTERS:
        return STARTERS[choice.name].hub_id
    return choice.name if choice.source == "hub" else None


def _snippet(task: Task, spec: TrainSpec, report: dict[str, Any]) -> str:
    auto, base = card_use.auto_class(task, used_of(report)), _hub_id(spec.model)
    place = quoted(base or "folder of the model that the training began with")
    if base and spec.model.source == "hub" and spec.model.revision:
        place += f", revision={quoted(spec.model.revision)}"
    labels, named = "", ""
    if not task.writes:
        labels = f"labels = [{', '.join(quoted(label) for label in report['labels'])}]\n"
        named = ", num_labels=len(labels), id2label=dict(enumerate(labels))"
    return (
        f"from peft import PeftModel\nfrom transformers import {auto}\n\n{labels}"
        f"base = {auto}.from_pretrained({place}{named})\n"
        'model = PeftModel.from_pretrained(base, ".")\n'
    )


def _besides(task: Task) -> str:
    if task.writes:
        needed = "How it is asked, with which words and settings, is described"
    elif task.answers == "labels":
        needed = "The tokenizer is that of the base; scores, and from which score on a label is given, are described"
    else:
        needed = "The tokenizer is that of the base; scores and limits are described"
    return f"{needed} with the whole model of the same run, into which this adapter is merged."
