"""Pictures as HTML and SVG that follow the theme. Every word in them is escaped: labels come from strangers."""

import html
from typing import Any

from ui.text import Text


def esc(value: object) -> str:
    """Text made safe for HTML, inside elements and attributes."""
    return html.escape(str(value), quote=True)


def shortened(value: str, most: int) -> str:
    """At most so many characters, with an ellipsis where something was cut."""
    return value if len(value) <= most else value[: most - 1].rstrip() + "…"


def bars(rows: list[tuple[str, float, str]], label: str, *, strongest: bool = False) -> str:
    """Horizontal bars.

    Args:
        rows: name, share of the full width (0 to 1), words at the end.
        label: what the picture shows, for people who hear the page.
        strongest: whether the first row stands out.
    """
    lines = []
    for i, (name, share, words) in enumerate(rows):
        kind = "bar first" if strongest and i == 0 else "bar"
        lines.append(
            f'<li class="{kind}"><span class="bar-name" title="{esc(name)}">{esc(shortened(name, 60))}</span>'
            f'<span class="bar-track"><i style="width:{max(0.0, min(1.0, share)) * 100:.1f}%"></i></span>'
            f'<span class="bar-words">{esc(words)}</span></li>'
        )
    return f'<ul class="bars" aria-label="{esc(label)}">{"".join(lines)}</ul>'


def label_counts(text: Text, counts: dict[str, int], most: int = 30) -> str:
    """How often each label occurs, the most frequent first."""
    if not counts:
        return ""
    highest = max(counts.values())
    shown = [(name, n / highest, text("data.rows", n=n)) for name, n in list(counts.items())[:most]]
    more = len(counts) - most
    note = f'<p class="hint">{esc(text("data.more_labels", n=more))}</p>' if more > 0 else ""
    return bars(shown, text("data.labels_title")) + note


def parts_bar(text: Text, sizes: dict[str, int]) -> str:
    """How the rows are divided, as one bar of three parts."""
    if not sizes:
        return ""
    whole = max(1, sum(sizes.values()))
    names = ("train", "validation", "test")
    pieces = "".join(f'<i class="part-{n}" style="width:{100 * sizes.get(n, 0) / whole:.2f}%"></i>' for n in names)
    legend = "".join(
        f'<li><b class="part-{n}"></b><span><strong>{esc(text("data.rows", n=sizes.get(n, 0)))}</strong> '
        f"{esc(text(f'data.part.{n}'))}</span></li>"
        for n in names
    )
    return f'<div class="parts" aria-hidden="true">{pieces}</div><ul class="parts-legend">{legend}</ul>'


def token_histogram(text: Text, lengths: dict[str, Any]) -> str:
    """Text lengths in tokens as columns, with a sentence on what they mean."""
    columns = lengths["histogram"]
    highest = max((n for _, _, n in columns), default=0)
    if not highest:
        return ""
    width = 600 / len(columns)
    shapes = "".join(
        f'<rect x="{i * width + 1:.1f}" y="{100 - 96 * n / highest:.1f}" width="{max(1.0, width - 2):.1f}" '
        f'height="{96 * n / highest:.1f}"><title>{esc(low)}–{esc(high)}: {esc(n)}</title></rect>'
        for i, (low, high, n) in enumerate(columns)
    )
    said = text("data.lengths_sentence", p50=int(lengths["p50"]), p95=int(lengths["p95"]), longest=int(lengths["max"]))
    return (
        f'<p class="said">{esc(said)}</p>'
        f'<svg class="histogram" viewBox="0 0 600 100" preserveAspectRatio="none" role="img" aria-label="{esc(said)}">'
        f'{shapes}</svg><div class="axis"><span>{esc(columns[0][0])}</span><span>{esc(text("data.tokens"))}</span>'
        f"<span>{esc(columns[-1][1])}</span></div>"
    )


