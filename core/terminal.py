"""What the command line says on stderr. Its sentences are the page's own, from `ui/locales`; core holds none."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from core.errors import UserError
from core.evaluation.scales import SCALES
from core.runs.progress import Progress

_LOCALES = Path(__file__).resolve().parent.parent / "ui" / "locales"
_WIDTH = 24


class Terminal:
    """Sentences, a progress line and a table of scores.

    Args:
        language: `en` or `zh-CN`.
        stream: where to write; a progress line is drawn over itself only on a real terminal.
    """

    def __init__(self, language: str = "en", stream: TextIO | None = None) -> None:
        self._language = language
        self._stream = stream or sys.stderr
        self._drawn = False
        self._last_phase = ""

    def say(self, key: str, **facts: Any) -> None:
        """One sentence from the section `terminal`."""
        self._end_line()
        self._stream.write(self._words(f"terminal.{key}", facts) + "\n")

    def error(self, error: UserError) -> None:
        """The sentence of an error."""
        self._end_line()
        self._stream.write(self._words(f"errors.{error.code}", error.facts) + "\n")

    def finding(self, finding: dict[str, Any]) -> None:
        """What was changed in the data, from its code, rows and facts."""
        self._end_line()
        facts = {**finding["facts"], "rows": finding["rows"]}
        words = self._words(f"findings.{finding['code']}", facts)
        done = f" [{self._words('data.mended', {})}]" if finding.get("applied") else ""
        self._stream.write(f"  {words}{done}\n")

    def progress(self, progress: Progress) -> None:
        """A bar with the time left, drawn over the last one; in a file a line a phase or evaluation."""
        done = round(progress.fraction * _WIDTH)
        line = f"[{'#' * done}{'.' * (_WIDTH - done)}] {progress.fraction:4.0%}  {self._phase(progress)}"
        if progress.losses and progress.phase == "training":
            line += f"  {progress.step}/{progress.steps}  loss {progress.losses[-1][1]:.3f}"
        if progress.evaluations:
            line += f"  {progress.metric} {progress.evaluations[-1][2]:.3f}"
        if progress.seconds_left is not None:
            line += "  " + self._words("terminal.left", {"time": clock(progress.seconds_left)})
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[2K{line[:118]}")
            self._drawn = True
        elif (mark := f"{progress.phase}{len(progress.evaluations)}") != self._last_phase:
            self._last_phase = mark
            self._stream.write(line + "\n")
        self._stream.flush()

    def scores(self, report: dict[str, Any]) -> None:
        """The model beside its baselines on the test rows, and the verdict."""
        self._end_line()
        shown = [name for name in report["metrics"] if name in SCALES]
        rows = [(self._words(f"results.baseline.{name}", {}), scores) for name, scores in report["baselines"].items()]
        rows.append((self._words("terminal.model", {}), report["metrics"]))
        wide = max(len(name) for name, _ in rows) + 2
        self._stream.write(f"{'':{wide}}" + "".join(f"{name:>17}" for name in shown) + "\n")
        for name, scores in rows:
            cells = (figure(m, scores[m]) if m in scores else "-" for m in shown)
            self._stream.write(f"{name:{wide}}" + "".join(f"{cell:>17}" for cell in cells) + "\n")
        edges = report["metrics"]["intervals"]
        spans = (f"{figure(m, edges[m][0], 2)}-{figure(m, edges[m][1], 2)}" if m in edges else "" for m in shown)
        cells_of_spans = "".join(f"{span:>17}" for span in spans)
        self._stream.write(f"{self._words('terminal.interval', {}):{wide}}{cells_of_spans}\n")
        self._verdict(report)

    def _verdict(self, report: dict[str, Any]) -> None:
        said = {key: value for key, value in report["verdict"].items() if key != "code"}
        if "strongest" not in said:
            return
        if "right" in said:
            self.say(f"verdict_{report['verdict']['code']}", **said)
            return
        metric = report["main_metric"]
        facts = {
            "metric": self._words(f"results.{metric}.name", {}),
            "baseline": self._words(f"results.baseline.{said['strongest']}", {}),
            "ours": figure(metric, said["ours"], 1),
            "theirs": figure(metric, said["theirs"], 1),
            "rows": said["rows"],
        }
        self._stream.write(self._words(f"verdict_text.{report['verdict']['code']}", facts) + "\n")

    def _phase(self, progress: Progress) -> str:
        return self._words(f"phase.{progress.phase}" if progress.phase else "terminal.starting", {})

    def _words(self, key: str, facts: dict[str, Any]) -> str:
        section, name = key.split(".", 1)
        found: dict[str, str] = _sentences(self._language).get(section, {})
        one_or_other = "one" if facts.get("n", facts.get("rows")) == 1 else "other"
        sentence = found.get(name) or found.get(f"{name}.{one_or_other}")
        if sentence is None:
            return f"{name} {json.dumps(facts, ensure_ascii=False)}"
        return sentence.format(**facts)

    def _end_line(self) -> None:
        if self._drawn:
            self._stream.write("\n")
            self._drawn = False


def figure(metric: str, value: float, digits: int = 3) -> str:
    """A score as the terminal shows it: shares with their decimals, points of 100 with one."""
    if SCALES[metric].unit == "points":
        return f"{value:.1f}"
    return f"{value:.{digits}f}" if value < 1000 else f"{value:,.0f}"


def clock(seconds: float) -> str:
    """Minutes and seconds, `2:05`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


@cache
def _sentences(language: str) -> dict[str, dict[str, str]]:
    path = _LOCALES / f"{language}.json"
    tree = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {section: _flat(part) for section, part in tree.items() if isinstance(part, dict)}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return found
