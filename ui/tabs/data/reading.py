"""How the file was read, and reading it again otherwise."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.data.decoding import ENCODINGS
from core.data.options import ReadOptions
from core.errors import UserError
from ui.page import Page, Visit
from ui.tabs.data.handing_in import chosen, problem, table_of

_AUTO = "auto"
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe", "none": "none"}
# Of these kinds a person may choose the encoding; the others carry it with them.
_TEXTS = ("csv", "tsv", "text")
_ROWS = (*_TEXTS, "xlsx")


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text, parts = page.text, {}
    with gr.Accordion(text("data.reading_title"), open=False, elem_id="reading") as parts["reading"]:
        gr.Markdown(text("data.reading_help"))
        with gr.Row():
            parts["encoding"] = gr.Dropdown(
                _choices(page.text, ENCODINGS), value=_AUTO, label=text("data.encoding"), elem_id="encoding"
            )
            parts["delimiter"] = gr.Dropdown(
                [(text("data.auto"), _AUTO), *((text(f"data.delimiter_{n}"), d) for d, n in _DELIMITERS.items())],
                value=_AUTO,
                label=text("data.delimiter"),
                filterable=False,
                elem_id="delimiter",
            )
            parts["title_rows"] = gr.Number(
                label=text("data.title_rows"), info=text("data.title_rows_help"), minimum=0, maximum=1000, precision=0
            )
            parts["header"] = gr.Dropdown(
                [(text("data.auto"), _AUTO), (text("data.header_yes"), "yes"), (text("data.header_no"), "no")],
                value=_AUTO,
                label=text("data.header"),
                filterable=False,
            )
            parts["part"] = gr.Dropdown([], label=text("data.part"), filterable=False, elem_id="part")
        parts["_again"] = gr.Button(text("data.read_again"), size="sm", elem_id="read-again")
    return parts


def _choices(text: Any, names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(text("data.auto"), _AUTO), *((name, name) for name in names)]


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events."""
    asked = [parts[name] for name in ("encoding", "delimiter", "title_rows", "header", "part")]
    listen(parts["_again"].click, read_again, asked, show_progress="minimal")


def view(visit: Visit) -> dict[str, Any]:
    """The decisions that were made, as far as this kind of file leaves any."""
    table = table_of(visit, visit.draft.table)
    if table is None:
        return {}
    made, lines, parts = table.options, table.format in _TEXTS, list(table.parts)
    header = {True: "yes", False: "no", None: _AUTO}[made.get("header")]
    open_to_choice = bool(table.origin) and (table.format in _ROWS or len(parts) > 1)
    return {
        "reading": gr.Accordion(visible=open_to_choice),
        "encoding": gr.update(value=made.get("encoding") or _AUTO, visible=lines),
        "delimiter": gr.update(value=_shown(made.get("delimiter")), visible=lines),
        "title_rows": gr.Number(value=made.get("title_rows"), visible=table.format in _ROWS),
        "header": gr.update(value=header, visible=table.format in _ROWS),
        "part": gr.Dropdown(choices=parts, value=table.part if table.part in parts else None, visible=len(parts) > 1),
    }


def _shown(delimiter: str | None) -> str:
    return _AUTO if delimiter is None else delimiter or "none"


def read_again(
    visit: Visit, encoding: str, delimiter: str, title_rows: float | None, header: str, part: str | None
) -> dict[str, Any]:
    """Read the kept file as the person says."""
    options = ReadOptions(
        encoding=None if encoding == _AUTO else encoding,
        delimiter=None if delimiter == _AUTO else "" if delimiter == "none" else delimiter,
        title_rows=None if title_rows is None else int(title_rows),
        header=None if header == _AUTO else header == "yes",
        part=part or None,
        single_column=True,
    )
    table = visit.draft.table
    if table is None:
        return {}
    try:
        chosen(visit, visit.house.tables.read_again(table, visit.owner, options))
    except UserError as error:
        return {"problem": problem(visit, error)}
    return {}
