"""Data: hand in a spreadsheet, see what is in it, say which columns matter."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from core.data import profiling
from core.data.checking import guess_columns
from core.data.samples import SAMPLES
from core.errors import UserError
from core.spec import knobs
from ui import cards, choices, pictures, widgets
from ui.overview import Overview, fractions, overview
from ui.page import Page, Tab, Visit
from ui.readiness import card
from ui.tabs.shared import heading, top

ROLES = ("text", "label")
_PREVIEW_ROWS, _PREVIEW_COLUMNS, _GUESS_ROWS = 6, 8, 5_000


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    with gr.Row(elem_classes=["hand-in"]):
        with gr.Column(scale=3, min_width=280):
            file = gr.File(label=text("data.upload"), height=180, elem_id="data-file", buttons=[])
        with gr.Column(scale=2, min_width=260, elem_classes=["sample"]):
            gr.Markdown(text("data.sample_help"))
            sample = gr.Button(text("data.sample"), variant="secondary")
    parts |= {"file": file, "problem": gr.HTML(visible=False), "summary": gr.HTML()}
    with gr.Column(visible=False) as details:
        parts |= _details(page)
    parts["details"] = details
    _wire(page, parts, sample)
    return Tab({k: v for k, v in parts.items() if not k.startswith("_")}, view)


def _details(page: Page) -> dict[str, Any]:
    text, parts = page.text, {}
    heading(text("data.columns_title"), text("data.columns_help"))
    with gr.Row():
        for role in ROLES:
            parts[f"column_{role}"] = gr.Dropdown(
                label=text(f"data.role.{role}"),
                info=text(f"data.role.{role}_help"),
                elem_id=f"column-{role}",
                filterable=False,
            )
    parts["preview"] = gr.HTML()
    heading(text("data.findings_title"), text("data.findings_help"))
    parts["findings"] = gr.HTML()
    with gr.Row(equal_height=False, elem_classes=["halves"]):
        with gr.Column(min_width=300):
            heading(text("data.labels_title"), text("data.labels_help"))
            parts["labels"] = gr.HTML()
        with gr.Column(min_width=300):
            heading(text("data.lengths_title"), text("data.lengths_help"))
            parts["lengths"] = gr.HTML()
    heading(text("data.parts_title"), text("data.parts_help"))
    parts["sizes"] = gr.HTML()
    with gr.Accordion(text("data.parts_change"), open=False):
        with gr.Row():
            for name, knob in knobs("data").items():
                parts[name] = widgets.component(text, knob)
        parts["test_file"] = gr.File(label=text("data.test_upload"), height=120, elem_id="test-file", buttons=[])
        parts["test_problem"] = gr.HTML(visible=False)
        parts["test_summary"] = gr.HTML()
        parts["test_remove"] = gr.Button(text("data.test_remove"), visible=False, size="sm")
    return parts


def _wire(page: Page, parts: dict[str, Any], sample: gr.Button) -> None:
    columns = [parts[f"column_{role}"] for role in ROLES]
    shares = [parts[name] for name in knobs("data")]
    handed_in = page.listen(parts["file"].upload, upload, [parts["file"]], parts, show_progress="minimal")
    sampled = page.listen(sample.click, take_sample, None, parts, show_progress="minimal")
    chosen = page.listen([c.input for c in columns], choose_columns, columns, parts)
    for event in (handed_in, sampled, chosen):
        page.listen(event.then, measure, None, {"lengths": parts["lengths"]})
    page.listen([s.release for s in shares], choose_shares, shares, parts, trigger_mode="always_last")
    page.listen(parts["test_file"].upload, upload_test, [parts["test_file"]], parts, show_progress="minimal")
    page.listen(parts["test_remove"].click, remove_test, None, parts)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    data, text = overview(visit), visit.text
    shown = card(visit, "data") | {"file": None, "test_file": None, "problem": gr.HTML(visible=False)}
    shown |= {"details": gr.Column(visible=data.table is not None), "summary": _summary(visit, data)}
    if data.table is None:
        return shown
    for role in ROLES:
        names = list(data.table.columns)
        shown[f"column_{role}"] = gr.Dropdown(choices=names, value=data.columns.get(role))
    share = fractions(visit)
    test = _table(visit, visit.draft.test_table)
    return shown | {
        "preview": _preview(visit, data),
        "findings": cards.findings(text, data.findings, data.error),
        "labels": pictures.label_counts(text, data.counts),
        "lengths": _lengths(visit),
        "sizes": pictures.parts_bar(text, data.sizes),
        "validation_fraction": share["validation_fraction"],
        "test_fraction": gr.Slider(value=share["test_fraction"], visible=test is None),
        "test_problem": gr.HTML(visible=False),
        "test_summary": cards.facts([(text("data.test_table"), f"{test.name} · {text('data.rows', n=test.rows)}")])
        if test
        else "",
        "test_remove": gr.Button(visible=test is not None),
    }


def upload(visit: Visit, path: str | None) -> dict[str, Any]:
    """Take a file into the person's store. A file that cannot be read changes nothing but the message."""
    if path is None:
        return {}
    try:
        _take(visit, Path(path), Path(path).name)
    except UserError as error:
        return {"file": None, "problem": _problem(visit, error)}
    finally:
        _remove(Path(path))
    return view(visit)


