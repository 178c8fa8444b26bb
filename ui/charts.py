"""Progress -> the data frames of the live charts."""

from typing import Any

import pandas as pd

from core.runs.progress import Progress
from ui.text import Text

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
