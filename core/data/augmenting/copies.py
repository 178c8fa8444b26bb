"""Copies of training rows, each changed in one way, as many as a person asks for."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from core.data.augmenting.making import Maker, Outcome, lottery
from core.data.rows import flat_labels, label_sets
from core.spec import AugmentChoice

if TYPE_CHECKING:
    import pandas as pd

_MOST_COPIES = 10
_PREVIEW_ROWS = 5_000
_PREVIEW_TRIES = 40


@dataclass(frozen=True)
class Augmented:
    """What became of the copies that were asked for.

    Attributes:
        made: copies that were added.
        softened: those of them with fewer changes than asked for, since more would have spoken for another label.
        backed_off: copies left out because every change made the text speak for another label.
        skipped: copies left out because there was nothing to change, or the copy was a text that is there already.
        before: label -> training rows.
        after: label -> training rows and copies.
    """

    made: int = 0
    softened: int = 0
    backed_off: int = 0
    skipped: int = 0
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The facts, JSON-ready."""
        return asdict(self)


def planned(counts: dict[str, int], choice: AugmentChoice) -> dict[str, int]:
    """Rows of each label with their copies, if every copy can be made.

    With `balance` smaller classes get more copies, up to the size of the largest one with its own, at most ten a row.
    Where rows have several labels this is what each label would get alone; a row gets what its rarest one needs.

    Args:
        counts: label -> training rows.
        choice: what a person asks for.
    """
    if not choice.methods or not counts:
        return dict(counts)
    largest = max(counts.values())
    wanted = {label: (largest if choice.balance else rows) * (1 + choice.copies) for label, rows in counts.items()}
    return {label: min(round(wanted[label]), rows * (1 + _MOST_COPIES)) for label, rows in counts.items()}


def augment(
    train: "pd.DataFrame", choice: AugmentChoice, seed: int, *, held_out: Collection[str] = ()
) -> tuple["pd.DataFrame", Augmented]:
    """The training rows, and changed copies after them.

    A copy has the columns of its row, the row's number too: so it can be told from the original by its place.

    Args:
        train: `row`, `text` and `label`, or `labels` with a tuple for each row.
        choice: which changes, how many copies. Without a method there are none.
        seed: decides which copies get which change; the copies of a row do not depend on the other rows' order.
        held_out: texts of the other parts; no copy is one of them.
    """
    import pandas as pd

    before = _counts(train)
    if not choice.methods or train.empty:
        return train, Augmented(before=before, after=dict(before))
    texts, labels = train["text"].tolist(), label_sets(train)
    maker = Maker(texts, labels, choice, several="labels" in train.columns, held_out=held_out)
    counted: dict[Outcome, int] = dict.fromkeys(("made", "softened", "backed_off", "skipped"), 0)
    places: list[int] = []
    copied: list[str] = []
    for place, number in enumerate(_copies(labels, before, choice, seed)):
        for text, outcome in maker.copies(texts[place], labels[place], number, f"{seed} {train['row'].iat[place]}"):
            counted[outcome] += 1
            if text is not None:
                places.append(place)
                copied.append(text)
    added = train.iloc[places].assign(text=pd.Series(copied, index=train.index[places], dtype="str").array)
    together = pd.concat([train, added], ignore_index=True)
    return together, Augmented(
        counted["made"] + counted["softened"], counted["softened"], counted["backed_off"], counted["skipped"],
        before, _counts(together),
    )  # fmt: skip


def preview(train: "pd.DataFrame", choice: AugmentChoice, seed: int, most: int = 6) -> list[dict[str, Any]]:
    """A few copies to look at, one method after the other.

    Args:
        train: as for `augment`.
        choice: what a person asks for.
        seed: decides which rows are shown.
        most: how many at most.

    Returns:
        For each `row`, `label` (several joined by commas), `method`, `before` and `after`.
    """
    if not choice.methods or train.empty:
        return []
    some = train.sample(min(len(train), _PREVIEW_ROWS), random_state=seed)
    texts, labels, numbers = some["text"].tolist(), label_sets(some), some["row"].tolist()
    maker = Maker(texts, labels, choice, several="labels" in train.columns, held_out=())
    shown: list[dict[str, Any]] = []
    for place, (text, held) in enumerate(zip(texts[: most * _PREVIEW_TRIES], labels, strict=False)):
        method = choice.methods[len(shown) % len(choice.methods)]
        if len(shown) == most:
            break
        chance = lottery(f"{seed} {place}")
        after, _ = maker.copy(maker.original(text, held), (method,), chance)
        if after is not None:
            row = int(numbers[place])
            shown.append({"row": row, "label": ", ".join(held), "method": method, "before": text, "after": after})
    return shown


def _counts(train: "pd.DataFrame") -> dict[str, int]:
    return {str(label): int(rows) for label, rows in flat_labels(train).value_counts().items()}


def _copies(labels: list[tuple[str, ...]], counts: dict[str, int], choice: AugmentChoice, seed: int) -> list[int]:
    """Copies of each row: as its rarest label needs them, as evenly as can be."""
    plan = planned(counts, choice)
    members: dict[str | None, list[int]] = {}
    for place, held in enumerate(labels):
        members.setdefault(min(held, key=lambda label: (counts[label], label), default=None), []).append(place)
    number = [0] * len(labels)
    for label, places in members.items():
        share = choice.copies if label is None else plan[label] / counts[label] - 1
        whole, rest = divmod(round(share * len(places)), len(places))
        more = set(lottery(f"{seed} {label}").sample(places, rest))
        for place in places:
            number[place] = whole + (place in more)
    return number
