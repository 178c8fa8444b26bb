"""Handing in data: a file, one of the samples, or pasted text; and what was understood of it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.options import ReadOptions
from core.data.samples import SAMPLES, TASKS
from core.data.store import Table
from core.data.understanding import SAMPLE_ROWS, understand
from core.errors import UserError
from core.spec import SplitChoice
from ui import cards, pictures
from ui.page import Page, Visit
from ui.uploads import remove

_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
_PASTED_CHARACTERS = 2_000_000


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text, parts = page.text, {}
    with gr.Row(elem_classes=["hand-in"]):
        with gr.Column(scale=3, min_width=280):
            parts["file"] = gr.File(label=text("data.upload"), height=180, elem_id="data-file", buttons=[])
        with gr.Column(scale=2, min_width=260, elem_classes=["sample"]):
            gr.Markdown(text("data.sample_help"))
            parts["sample"] = gr.Dropdown(
                [(text(f"data.sample_of.{key}"), key) for key in TASKS],
                value=next(iter(TASKS)),
                label=text("data.sample_label"),
                filterable=False,
                elem_id="sample",
            )
            parts["_take"] = gr.Button(text("data.sample"), variant="secondary")
    with gr.Accordion(text("data.paste_title"), open=False):
        parts["pasted"] = gr.Textbox(
            label=text("data.paste"),
            info=text("data.paste_help"),
            lines=6,
            max_lines=12,
            max_length=_PASTED_CHARACTERS,
            elem_id="pasted",
        )
        parts["_paste"] = gr.Button(text("data.paste_use"), size="sm")
    return parts


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events."""
    listen(parts["file"].upload, upload, [parts["file"]], show_progress="minimal")
    listen(parts["_take"].click, take_sample, [parts["sample"]], show_progress="minimal")
    listen(parts["_paste"].click, paste, [parts["pasted"]], show_progress="minimal")


def view(visit: Visit) -> dict[str, Any]:
    """What was handed in."""
    return {"file": None, "summary": summary(visit, table_of(visit, visit.draft.table))}


def upload(visit: Visit, path: str | None) -> dict[str, Any] | None:
    """Take a file into the person's store. A file that cannot be read changes nothing but the message."""
    if path is None:
        return None
    try:
        take(visit, Path(path), Path(path).name)
    except UserError as error:
        return {"file": None, "problem": problem(visit, error)}
    finally:
        remove(Path(path))
    return {}


def take_sample(visit: Visit, key: str = "customer_messages") -> dict[str, Any]:
    """Use a bundled sample."""
    path = SAMPLES[key if key in SAMPLES else "customer_messages"]
    take(visit, path, path.name)
    return {}


def paste(visit: Visit, words: str | None) -> dict[str, Any]:
    """Take text from the box as if it were a file."""
    if not (words or "").strip():
        return {"problem": problem(visit, UserError("nothing_pasted"))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pasted.txt"
        path.write_text(str(words), encoding="utf-8", errors="replace", newline="")
        try:
            take(visit, path, visit.text("data.pasted_name"))
        except UserError as error:
            return {"problem": problem(visit, error)}
    return {"pasted": ""}


def take(visit: Visit, path: Path, name: str) -> None:
    """Read a file and begin anew with its table."""
    tables = visit.house.tables
    chosen(visit, tables.add(path, visit.owner, name, ReadOptions(single_column=True), keep_file=True))


def chosen(visit: Visit, table: Table) -> None:
    """Begin anew with a table, unless it is the one in use."""
    if table.id == visit.draft.table:
        return
    guess = understand(visit.house.tables.frame(table.id, visit.owner, rows=SAMPLE_ROWS))
    visit.change(
        table=table.id,
        task=guess.task,
        columns=guess.columns,
        guess=guess.as_dict(),
        fixes={},
        split=SplitChoice(),
        test_table=None,
        tokens=None,
    )


def table_of(visit: Visit, table_id: str | None) -> Table | None:
    """A table of the person, None where there is none (any more)."""
    if table_id is None:
        return None
    try:
        return visit.house.tables.get(table_id, visit.owner)
    except UserError:
        return None


def summary(visit: Visit, table: Table | None) -> str:
    """What was understood of the file: format, encoding, delimiter, rows passed over."""
    if table is None:
        return ""
    text = visit.text
    figures = [
        (text("data.file"), table.name),
        (text("data.rows_title"), f"{table.rows:,}"),
        (text("data.columns_count"), f"{len(table.columns):,}"),
        (text("data.format"), _format(visit, table)),
    ]
    if table.delimiter:
        named = _DELIMITERS.get(table.delimiter)
        figures.append((text("data.delimiter"), text(f"data.delimiter_{named}") if named else table.delimiter))
    if table.title_rows:
        figures.append((text("data.title_rows"), f"{table.title_rows}"))
    if table.part:
        figures.append((text("data.part"), table.part))
    return cards.facts(figures)


def _format(visit: Visit, table: Table) -> str:
    key = f"data.formats.{table.format}"
    words = [visit.text(key) if visit.text.has(key) else table.format.upper()]
    if table.container:
        words.append(visit.text(f"data.containers.{table.container}"))
    if table.encoding:
        words.append(table.encoding.upper() if table.encoding.startswith("utf") else table.encoding)
    return ", ".join(words)


def problem(visit: Visit, error: UserError) -> Any:
    """A sentence on what is wrong with what was handed in."""
    words = pictures.esc(visit.text.error(error))
    return gr.HTML(f'<p class="problem" role="alert"><b>!</b> {words}</p>', visible=True)
