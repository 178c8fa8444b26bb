"""What the examples are for, and which column is what."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.data.shapes import SHAPES, Role
from core.data.understanding import SAMPLE_ROWS, known_columns, understand
from ui.page import Page, Visit
from ui.pictures import esc
from ui.tabs.data.handing_in import table_of

NAME = "meaning"
ROLES: dict[str, Role] = {role.name: role for shape in SHAPES.values() for role in shape.roles}


def build(page: Page) -> dict[str, Any]:
    """The components: one box for the task, one for each role that any task has."""
    text, parts = page.text, {}
    with gr.Row(equal_height=False):
        parts["task"] = gr.Dropdown(
            [(text(f"data.task.{task}"), task) for task in SHAPES],
            value="classification",
            label=text("data.task_label"),
            filterable=False,
            elem_id="task",
        )
        for role in ROLES.values():
            parts[f"column_{role.name}"] = gr.Dropdown(
                label=text(f"data.role.{role.name}"),
                info=text(f"data.role.{role.name}_help"),
                multiselect=role.many,
                filterable=False,
                visible=role.name in ("text", "label"),
                elem_id=f"column-{role.name}",
            )
    parts["guess"] = gr.HTML()
    return parts


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events."""
    columns = [parts[f"column_{name}"] for name in ROLES]
    listen(parts["task"].input, choose_task, [parts["task"]])
    listen([c.input for c in columns], choose_columns, columns)


def view(visit: Visit) -> dict[str, Any]:
    """The task, its columns, and why they were guessed so."""
    draft, table = visit.draft, table_of(visit, visit.draft.table)
    if table is None:
        return {}
    names, columns = list(table.columns), known_columns(draft.columns, list(table.columns))
    shape = SHAPES[draft.task]
    shown: dict[str, Any] = {"task": draft.task, "guess": _reason(visit)}
    for role in ROLES.values():
        mine = role in shape.roles
        value: Any = columns.get(role.name) if mine else None
        if role.many:
            value = [value] if isinstance(value, str) else list(value or ())
        offered = [*names] if role.required or role.many else ["", *names]
        shown[f"column_{role.name}"] = gr.Dropdown(
            choices=[(name or visit.text("data.no_column"), name) for name in offered],
            value=value if value or role.many or role.required else "",
            multiselect=role.many,
            visible=mine,
        )
    return shown


def _reason(visit: Visit) -> str:
    guess, text = visit.draft.guess, visit.text
    if not guess:
        return ""
    lines = [text(f"guess.{guess['reason']}", **_named(text, guess["facts"]))]
    told = [
        text("data.language_of", column=column, language=language(text, code))
        for column, code in guess["languages"].items()
    ]
    return f'<p class="hint">{esc(" ".join([*lines, *told]))}</p>'


def _named(text: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """Facts whose language codes are names."""
    return {key: language(text, value) if key in ("source", "target") else value for key, value in facts.items()}


def language(text: Any, code: str) -> str:
    """A language's name where the page knows it, else its code."""
    return text(f"languages.{code}") if text.has(f"languages.{code}") else code


def choose_task(visit: Visit, task: str) -> dict[str, Any] | None:
    """Say what the examples are for; the columns that suit it are guessed anew."""
    table = visit.draft.table
    if task not in SHAPES or table is None:
        return None
    guess = understand(visit.house.tables.frame(table, visit.owner, rows=SAMPLE_ROWS), task)
    visit.change(task=task, columns=guess.columns, guess=guess.as_dict(), fixes={}, tokens=None)
    return {}


def choose_columns(visit: Visit, *names: Any) -> dict[str, Any]:
    """Say which column is what."""
    mine = {role.name for role in SHAPES[visit.draft.task].roles}
    chosen: dict[str, str | tuple[str, ...]] = {}
    for role, name in zip(ROLES, names, strict=True):
        if role in mine and name:
            several = [name] if isinstance(name, str) else list(name)
            chosen[role] = several[0] if len(several) == 1 else tuple(several)
    visit.change(columns=chosen, tokens=None)
    return {}
