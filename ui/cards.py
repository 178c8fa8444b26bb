"""Cards and tables as HTML: what is ready, what was found, how good it is. Every word in them is escaped."""

from typing import Any

from core.evaluation.scales import SCALES, share
from ui.pictures import esc, shortened
from ui.sentences import count, percent, size
from ui.text import Text

_MARKS = {"done": "✓", "todo": "○", "busy": "…", "problem": "!"}


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
        *([(text("models.kind_title"), text(f"models.kind.{known.kind}"))] if known.kind else []),
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


def method(text: Text, name: str, known: Any) -> str:
    """What a method changes, and which share of the model that is.

    Args:
        name: value of `TrainSpec.method`.
        known: ModelFacts, or None where there are none.
    """
    said = (
        f"<h4>{esc(text(f'switches.method.choices.{name}.label'))}</h4>"
        f"<p>{esc(text(f'switches.method.choices.{name}.help'))}</p>"
    )
    if known is None or not known.parameters:
        return f'<div class="method">{said}</div>'
    share = min(1.0, known.trainable / known.parameters)
    words = text(
        "models.share",
        trainable=count(text, known.trainable),
        all=count(text, known.parameters),
        percent=f"{100 * share:.1f}" if share < 0.1 else f"{100 * share:.0f}",
    )
    bar = f'<span class="meter"><i style="width:{max(1.0, 100 * share):.1f}%"></i></span>'
    return f'<div class="method">{said}<div class="fits yes">{bar}<p>{esc(words)}</p></div></div>'


def figure(metric: str, value: float) -> str:
    """A score as people read it: `87 %`, `34.2`, or `12.9` for one without an upper end."""
    scale = SCALES[metric]
    if scale.unit == "share":
        return f"{percent(value)} %"
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _bare(metric: str, value: float) -> str:
    return figure(metric, value).removesuffix(" %")


def scores(text: Text, report: dict[str, Any]) -> str:
    """Every score with what it means, its 95 % interval and the baselines."""
    cards = []
    for name in [m for m in report["metrics"] if m in SCALES]:
        value, edges = report["metrics"][name], report["metrics"]["intervals"].get(name)
        rows = [(text("results.this_model"), value, "ours")]
        rows += [
            (text(f"results.baseline.{b}"), own[name], "theirs")
            for b, own in report["baselines"].items()
            if name in own
        ]
        between = ""
        if edges:
            unit = " %" if SCALES[name].unit == "share" else ""
            said = text("results.interval", low=_bare(name, edges[0]), high=_bare(name, edges[1]) + unit)
            between = f'<p class="hint">{esc(said)}</p>'
        cards.append(
            f'<article class="score"><h4>{esc(text(f"results.{name}.name"))}</h4>'
            f'<p class="figure">{esc(figure(name, value))}</p>{between}'
            f"<p>{esc(text(f'results.{name}.help', n=_bare(name, value)))}</p>{_against(name, rows, edges)}</article>"
        )
    return f'<div class="scores">{"".join(cards)}</div>'


def _against(metric: str, rows: list[tuple[str, float, str]], edges: list[float] | None) -> str:
    """The model and its baselines as bars; of a score without an upper end, as shares of the largest."""
    longest = 1.0 if share(metric, 0.0) is not None else max(value for _, value, _ in rows) or 1.0

    def wide(value: float) -> float:
        part = share(metric, value)
        return 100 * max(0.0, min(1.0, value / longest if part is None else part))

    lines = []
    for name, value, kind in rows:
        low, high = (wide(edge) for edge in edges) if edges else (0.0, 0.0)
        span = f'<u style="left:{low:.1f}%;width:{high - low:.1f}%"></u>' if kind == "ours" and edges else ""
        lines.append(
            f'<li class="{kind}"><span>{esc(name)}</span><span class="bar-track">'
            f'<i style="width:{wide(value):.1f}%"></i>{span}</span>'
            f"<span>{esc(figure(metric, value))}</span></li>"
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


def samples(text: Text, report: dict[str, Any], most: int = 40) -> str:
    """What it wrote, beside what was wanted and what the model wrote before it was trained."""
    shown = report["samples"][:most]
    with_before = any(s.get("before") for s in shown)
    names = ["asked", "wanted", "written", *(["before"] if with_before else []), "row"]
    heads = [text(f"results.column.{name}") for name in names]
    rows: list[list[object]] = []
    for s in shown:
        told = {"asked": s["text"], "wanted": s["reference"], "written": s["answer"], "before": s.get("before") or ""}
        rows.append([s["row"] if name == "row" else shortened(told[name], 600) for name in names])
    return table(heads, rows, text("results.samples_title"), "stacked texts")