def probabilities(text: Text, rows: list[tuple[str, float]], most: int = 8) -> str:
    """An answer: its label, and the probability of each label as a bar."""
    ordered = sorted(rows, key=lambda row: -row[1])
    shown = [(name, p, f"{100 * p:.1f} %" if p < 0.9995 else "100 %") for name, p in ordered[:most]]
    rest = sum(p for _, p in ordered[most:])
    if len(ordered) > most:
        shown.append((text("tryit.others", n=len(ordered) - most), rest, f"{100 * rest:.1f} %"))
    sure = "sure" if ordered[0][1] >= 0.8 else "fairly_sure" if ordered[0][1] >= 0.5 else "unsure"
    return (
        f'<div class="answer" aria-live="polite"><p class="answer-label">{esc(ordered[0][0])}</p>'
        f'<p class="hint">{esc(text(f"tryit.{sure}"))}</p></div>' + bars(shown, text("tryit.bars"), strongest=True)
    )


def several(text: Text, labels: tuple[str, ...], rows: list[tuple[str, float]], most: int = 12) -> str:
    """An answer of several labels, or of none, and how well each label fits; those that were given come first."""
    given = [row for row in rows if row[0] in labels]
    others = sorted((row for row in rows if row[0] not in labels), key=lambda row: -row[1])
    chips = "".join(f'<li class="answer-label">{esc(label)}</li>' for label in labels)
    said = f'<ul class="answer-labels">{chips}</ul>' if chips else f"<p>{esc(text('tryit.labels_none'))}</p>"
    shown = [(f"✓ {name}" if name in labels else name, p, f"{100 * p:.1f} %") for name, p in [*given, *others][:most]]
    return f'<div class="answer" aria-live="polite">{said}</div>' + bars(shown, text("tryit.bars_several"))


def written(begun: str, words: str) -> str:
    """What a model wrote, line breaks kept, after what the person began with."""
    before = f'<span class="begun">{esc(begun)}</span>' if begun else ""
    return f'<div class="written" aria-live="polite">{before}{esc(words)}</div>'


def confusion(text: Text, labels: list[str], table: list[list[int]], most: int = 40) -> str:
    """The confusion matrix as an SVG: rows are the true labels, columns the answers, numbered to fit a phone."""
    if len(labels) > most:
        return f'<p class="hint">{esc(text("results.confusion_too_large", n=len(labels)))}</p>'
    n, cell, edge = len(labels), 44, 34
    names = "".join(f"<li><b>{i + 1}</b> {esc(shortened(name, 60))}</li>" for i, name in enumerate(labels))
    shapes = [_heading(i, edge, cell) for i in range(n)]
    for i, row in enumerate(table):
        whole = max(1, sum(row))
        for j, number in enumerate(row):
            shapes.append(_cell(text, labels, i, j, number, number / whole, edge, cell))
    size = edge + n * cell
    title = esc(text("results.confusion_label", n=n))
    return (
        f'<figure class="confusion"><div class="axis-top" aria-hidden="true">{esc(text("results.answered"))} →</div>'
        f'<svg viewBox="0 0 {size} {size}" role="img" aria-label="{title}" '
        f'style="max-width:{max(280, min(620, size))}px">'
        f'{"".join(shapes)}</svg><ol class="confusion-names">{names}</ol>'
        f'<div class="axis-left" aria-hidden="true">↑ {esc(text("results.true_label"))}</div></figure>'
    )


def _heading(i: int, edge: int, cell: int) -> str:
    middle = edge + i * cell + cell / 2
    return (
        f'<text class="head" x="{middle}" y="{edge - 11}">{i + 1}</text>'
        f'<text class="head" x="{edge / 2}" y="{middle + 5}">{i + 1}</text>'
    )


def _cell(text: Text, labels: list[str], i: int, j: int, number: int, share: float, edge: int, cell: int) -> str:
    kind = "right" if i == j else "wrong"
    x, y = edge + j * cell, edge + i * cell
    said = esc(text("results.confusion_cell", true=labels[i], answer=labels[j], n=number))
    box = f'x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{cell - 2}" rx="5"'
    dark = " strong" if share > 0.55 else ""
    words = f'<text class="count{dark}" x="{x + cell / 2}" y="{y + cell / 2 + 5}">{number}</text>' if number else ""
    return (
        f'<g><title>{said}</title><rect class="ground" {box}/><rect class="{kind}" {box} '
        f'style="fill-opacity:{share:.3f}"/>{words}</g>'
    )
