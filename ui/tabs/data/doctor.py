"""The data doctor: what is wrong with the rows, why that matters, and a button that mends it or takes that back."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.data import profiling
from core.data.doctor.counts import cut_texts
from core.data.shapes import SHAPES
from core.errors import UserError
from ui import choices, pictures
from ui.overview import Overview, overview
from ui.page import Page, Visit
from ui.pictures import esc
from ui.tabs.data.findings import cards_of
from ui.tabs.shared import heading

NAME = "doctor"
# A click on one of the buttons inside says which fix of which finding is wanted, or taken back.
_ON_LOAD = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-code]');
  if (!button || button.disabled) return;
  element.querySelectorAll('button[data-code]').forEach((b) => { b.disabled = true; });
  trigger('click', { code: button.dataset.code, fix: button.dataset.fix });
});
"""
ALL = "*"


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text, parts = page.text, {}
    parts["doctor"] = gr.HTML(js_on_load=_ON_LOAD, elem_id="doctor")
    parts["mended"] = gr.HTML(elem_id="mended")
    with gr.Row(equal_height=False, elem_classes=["halves"]):
        with gr.Column(min_width=300, visible=False) as labels:
            heading(text("data.labels_title"), text("data.labels_help"))
            parts["labels"] = gr.HTML()
        with gr.Column(min_width=300):
            heading(text("data.lengths_title"), text("data.lengths_help"))
            parts["lengths"] = gr.HTML()
    parts["label_counts"] = labels
    return parts


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events."""
    listen(parts["doctor"].click, press, None, told=True, show_progress="minimal", trigger_mode="multiple")


def view(visit: Visit) -> dict[str, Any]:
    """The findings, the label counts, and the mended table to take home."""
    data = overview(visit)
    return {
        "doctor": findings(visit, data),
        "mended": _downloads(visit, data),
        "label_counts": gr.Column(visible=bool(data.counts)),
        "labels": pictures.label_counts(visit.text, data.counts),
        "lengths": lengths(visit),
    }


def findings(visit: Visit, data: Overview) -> str:
    """All findings as cards, errors first, what is mended last."""
    rows = data.table.rows if data.table else 0
    cut = cut_texts(visit.draft.tokens, int(choices.settled(visit).values["max_length"]), rows)
    return cards_of(visit.text, (*data.findings, *((cut.as_dict(),) if cut else ())), data.error)


def press(visit: Visit, told: dict[str, Any]) -> dict[str, Any]:
    """Apply a fix, or take it back; `*` stands for all recommended ones, or all that were applied.

    Raises:
        UserError: `fix_unknown`.
    """
    code, fix = str(told.get("code", "")), str(told.get("fix", ""))
    data, fixes = overview(visit), dict(visit.draft.fixes)
    open_ones = {f["code"]: f for f in data.findings if f["fixes"] and not f["applied"]}
    if code == ALL:
        wanted = {c: f["fix"] for c, f in open_ones.items() if f["recommended"]}
        fixes = {**fixes, **wanted} if fix else {}
    elif not fix:
        fixes.pop(code, None)
    elif code in open_ones and fix in open_ones[code]["fixes"]:
        fixes[code] = fix
    elif code not in fixes:
        raise UserError("fix_unknown", fix=code[:40], known=", ".join(open_ones))
    visit.change(fixes=fixes, tokens=None)
    return {}


def measure(visit: Visit) -> dict[str, Any]:
    """Measure the text lengths in tokens of the chosen model, and remember them."""
    draft = visit.draft
    if not draft.table:
        return {"lengths": ""}
    try:
        choices.prepare_starter(visit)
    except UserError:
        return {"lengths": ""}  # said on the tab of the model
    chosen = choices.model(visit).facts
    read, answer = profiling.measured_columns(SHAPES[draft.task], draft.columns)
    if not read or chosen is None or chosen.tokenizer is None:
        return {"lengths": ""}
    if (draft.tokens or {}).get("key") != _key(visit):
        path = visit.house.tables.path(draft.table, visit.owner)
        found = profiling.token_lengths(visit.house.settings, path, read, chosen.tokenizer, answer=answer)
        visit.change(tokens={**found, "key": _key(visit)})
    return {"lengths": lengths(visit), "doctor": findings(visit, overview(visit))}


def _key(visit: Visit) -> str:
    draft = visit.draft
    measured = profiling.measured_columns(SHAPES[draft.task], draft.columns)
    return f"{draft.table}/{measured}/{draft.model.source}/{draft.model.name}/{draft.model.revision}"


def lengths(visit: Visit) -> str:
    """The lengths as measured last."""
    tokens = visit.draft.tokens
    if not tokens:
        return f'<p class="hint">{esc(visit.text("data.lengths_wait"))}</p>'
    return pictures.token_histogram(visit.text, tokens)


def _downloads(visit: Visit, data: Overview) -> str:
    if not data.applied or data.table is None:
        return ""
    links = "".join(
        f'<a class="download quiet" href="download/table/mended.{kind}" download>'
        f"{esc(visit.text(f'data.download_{kind}'))}</a>"
        for kind in ("csv", "jsonl")
    )
    return f'<div class="mended"><p>{esc(visit.text("data.mended_help"))}</p>{links}</div>'
