"""Cards and tables as HTML: what is ready, what was found, how good it is. Every word in them is escaped."""

from typing import Any

from ui.pictures import esc, shortened
from ui.sentences import count, percent, size
from ui.text import Text

_MARKS = {"done": "✓", "todo": "○", "busy": "…", "problem": "!"}
METRICS = ("accuracy", "macro_precision", "macro_recall", "macro_f1")


def ready(text: Text, state: str, headline: str, steps: dict[str, str], detail: str = "") -> str:
    """The card on top of a tab.

    Args:
        state: `done`, `todo`, `busy` or `problem`: the card's colour and sign.
        headline: one sentence: where this tab stands.
        steps: tab -> state, the way so far.
        detail: what to do next.
    """
    chips = "".join(
        f'<li class="{esc(how)}"><b aria-hidden="true">{_MARKS[how]}</b>{esc(text(f"tabs.{tab}"))}'
        f'<span class="heard"> {esc(text(f"ready.{how}"))}</span></li>'
        for tab, how in steps.items()
    )
    more = f"<p>{esc(detail)}</p>" if detail else ""
    return (
        f'<section class="ready {esc(state)}"><span class="sign" aria-hidden="true">{_MARKS[state]}</span>'
        f'<div><h3>{esc(headline)}</h3>{more}<ul class="chips">{chips}</ul></div></section>'
    )


def facts(rows: list[tuple[str, str]]) -> str:
    """Names and figures side by side."""
    cells = "".join(f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in rows)
    return f'<dl class="facts">{cells}</dl>'


def model_facts(text: Text, known: Any) -> str:
    """Parameters, disk, memory, and whether that fits here."""
    figures = [
        (text("models.parameters"), count(text, known.parameters)),
        (text("models.disk"), size(text, known.disk_bytes)),
        (text("models.memory"), size(text, known.memory_bytes)),
        (text("models.available"), size(text, known.available_bytes)),
    ]
    share = min(1.0, known.memory_bytes / max(1, known.available_bytes))
    verdict = text(
        f"models.fits.{known.fits}", need=size(text, known.memory_bytes), have=size(text, known.available_bytes)
    )
    return (
        f'<div class="model"><h4>{esc(known.name)}</h4>{facts(figures)}'
        f'<div class="fits {esc(known.fits)}"><span class="meter"><i style="width:{100 * share:.1f}%"></i></span>'
        f"<p>{esc(verdict)}</p></div></div>"
    )


def scores(text: Text, report: dict[str, Any]) -> str:
    """The four scores with what they mean, their 95 % interval and the baselines."""
    cards = []
    for name in METRICS:
        value = report["metrics"][name]
        low, high = report["metrics"]["intervals"][name]
        rows = [(text("results.this_model"), value, "ours")]
        rows += [(text(f"results.baseline.{b}"), own[name], "theirs") for b, own in report["baselines"].items()]
        cards.append(
            f'<article class="score"><h4>{esc(text(f"results.{name}.name"))}</h4>'
            f'<p class="figure">{percent(value)} %</p>'
            f'<p class="hint">{esc(text("results.interval", low=percent(low), high=percent(high)))}</p>'
            f"<p>{esc(text(f'results.{name}.help', n=percent(value)))}</p>{_against(rows, low, high)}</article>"
        )
    return f'<div class="scores">{"".join(cards)}</div>'


def _against(rows: list[tuple[str, float, str]], low: float, high: float) -> str:
    lines = []
    for name, value, kind in rows:
        span = f'<u style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></u>' if kind == "ours" else ""
        lines.append(
            f'<li class="{kind}"><span>{esc(name)}</span><span class="bar-track">'
            f'<i style="width:{100 * value:.1f}%"></i>{span}</span>'
            f"<span>{percent(value)} %</span></li>"
        )
    return f'<ul class="against">{"".join(lines)}</ul>'


def table(heads: list[str], rows: list[list[object]], label: str, kind: str = "") -> str:
    """A table that scrolls inside itself where it is wider than the page."""
    head = "".join(f'<th scope="col">{esc(h)}</th>' for h in heads)
    body = "".join(
        "<tr>" + "".join(f'<td data-name="{esc(h)}">{esc(c)}</td>' for h, c in zip(heads, r, strict=True)) + "</tr>"
        for r in rows
    )
    return (
        f'<div class="sheet {esc(kind)}" tabindex="0" role="region" aria-label="{esc(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def per_class(text: Text, report: dict[str, Any]) -> str:
    """Precision, recall and F1 of each label."""
    heads = [text(f"results.column.{name}") for name in ("label", "recall", "precision", "f1", "rows")]
    rows: list[list[object]] = [
        [c["label"], f"{percent(c['recall'])} %", f"{percent(c['precision'])} %", f"{percent(c['f1'])} %", c["rows"]]
        for c in report["per_class"]
    ]
    return table(heads, rows, text("results.per_class_title"), "figures")


def wrong_rows(text: Text, report: dict[str, Any], most: int = 100) -> str:
    """The test rows that were answered wrong, the surest mistakes first."""
    wrong = report["errors"]
    if not wrong:
        return f'<p class="hint">{esc(text("results.none_wrong"))}</p>'
    heads = [text(f"results.column.{name}") for name in ("text", "label", "prediction", "confidence", "row")]
    rows: list[list[object]] = [
        [shortened(e["text"], 400), e["label"], e["prediction"], f"{percent(e['confidence'])} %", e["row"]]
        for e in wrong[:most]
    ]
    return table(heads, rows, text("results.errors_title"), "stacked")