def take_sample(visit: Visit) -> dict[str, Any]:
    """Use the bundled sample."""
    path = SAMPLES["customer_messages"]
    _take(visit, path, path.name)
    return view(visit)


def _take(visit: Visit, path: Path, name: str) -> None:
    tables = visit.house.tables
    table = tables.add(path, visit.owner, name)
    if table.id == visit.draft.table:
        return
    columns = guess_columns(tables.frame(table.id, visit.owner, rows=_GUESS_ROWS))
    visit.change(table=table.id, columns=columns, test_table=None, tokens=None)


def choose_columns(visit: Visit, *names: str | None) -> dict[str, Any]:
    """Say which column is what."""
    visit.change(columns={role: name for role, name in zip(ROLES, names, strict=True) if name}, tokens=None)
    return view(visit)


def choose_shares(visit: Visit, *shares: float) -> dict[str, Any]:
    """Say how much is held out."""
    fields = knobs("data")
    held = {name: widgets.from_widget(knob, share) for (name, knob), share in zip(fields.items(), shares, strict=True)}
    held = {name: share for name, share in held.items() if share is not None}
    visit.change(knobs={**visit.draft.knobs, **held})
    return view(visit)


def upload_test(visit: Visit, path: str | None) -> dict[str, Any]:
    """Take a second file: its rows are the test rows, none of the first one are held out for that."""
    if path is None:
        return {}
    try:
        table = visit.house.tables.add(Path(path), visit.owner, Path(path).name)
        for name in visit.draft.columns.values():
            if name not in table.columns:
                raise UserError("column_missing", column=name, columns=", ".join(table.columns))
    except UserError as error:
        return {"test_file": None, "test_problem": _problem(visit, error)}
    finally:
        _remove(Path(path))
    visit.change(test_table=table.id)
    return view(visit)


def remove_test(visit: Visit) -> dict[str, Any]:
    """Go back to holding rows out."""
    visit.change(test_table=None)
    return view(visit)


def measure(visit: Visit) -> dict[str, Any]:
    """Measure the text lengths in tokens of the chosen model, and remember them."""
    draft, chosen = visit.draft, choices.model(visit).facts
    column = draft.columns.get("text")
    if not draft.table or not column or chosen is None or chosen.tokenizer is None:
        return {"lengths": ""}
    if (draft.tokens or {}).get("key") != _key(visit):
        path = visit.house.tables.path(draft.table, visit.owner)
        found = profiling.token_lengths(visit.house.settings, path, column, chosen.tokenizer)
        visit.change(tokens={**found, "key": _key(visit)})
    return {"lengths": _lengths(visit)}


def _key(visit: Visit) -> str:
    draft = visit.draft
    return f"{draft.table}/{draft.columns.get('text')}/{draft.model.source}/{draft.model.name}/{draft.model.revision}"


def _lengths(visit: Visit) -> str:
    tokens = visit.draft.tokens
    if not tokens:
        return f'<p class="hint">{pictures.esc(visit.text("data.lengths_wait"))}</p>'
    return pictures.token_histogram(visit.text, tokens)


def _summary(visit: Visit, data: Overview) -> str:
    text, table = visit.text, data.table
    if table is None:
        return ""
    names = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
    figures = [
        (text("data.file"), table.name),
        (text("data.rows_title"), f"{table.rows:,}"),
        (text("data.columns_count"), f"{len(table.columns):,}"),
        (text("data.format"), text("data.format_words", format=table.format.upper(), encoding=table.encoding)),
    ]
    if table.delimiter in names:
        figures.append((text("data.delimiter"), text(f"data.delimiter_{names[table.delimiter]}")))
    return cards.facts(figures)


def _preview(visit: Visit, data: Overview) -> str:
    assert data.table is not None
    chosen = list(dict.fromkeys(data.columns.values()))
    names = (chosen + [c for c in data.table.columns if c not in chosen])[:_PREVIEW_COLUMNS]
    frame = visit.house.tables.frame(data.table.id, visit.owner, names, rows=_PREVIEW_ROWS)
    rows = [[pictures.shortened(str(value), 160) for value in row] for row in frame[names].itertuples(index=False)]
    return cards.table(names, rows, visit.text("data.preview"), "preview")


def _problem(visit: Visit, error: UserError) -> Any:
    words = pictures.esc(visit.text.error(error))
    return gr.HTML(f'<p class="problem" role="alert"><b>!</b> {words}</p>', visible=True)


def _table(visit: Visit, table_id: str | None) -> Any:
    if table_id is None:
        return None
    try:
        return visit.house.tables.get(table_id, visit.owner)
    except UserError:
        return None


def _remove(path: Path) -> None:
    """Remove gradio's copy of an upload and the folder made for it: whoever knew its address could read it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()
