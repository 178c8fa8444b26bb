"""Changed copies of training rows, for small data: looked at before they are used."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.data.survey import Question
from core.data.trying import copies
from core.errors import UserError
from core.spec import AUGMENTATIONS, MOST_COPIES, AugmentChoice
from ui import cards
from ui.overview import overview, question
from ui.page import Page, Visit
from ui.pictures import esc, shortened

NAME = "augment"
_TASKS = ("classification", "multi_label")


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text, parts = page.text, {}
    with gr.Accordion(text("data.augment_change"), open=False, elem_id="augment"):
        parts["augment_methods"] = gr.CheckboxGroup(
            [(text(f"data.augmentation.{m}"), m) for m in AUGMENTATIONS],
            label=text("data.augment_methods"),
            elem_id="augment-methods",
        )
        with gr.Row():
            parts["augment_copies"] = gr.Slider(
                0, MOST_COPIES, 1, step=0.5, label=text("data.augment_copies"), info=text("data.augment_copies_help"),
                buttons=[],
            )  # fmt: skip
            parts["augment_strength"] = gr.Slider(
                0.02, 0.5, 0.1, step=0.02, label=text("data.augment_strength"), buttons=[],
                info=text("data.augment_strength_help"),
            )  # fmt: skip
        parts["augment_balance"] = gr.Checkbox(
            False, label=text("data.augment_balance"), info=text("data.augment_balance_help")
        )
        parts["augment_look"] = gr.Button(text("data.augment_look"), size="sm", elem_id="augment-look")
        parts["augment_preview"] = gr.HTML()
    parts["augment_plan"] = gr.HTML()
    return parts


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events."""
    names = ("augment_methods", "augment_copies", "augment_strength", "augment_balance")
    asked = [parts[name] for name in names]
    events = [asked[0].input, asked[1].release, asked[2].release, asked[3].input]
    told = {name: parts[name] for name in ("augment_plan", "augment_preview", "augment_look")}
    page.listen(events, choose, asked, told, trigger_mode="always_last")
    page.listen(parts["augment_look"].click, look, None, {"augment_preview": parts["augment_preview"]})


def view(visit: Visit) -> dict[str, Any]:
    """The choice, and what it amounts to."""
    choice = visit.draft.augment
    return {
        "augment_methods": list(choice.methods),
        "augment_copies": choice.copies,
        "augment_strength": choice.strength,
        "augment_balance": choice.balance,
        "augment_preview": "",
    } | _plan(visit)


def _plan(visit: Visit) -> dict[str, Any]:
    from core.data.augmenting import planned

    text, choice, data = visit.text, visit.draft.augment, overview(visit)
    on = bool(choice.methods) and visit.draft.task in _TASKS and bool(data.sizes)
    words = ""
    if on:
        before, after = data.train_counts, planned(data.train_counts, choice)
        rows = [[name, before[name], after[name]] for name in before]
        heads = [text("data.augment_label"), text("data.augment_before"), text("data.augment_after")]
        said = text("data.augment_sum", before=sum(before.values()), after=sum(after.values()))
        table = cards.table(heads, rows[:30], text("data.augment_title"), "figures")
        words = f'<p class="said">{esc(said)}</p>{table}'
    return {"augment_plan": words, "augment_look": gr.Button(interactive=on)}


def choose(
    visit: Visit, methods: list[str] | None, copies_each: float, strength: float, balance: bool
) -> dict[str, Any]:
    """Say which copies are wanted."""
    asked = {
        "methods": [m for m in AUGMENTATIONS if m in (methods or ())],
        "copies": max(0.0, min(float(copies_each), MOST_COPIES)),
        "strength": max(0.02, min(float(strength), 0.5)),
        "balance": bool(balance),
    }
    visit.change(augment=AugmentChoice.model_validate(asked))
    return _plan(visit) | {"augment_preview": ""}


def look(visit: Visit) -> dict[str, Any]:
    """Some copies beside their originals."""
    text, data = visit.text, overview(visit)
    if data.table is None or not data.sizes:
        raise UserError("nothing_to_train_on")
    asked: Question = question(visit, data.table, data.columns)
    shown = copies(visit.house.settings, asked, visit.draft.augment)
    if not shown:
        return {"augment_preview": f'<p class="hint">{esc(text("data.augment_none"))}</p>'}
    heads = [text(f"data.augment_{name}") for name in ("before_text", "after_text", "method", "label")]
    rows: list[list[object]] = [
        [
            shortened(row["before"], 300),
            shortened(row["after"], 300),
            text(f"data.augmentation.{row['method']}"),
            row["label"],
        ]
        for row in shown
    ]
    return {"augment_preview": cards.table(heads, rows, text("data.augment_look"), "stacked copies")}
