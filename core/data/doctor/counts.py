"""Checks of amounts: too few rows, and texts that are longer than the model reads."""

import math
from collections.abc import Mapping

from core.data.doctor.base import Check, Seen, Sheet
from core.data.findings import Finding
from core.errors import Fact

# Fewer usable rows than these teach little: of labels, and of texts to write.
FEW_LABELLED_ROWS = 50
FEW_ROWS = 100
_TEST_SHARE = 0.15
_ACCURACY = 0.8
_CONFIDENCE = 1.96
_MANY_CUT = 0.05


def too_few_rows(sheet: Sheet) -> Seen | None:
    """Fewer rows than give a result to rely on, and how far off the measured accuracy may then be."""
    rows = len(sheet.rows)
    wanted = FEW_LABELLED_ROWS if sheet.names("label", "labels") else FEW_ROWS
    if rows == 0 or rows >= wanted:
        return None
    test = len(sheet.test) if sheet.test is not None else round(_TEST_SHARE * rows)
    facts: dict[str, Fact] = {"rows": rows, "wanted": wanted, "margin": margin(test)}
    return Seen(Finding("too_few_rows", rows, "warning", facts))


def margin(test_rows: int) -> int:
    """Half the width, in percentage points, of the range in which the true accuracy lies 95 times in 100.

    It is the range for 80 % of the test rows answered rightly.

    Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    n, z = max(1, test_rows), _CONFIDENCE
    half = z / (1 + z * z / n) * math.sqrt(_ACCURACY * (1 - _ACCURACY) / n + z * z / (4 * n * n))
    return round(100 * half)


def texts_cut(sheet: Sheet) -> Seen | None:
    """Texts of which the model reads only the beginning."""
    found = cut_texts(sheet.tokens, sheet.max_length, len(sheet.frame))
    return Seen(found) if found else None


def cut_texts(tokens: Mapping[str, object] | None, limit: int | None, rows: int) -> Finding | None:
    """How much a model leaves unread that reads so many tokens, estimated from a sample's lengths.

    Args:
        tokens: what `core.data.profiling.token_lengths` counted.
        limit: longest text in tokens that is read.
        rows: of the table.
    """
    if not tokens or limit is None:
        return None
    longest = _whole(tokens.get("max"))
    share, lost = _beyond(tokens.get("histogram"), limit)
    if longest <= limit or share <= 0:
        return None
    facts: dict[str, Fact] = {
        "percent": _percent(share), "tokens": _percent(lost), "limit": limit, "longest": longest,
    }  # fmt: skip
    return Finding("texts_cut", max(1, round(share * rows)), "warning" if share > _MANY_CUT else "info", facts)


def _beyond(histogram: object, limit: int) -> tuple[float, float]:
    """Share of texts longer than the limit, and share of all tokens that lie beyond it.

    Lengths are taken to be spread evenly in a bar. The last bar reaches to the longest text; its other texts are taken
    to lie within a bar of the usual width.
    """
    bars = [tuple(map(_whole, bar)) for bar in histogram] if isinstance(histogram, list) else []
    if not bars:
        return 0.0, 0.0
    low, high, count = bars.pop()
    usual = bars[0][1] - bars[0][0] if bars else high - low
    bars += [(low, min(high, low + usual), count - 1), (high, high, 1)]
    texts = tokens = cut_texts = cut_tokens = 0.0
    for low, high, count in bars:
        first = max(low, limit + 1)
        beyond = count * max(0, high - first + 1) / (high - low + 1)
        texts, tokens = texts + count, tokens + count * (low + high) / 2
        cut_texts, cut_tokens = cut_texts + beyond, cut_tokens + beyond * ((first + high) / 2 - limit)
    return cut_texts / texts, cut_tokens / tokens if tokens else 0.0


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def _percent(share: float) -> int:
    """Rounded, but what there is never becomes nothing."""
    return max(1, round(100 * share))


ROW_CHECKS: tuple[Check, ...] = (
    Check("too_few_rows", ("text", "messages"), too_few_rows),
    Check("texts_cut", ("text", "messages"), texts_cut),
)
