"""How the rows are divided: by share, by a column, by groups that stay together, or with exam rows of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.options import ReadOptions
from core.data.shapes import column_names
from core.errors import UserError
from core.spec import SplitChoice, knobs
from ui import cards, pictures, widgets
from ui.overview import fractions, overview
from ui.page import Page, Visit
from ui.tabs.data.handing_in import problem, table_of
from ui.uploads import remove

NAME = "parts"
METHODS = ("fraction", "column", "group")


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text = page.text
    parts: dict[str, Any] = {"sizes": gr.HTML()}
    with gr.Accordion(text("data.parts_change"), open=False, elem_id="parts"):
        parts["method"] = gr.Radio(
            [(text(f"data.split.{m}"), m) for m in METHODS],
            value="fraction",
            label=text("data.split_label"),
            elem_id="split-method",
        )
        parts["split_column"] = gr.Dropdown(
            label=text("data.split_column"), visible=False, filterable=False, elem_id="split-column"
        )
        with gr.Row():
            for name, knob in knobs("data").items():
                parts[name] = widgets.component(text, knob)
        parts["test_file"] = gr.File(label=text("data.test_upload"), height=120, elem_id="test-file", buttons=[])
        parts["test_problem"] = gr.HTML(visible=False)
        parts["test_summary"] = gr.HTML()
        parts["test_remove"] = gr.Button(text("data.test_remove"), visible=False, size="sm")
    return parts


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events."""
    shares = [parts[name] for name in knobs("data")]
    listen([share.release for share in shares], choose_shares, shares, trigger_mode="always_last")
    listen([parts["method"].input, parts["split_column"].input], choose_split, [parts["method"], parts["split_column"]])
    listen(parts["test_file"].upload, upload_test, [parts["test_file"]], show_progress="minimal")
    listen(parts["test_remove"].click, remove_test)


def view(visit: Visit) -> dict[str, Any]:
    """The sizes, and how they came about."""
    text, data, split = visit.text, overview(visit), visit.draft.split
    share, test = fractions(visit), table_of(visit, visit.draft.test_table)
    taken = set(column_names(data.columns))
    free = [name for name in (data.table.columns if data.table else ()) if name not in taken]
    by_column = split.method == "column"
    return {
        "sizes": pictures.parts_bar(text, data.sizes),
        "method": gr.update(value=split.method, visible=test is None),
        "split_column": gr.Dropdown(
            choices=free, value=split.column if split.column in free else None, visible=split.method != "fraction"
        ),
        "validation_fraction": share["validation_fraction"],
        "test_fraction": gr.Slider(value=share["test_fraction"], visible=test is None and not by_column),
        "test_file": gr.File(value=None, visible=not by_column),
        "test_problem": gr.HTML(visible=False),
        "test_summary": cards.facts([(text("data.test_table"), f"{test.name} · {text('data.rows', n=test.rows)}")])
        if test
        else "",
        "test_remove": gr.Button(visible=test is not None),
    }


def choose_shares(visit: Visit, *shares: float) -> dict[str, Any]:
    """Say how much is held out."""
    fields = knobs("data")
    held = {name: widgets.from_widget(knob, share) for (name, knob), share in zip(fields.items(), shares, strict=True)}
    held = {name: share for name, share in held.items() if share is not None}
    visit.change(knobs={**visit.draft.knobs, **held})
    return {}


def choose_split(visit: Visit, method: str, column: str | None) -> dict[str, Any]:
    """Say by what the rows are divided. Until a column is chosen they are divided by share."""
    if method not in METHODS:
        return {}
    if method == "fraction" or not column:
        visit.change(split=SplitChoice())
        shown = {"method": method, "split_column": gr.update(visible=True, value=None)}
        return shown if method != "fraction" else {}
    visit.change(split=SplitChoice.model_validate({"method": method, "column": column}))
    return {}


def upload_test(visit: Visit, path: str | None) -> dict[str, Any] | None:
    """Take a second file: its rows are the test rows, none of the first one are held out for that."""
    if path is None:
        return None
    try:
        table = visit.house.tables.add(
            Path(path), visit.owner, Path(path).name, ReadOptions(single_column=True), keep_file=False
        )
        for name in column_names(visit.draft.columns):
            if name not in table.columns:
                raise UserError("column_missing", column=name, columns=", ".join(table.columns))
    except UserError as error:
        return {"test_file": None, "test_problem": problem(visit, error)}
    finally:
        remove(Path(path))
    split = SplitChoice() if visit.draft.split.method == "column" else visit.draft.split
    visit.change(test_table=table.id, split=split)
    return {}


def remove_test(visit: Visit) -> dict[str, Any]:
    """Go back to holding rows out."""
    visit.change(test_table=None)
    return {}
