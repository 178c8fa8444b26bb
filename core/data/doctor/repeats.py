"""Rows that say what another row said: copies, near copies, contradictions, and test rows among those to learn from."""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from core.data.cleaning import label_key, label_sets, text_key
from core.data.doctor._minhash import near_repeats
from core.data.doctor.base import Check, Seen, Sheet, samples
from core.data.doctor.chat import spoken
from core.data.findings import Finding, examples
from core.data.splitting import by_column
from core.errors import Fact, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Ints = NDArray[np.int64]

LOOKED_AT = 300_000
# Shorter texts are alike because the words are: "Where is my order?" and "Where is my card?" are two examples.
CHARACTERS = 40


def duplicate_rows(sheet: Sheet) -> Seen | None:
    """Rows with the same texts and the same label or answer as an earlier row of the same part."""
    import pandas as pd

    keys = sheet.keys
    table = pd.DataFrame({"part": _parts(sheet), "key": keys.array, "taught": _taught(sheet)})
    again = (table.duplicated() & (table["key"] != "")).to_numpy()
    if not again.any():
        return None
    first = table.groupby(["part", "key", "taught"], sort=False).cumcount() == 0
    origin = table[first & (table["key"] != "")].reset_index().set_index(["part", "key", "taught"])["index"]
    repeated = int(origin[tuple(table.iloc[again.argmax()])])
    return _dropping(sheet, "duplicate_rows", again, {}, first=repeated)


def conflicting_labels(sheet: Sheet) -> Seen | None:
    """Texts that have different labels in different rows. Rows without a label contradict nothing."""
    import pandas as pd

    table = pd.DataFrame({"key": sheet.keys.array, "label": _taught(sheet)})
    known = (table["key"] != "") & (table["label"] != "")
    votes = table[known].groupby(["key", "label"], sort=False).size().rename("votes").reset_index()
    several = votes[votes.duplicated("key", keep=False)]
    if several.empty:
        return None
    leading = several[several["votes"] == several.groupby("key")["votes"].transform("max")]
    winners = leading[~leading.duplicated("key", keep=False)].set_index("key")["label"]
    disputed = known & table["key"].isin(set(several["key"]))
    lost = (disputed & (table["label"] != table["key"].map(winners))).to_numpy()
    facts: dict[str, Fact] = {"texts": int(several["key"].nunique())}
    # Shown are rows of one text, with the label that stays if there is one.
    shown = sheet.frame.index[(disputed & (table["key"] == table["key"][lost.argmax()])).to_numpy()]
    seen = _dropping(sheet, "conflicting_labels", lost, facts, fix="majority")
    after = sheet.frame[~lost]
    return replace(seen, finding=replace(seen.finding, samples=samples(sheet, shown, _names(sheet), after)))


def near_duplicates(sheet: Sheet) -> Seen | None:
    """Long texts that differ in a few characters from an earlier one of the same part with the same label.

    For rows with an answer, the text and its answer are compared together: both have to be nearly the same.
    """
    import numpy as np
    import pandas as pd

    texts, answers = _texts(sheet), _answers(sheet)
    whole = [a + _apart(b) for a, b in zip(texts, answers, strict=True)]
    label = pd.factorize(np.array(_taught(sheet, answers=False), dtype=object))[0].astype(np.int64)
    part = _parts(sheet)
    rows = np.array([i for i, text in enumerate(whole[:LOOKED_AT]) if len(text) >= CHARACTERS], dtype=np.int64)
    rows = rows[~pd.DataFrame({"part": part[rows], "text": [whole[i] for i in rows]}).duplicated().to_numpy()]
    repeats, other = np.full(len(texts), -1), 0
    for number in range(3):
        of_part = rows[part[rows] == number]
        near = near_repeats([whole[i] for i in of_part], label[of_part] if label.any() else None)
        found = near.repeats >= 0
        repeats[of_part[found]] = of_part[near.repeats[found]]
        other += int(((near.other >= 0) & ~found).sum())
    again = repeats >= 0
    if not again.any():
        return None
    facts: dict[str, Fact] = {"looked_at": min(len(texts), LOOKED_AT), "other_label": other}
    pairs = [(i, repeats[i]) for i in np.flatnonzero(again)]
    copies = all(_letters(cells[i]) == _letters(cells[first]) for i, first in pairs for cells in (texts, answers))
    return _dropping(
        sheet, "near_duplicates", again, facts, first=int(repeats[again.argmax()]), recommended=copies, severity="info"
    )


def train_rows_in_test(sheet: Sheet) -> Seen | None:
    """Rows to learn from whose text is also in a row that is held out."""
    held_out = set(_held_out(sheet, "keys")) - {""}
    if not held_out:
        return None
    known = sheet.keys.isin(held_out).to_numpy() & (_parts(sheet) == 0)
    return _dropping(sheet, "train_rows_in_test", known, {}) if known.any() else None


