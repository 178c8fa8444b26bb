"""The rows as they are in the file, some hundreds at a time."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.data.understanding import known_columns
from ui import pictures
from ui.page import Page, Visit
from ui.tabs.data.handing_in import table_of

NAME = "preview"
ROWS = 500
_COLUMNS = 12
_CHARACTERS = 300


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text = page.text
    parts: dict[str, Any] = {
        "preview": gr.Dataframe(
            interactive=False,
            datatype="str",
            max_height=340,
            max_chars=110,
            show_label=False,
            buttons=["fullscreen"],
            elem_id="preview",
            pinned_columns=None,
        )
    }
    with gr.Row(elem_classes=["pager"]):
        parts["shown_rows"] = gr.HTML(scale=3)
        parts["first_row"] = gr.Number(
            1, label=text("data.first_row"), minimum=1, precision=0, scale=1, min_width=140, elem_id="first-row"
        )
    return parts


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events. Looking at other rows changes nothing else, so only the table is sent."""
    told = {name: parts[name] for name in ("preview", "shown_rows")}
    page.listen([parts["first_row"].submit, parts["first_row"].blur], look, [parts["first_row"]], told)


def view(visit: Visit) -> dict[str, Any]:
    """The first rows."""
    return look(visit, 1) | {"first_row": 1}


def look(visit: Visit, first: float | None) -> dict[str, Any]:
    """Rows from a place on, the columns with a role first; long cells are cut."""
    table = table_of(visit, visit.draft.table)
    if table is None:
        return {}
    start = max(1, min(int(first or 1), table.rows))
    roles = _roles(visit, list(table.columns))
    names = [*roles, *(c for c in table.columns if c not in roles)][:_COLUMNS]
    frame = visit.house.tables.frame(table.id, visit.owner, names, ROWS, start - 1)
    rows = [
        [str(number), *(pictures.shortened(str(cell), _CHARACTERS) for cell in cells)]
        for number, cells in zip(frame.index.tolist(), frame[names].itertuples(index=False), strict=True)
    ]
    heads = [visit.text("data.row_number"), *(f"{n} · {roles[n]}" if n in roles else n for n in names)]
    last = start + len(rows) - 1
    words = visit.text("data.shown_rows", first=start, last=last, rows=table.rows)
    more = len(table.columns) - len(names)
    if more > 0:
        words += " " + visit.text("data.hidden_columns", n=more)
    return {
        "preview": gr.Dataframe(value={"headers": heads, "data": rows}, column_widths=_widths(names)),
        "shown_rows": f'<p class="hint">{pictures.esc(words)}</p>',
    }


def _widths(names: list[str]) -> list[str]:
    first, others = ("600px", "320px") if len(names) <= 2 else ("420px", "190px")
    return ["70px", *(first if i == 0 else others for i in range(len(names)))]


def _roles(visit: Visit, names: list[str]) -> dict[str, str]:
    """Column -> the words for its role."""
    found: dict[str, str] = {}
    for role, value in known_columns(visit.draft.columns, names).items():
        for column in [value] if isinstance(value, str) else value:
            found.setdefault(column, visit.text(f"data.role.{role}"))
    return found
