"""Pictures and cards: nothing that a stranger wrote becomes HTML."""

from html.parser import HTMLParser
from typing import Any

import pytest

from core.errors import UserError
from core.models.sizing import ModelFacts
from tests.ui.conftest import report
from ui import cards, pictures
from ui.tabs.data.findings import cards_of
from ui.text import Text

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    "</title></svg><form action=//evil.example><input>",
    "javascript:alert(1)",
    "{0} {name} %s",
]
ALLOWED = {
    "ul", "li", "span", "i", "b", "p", "div", "svg", "g", "rect", "text", "title", "figure", "ol", "section", "h3",
    "h4", "dl", "dt", "dd", "article", "u", "table", "thead", "tbody", "tr", "th", "td", "small", "strong",
    "q", "del", "ins", "button", "em",
}  # fmt: skip
TEXT = Text("en")


class Elements(HTMLParser):
    """Collects element and attribute names and all words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.words += " ".join(value or "" for _, value in attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


def drawn(name: str) -> dict[str, str]:
    """Every picture and card with a hostile label, text or name in it."""
    made: dict[str, Any] = report([name, "b", "c"])
    made["errors"] = [{"row": 2, "text": name, "label": name, "prediction": name, "confidence": 0.5}]
    known = ModelFacts(name, 10, 10, 10, 10, "yes", 1, name, 0, None, True)
    finding = {
        "code": "label_variants", "rows": 3, "severity": "warning", "facts": {"labels": name, "spellings": name},
        "examples": [2, 3], "fix": "merge", "fixes": ["merge", name], "recommended": True, "applied": None,
        "samples": [{"row": 2, "before": {name: name}, "after": {name: "b"}}],
    }  # fmt: skip
    return {
        "label_counts": pictures.label_counts(TEXT, {name: 3}),
        "probabilities": pictures.probabilities(TEXT, [(name, 0.7), ("b", 0.3)]),
        "confusion": pictures.confusion(TEXT, made["labels"], made["confusion"]),
        "per_class": cards.per_class(TEXT, made),
        "wrong_rows": cards.wrong_rows(TEXT, made),
        "table": cards.table([name], [[name]], name),
        "facts": cards.facts([(name, name)]),
        "model": cards.model_facts(TEXT, known),
        "findings": cards_of(TEXT, (finding,), UserError("model_not_loadable", name=name)),
        "ready": cards.ready(TEXT, "done", name, {"data": "done"}, name),
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_words_stay_words(name: str) -> None:
    for what, page in drawn(name).items():
        seen = Elements(page)
        assert seen.names <= ALLOWED, what
        assert not {a for a in seen.attributes if a.startswith("on") or a in ("src", "href")}, what
        assert name in seen.words, what


def test_bars_are_no_wider_than_their_place() -> None:
    page = pictures.bars([("a", 1.7, ""), ("b", -1, "")], "x")
    assert "width:100.0%" in page
    assert "width:0.0%" in page


def test_many_labels_are_cut_and_counted() -> None:
    assert "and 5 more labels" in pictures.label_counts(TEXT, {f"l{i}": 1 for i in range(35)})
    assert "42 other labels" in pictures.probabilities(TEXT, [(f"l{i}", 0.02) for i in range(50)])
    assert "<svg" not in pictures.confusion(TEXT, ["x"] * 41, [[0] * 41] * 41)


def test_the_strongest_answer_comes_first() -> None:
    page = pictures.probabilities(TEXT, [("low", 0.1), ("high", 0.9)])
    assert page.index("high") < page.index("low")
    assert "90.0 %" in page
    assert TEXT("tryit.sure") in page


def test_an_empty_histogram_is_nothing() -> None:
    assert pictures.token_histogram(TEXT, {"histogram": [], "p50": 0, "p95": 0, "max": 0}) == ""


def test_the_confusion_matrix_says_each_figure_in_words() -> None:
    page = pictures.confusion(TEXT, ["a", "b"], [[3, 1], [0, 4]])
    assert "a answered as b: 1" in page
    assert page.count("<rect") == 8
