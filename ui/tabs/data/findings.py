"""Findings as cards: what was seen, why it matters, three rows, and the buttons. Every word from a file is escaped."""

from typing import Any

from core.errors import UserError
from ui.pictures import esc, shortened
from ui.text import Text

ALL = "*"
_ORDER = {"error": 0, "warning": 1, "info": 2}
_CELL = 160


def cards_of(text: Text, found: tuple[dict[str, Any], ...], error: UserError | None = None) -> str:
    """The bar with what can be done at once, then a card for each finding: open ones first, what is mended last."""
    ordered = sorted(found, key=lambda f: (bool(f.get("applied")), _ORDER.get(f.get("severity", "info"), 2)))
    cards = [f'<li class="error"><b>!</b><span>{esc(text.error(error))}</span></li>'] if error else []
    known = {error.code} if error else set()
    cards += [card(text, finding) for finding in ordered if finding["code"] not in known]
    if not cards:
        cards = [f'<li class="fine"><b>✓</b><span>{esc(text("data.no_findings"))}</span></li>']
    return f'{_bar(text, found)}<ul class="findings">{"".join(cards)}</ul>'


def _bar(text: Text, found: tuple[dict[str, Any], ...]) -> str:
    waiting = sum(1 for f in found if f.get("recommended") and f.get("fixes") and not f.get("applied"))
    done = sum(1 for f in found if f.get("fixes") and f.get("applied"))
    if not waiting and not done:
        return ""
    said = text("data.fix_waiting", n=waiting) if waiting else text("data.fix_done", n=done)
    buttons = ""
    if waiting:
        buttons += _button(ALL, "all", text("data.fix_all", n=waiting), "primary")
    if done:
        buttons += _button(ALL, "", text("data.undo_all"), "")
    return f'<div class="doctor-bar"><p>{esc(said)}</p><div>{buttons}</div></div>'


def card(text: Text, finding: dict[str, Any]) -> str:
    """One finding."""
    code, applied = finding["code"], finding.get("applied")
    severity = "fine" if applied else finding.get("severity", "info")
    mark = "✓" if applied else "i" if severity == "info" else "!"
    facts = {**finding.get("facts", {}), **{k: v for k, v in finding.items() if isinstance(v, str | int | float)}}
    said = esc(text.coded("findings", code, _shown(text, facts)))
    why = f'<p class="why">{esc(text(f"why.{code}"))}</p>' if text.has(f"why.{code}") else ""
    where = finding.get("examples") or ()
    listed = ", ".join(str(n) for n in where[:5])
    lines_at = text("data.see_rows", list=listed) if where and not finding.get("samples") else ""
    return (
        f'<li class="{esc(severity)}" data-finding="{esc(code)}"><b>{mark}</b><div><span>{said} '
        f"<small>{esc(lines_at)}</small></span>{why}{_samples(text, finding)}{_buttons(text, finding)}</div></li>"
    )


def _shown(text: Text, facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as people read them: languages and roles by name."""
    named = dict(facts)
    for key in ("language", "other", "source", "target"):
        if isinstance(named.get(key), str):
            codes = [code.strip() for code in str(named[key]).split(",")]
            named[key] = ", ".join(text(f"languages.{c}") if text.has(f"languages.{c}") else c for c in codes)
    if "role" in named and text.has(f"data.role.{named['role']}"):
        named["role"] = text(f"data.role.{named['role']}")
    return named


def _buttons(text: Text, finding: dict[str, Any]) -> str:
    code, fixes = finding["code"], finding.get("fixes") or ()
    if not fixes:
        return ""
    if finding.get("applied"):
        done = esc(text("data.mended"))
        return f'<div class="fixes"><em>{done}</em>{_button(code, "", text("data.undo"), "")}</div>'
    buttons = (_button(code, fix, _words(text, code, fix), "primary" if i == 0 else "") for i, fix in enumerate(fixes))
    return f'<div class="fixes">{"".join(buttons)}</div>'


def _words(text: Text, code: str, fix: str) -> str:
    key = f"fixes.{code}.{fix}"
    return (
        text(key) if text.has(key) else text(f"fixes.any.{fix}") if text.has(f"fixes.any.{fix}") else text("data.fix")
    )


def _button(code: str, fix: str, words: str, kind: str) -> str:
    return (
        f'<button type="button" class="fix {kind}" data-code="{esc(code)}" data-fix="{esc(fix)}">{esc(words)}</button>'
    )


def _samples(text: Text, finding: dict[str, Any]) -> str:
    rows = "".join(_sample(text, sample, finding) for sample in finding.get("samples") or ())
    return f'<ul class="samples">{rows}</ul>' if rows else ""


def _sample(text: Text, sample: dict[str, Any], finding: dict[str, Any]) -> str:
    after = sample.get("after")
    out = after is None and bool(finding.get("fixes"))
    lines = []
    for column, before in sample["before"].items():
        shown = _cell(before, gone=out and bool(finding.get("applied")))
        if after is not None and after.get(column, before) != before:
            shown = f"{_cell(before, gone=True)} → {_cell(after[column], kept=True)}"
        elif (
            after is not None and len(sample["before"]) > 1 and any(after[c] != b for c, b in sample["before"].items())
        ):
            continue  # only what changes is worth the room
        lines.append(f"<span>{shown}</span>")
    number = esc(text("data.row", n=sample["row"]))
    return f"<li><small>{number}</small>{' '.join(lines)}</li>"


def _cell(words: str, *, gone: bool = False, kept: bool = False) -> str:
    shown = esc(shortened(words, _CELL)) or "∅"
    return f"<del>{shown}</del>" if gone else f"<ins>{shown}</ins>" if kept else f"<q>{shown}</q>"