def near_rows_in_test(sheet: Sheet) -> Seen | None:
    """Rows to learn from whose long text differs in a few characters from one that is held out."""
    import numpy as np

    exact = set(_held_out(sheet, "keys"))
    references = list(dict.fromkeys(text for text in _held_out(sheet, "texts") if len(text) >= CHARACTERS))[:LOOKED_AT]
    if not references:
        return None
    texts, part, keys = _texts(sheet), _parts(sheet), sheet.keys.tolist()
    rows = [
        i
        for i in range(min(len(texts), LOOKED_AT))
        if part[i] == 0 and len(texts[i]) >= CHARACTERS and keys[i] not in exact
    ]
    # The same text in several rows is looked up once.
    place = {text: i for i, text in enumerate(dict.fromkeys(texts[i] for i in rows))}
    near = near_repeats([*references, *place], references=len(references)).repeats[len(references) :]
    known = np.zeros(len(texts), dtype=bool)
    known[rows] = [near[place[texts[i]]] >= 0 for i in rows]
    facts: dict[str, Fact] = {"looked_at": min(len(texts), LOOKED_AT)}
    return _dropping(sheet, "near_rows_in_test", known, facts) if known.any() else None


def _dropping(
    sheet: Sheet,
    code: str,
    gone: "Mask",
    facts: dict[str, Fact],
    *,
    fix: str = "drop",
    first: int | None = None,
    recommended: bool = True,
    severity: str = "warning",
) -> Seen:
    """A finding about rows that can be taken out. `first` is the position of the row that the first of them repeats."""
    frame = sheet.frame
    rows, kept = frame.index[gone], frame[~gone]
    shown = rows
    if first is not None:
        facts = facts | {"row": int(rows[0]), "first": int(frame.index[first])}
        shown = rows[:0].append([frame.index[[first]], rows])
    finding = Finding(
        code,
        len(rows),
        "info" if severity == "info" else "warning",
        facts,
        examples(rows),
        fix,
        (fix,),
        recommended,
        samples=samples(sheet, shown, _names(sheet), kept),
    )
    return Seen(finding, {fix: lambda: sheet.frame[~gone]})


def _names(sheet: Sheet) -> list[str]:
    names = sheet.names("text", "messages", "answer", "label", "labels")
    part = [sheet.part_column] if sheet.part_column and sheet.part_column in sheet.frame.columns else []
    return list(dict.fromkeys([*names, *part]))


def _parts(sheet: Sheet) -> "NDArray[np.int8]":
    """Of each row 0 for training, 1 for validation, 2 for the test; all 0 where no column says it."""
    import numpy as np

    if sheet.part_column and sheet.part_column in sheet.frame.columns:
        try:
            return by_column(sheet.frame[sheet.part_column], test_needed=False)
        except UserError:  # the split says it, in its own place
            pass
    return np.zeros(len(sheet.frame), dtype=np.int8)


def _taught(sheet: Sheet, *, answers: bool = True) -> list[str]:
    """Of each row what shall be learned, without case and blanks: label, the set of labels, answer."""
    parts = [[text_key(cell) for cell in sheet.frame[name].tolist()] for name in sheet.names("answer") if answers]
    for role in sheet.shape.roles:
        given = sheet.columns.get(role.name)
        if given and role.kind == "label":
            parts += [[label_key(cell) for cell in sheet.frame[name].tolist()] for name in _columns(given)]
        elif given and role.kind == "labels":
            sets = cast("list[tuple[str, ...]]", label_sets(sheet.frame, given).tolist())
            parts.append(["\x1f".join(sorted({label_key(label) for label in labels})) for labels in sets])
    return ["\x1e".join(cells) for cells in zip(*parts, strict=True)] if parts else [""] * len(sheet.frame)


def _columns(given: str | tuple[str, ...]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _texts(sheet: Sheet) -> list[str]:
    """What a near copy is told by: the keys, of a conversation what was said without the JSON around it."""
    names = sheet.names("messages")
    if not names:
        return sheet.keys.tolist()
    said = [[text_key(spoken(cell)) for cell in sheet.frame[name].tolist()] for name in names]
    return ["\n".join(cells) for cells in zip(*said, strict=True)]


def _answers(sheet: Sheet) -> list[str]:
    names = sheet.names("answer")
    cells = [[text_key(cell) for cell in sheet.frame[name].tolist()] for name in names]
    return ["\n".join(parts) for parts in zip(*cells, strict=True)] if names else [""] * len(sheet.frame)


def _apart(answer: str) -> str:
    """The answer in characters that no text has, so that a pair is not near to the same pair the other way round."""
    import numpy as np

    if not answer:
        return answer
    points = np.frombuffer(answer.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return ((points & np.uint32(0x7FFFF)) | np.uint32(0x80000)).tobytes().decode("utf-32-le")


def _held_out(sheet: Sheet, what: str) -> list[str]:
    """Keys or texts of the rows that are not to learn from: of the test file, and by the column that says it."""
    import numpy as np

    sheets = [sheet.with_frame(sheet.frame[_parts(sheet) > 0])] if np.any(_parts(sheet)) else []
    needed = sheet.names("text", "messages")
    if sheet.test is not None and set(needed) <= set(sheet.test.columns):
        sheets.append(sheet.with_frame(sheet.test))
    return [text for part in sheets for text in (part.keys.tolist() if what == "keys" else _texts(part))]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


REPEAT_CHECKS: tuple[Check, ...] = (
    Check("train_rows_in_test", ("text", "messages"), train_rows_in_test),
    Check("conflicting_labels", ("label", "labels"), conflicting_labels),
    Check("duplicate_rows", ("text", "messages"), duplicate_rows),
    Check("near_rows_in_test", ("text", "messages"), near_rows_in_test),
    Check("near_duplicates", ("text", "messages"), near_duplicates),
)
