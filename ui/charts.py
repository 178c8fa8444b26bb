"""Progress -> the data frames of the live charts, and the curves of several runs as a picture."""

import math
from typing import Any

import pandas as pd

from core.runs.progress import Progress
from ui.pictures import esc
from ui.text import Text, written

_MOST_POINTS = 300


def thinned(points: list[Any], most: int = _MOST_POINTS) -> list[Any]:
    """At most `most` of the points, evenly chosen, first and last kept."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _seeded(rows: list[dict[str, Any]], x: str, y: str, series: list[str]) -> pd.DataFrame:
    """gradio's LinePlot never draws a series that its first data lacked: each gets an empty row."""
    empty = [{x: 0, y: float("nan"), "series": name} for name in series]
    return pd.DataFrame([*empty, *rows])


def losses(text: Text, progress: Progress | None) -> pd.DataFrame:
    """Loss by step, of training and validation rows."""
    names = [text("charts.training"), text("charts.validation")]
    rows: list[dict[str, Any]] = []
    if progress is not None:
        rows += [{"step": s, "loss": loss, "series": names[0]} for s, loss in thinned(progress.losses)]
        rows += [{"step": s, "loss": loss, "series": names[1]} for s, loss, _, _ in progress.evaluations]
    return _seeded(rows, "step", "loss", names)


def scores(text: Text, progress: Progress | None) -> pd.DataFrame:
    """The task's metric by step, on validation rows, in percent."""
    name = text("charts.validation")
    seen = progress.evaluations if progress is not None else []
    rows = [{"step": s, "score": 100 * value, "series": name} for s, _, value, _ in seen]
    return _seeded(rows, "step", "score", [name])


def span(progress: Progress | None) -> list[float]:
    """The whole training from the beginning, so that the axis does not run away under the eyes."""
    return [0, max(1, progress.steps if progress else 1)]


Points = list[tuple[float, float]]


def curves(text: Text, title: str, lines: dict[str, Points]) -> str:
    """The curves of several runs over one another, by share of the training in percent; empty where none has a point.

    gradio's LinePlot cannot take on another series later (see `_seeded`), and here they change with every choice.

    Args:
        title: what is drawn.
        lines: short name -> (share in percent, value).
    """
    shown = {name: thinned(points) for name, points in lines.items()}
    ticks = _ticks([value for points in shown.values() for _, value in points])
    if not ticks:
        return ""
    low, high = ticks[0], ticks[-1]

    def height(value: float) -> float:
        return 100 - 100 * (value - low) / (high - low)

    grid = "".join(f'<path class="grid" d="M0 {height(tick):.2f}H100"/>' for tick in ticks)
    drawn = "".join(_curve(text, i, name, points, height) for i, (name, points) in enumerate(shown.items()))
    ends = [text("history.curve_said", name=name, value=written(p[-1][1])) for name, p in shown.items() if p]
    labels = "".join(f'<span style="top:{height(tick):.2f}%">{esc(written(tick))}</span>' for tick in ticks)
    return (
        f'<figure class="curves"><figcaption>{esc(title)}</figcaption><div class="plot">'
        f'<div class="values" aria-hidden="true">{labels}</div><svg viewBox="0 0 100 100" preserveAspectRatio="none" '
        f'role="img" aria-label="{esc(title)}: {esc("; ".join(ends))}">{grid}{drawn}</svg></div>'
        f'<div class="axis"><span>0 %</span><span>{esc(text("history.curve_axis"))}</span><span>100 %</span></div>'
        "</figure>"
    )


def _curve(text: Text, place: int, name: str, points: Points, height: Any) -> str:
    """A line, and its points with their values. A point is a line of no length, which stays round when stretched."""
    path = "L".join(f"{share:.2f} {height(value):.2f}" for share, value in points)
    dots = "".join(
        f'<path class="dot line-{place}" d="M{share:.2f} {height(value):.2f}h0"><title>'
        f"{esc(text('history.curve_point', name=name, value=written(value), share=round(share)))}</title></path>"
        for share, value in points
    )
    return f'<path class="curve line-{place}" d="M{path}"/>{dots}' if points else ""


def _ticks(values: list[float]) -> list[float]:
    """Three to seven round values that enclose all others; none where there are none."""
    if not values:
        return []
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0) / 10
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * i, 10) for i in range(first, max(last, first + 1) + 1)]
