"""What shape a JSON document has: where in it the records are, and what columns they make.

A first pass goes through the whole document and keeps its outline: objects as dictionaries, values as None, and in
place of every list a `Listed`. The outline tells where records may be; the second pass takes them from there.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from core.data.formats._json_cells import records, turns
from core.data.formats._json_stream import Number, Source

Keys = tuple[str, ...]
Outline = Any
# More places than this are no choice for people, but records under their own names.
_PLACES = 50
# Where an element is that is no record.
VALUE: Keys = ("value",)


class Listed:
    """What the elements of a list have in common.

    Attributes:
        count: how many there are.
        objects: how many are objects.
        lists: how many are lists.
        conversations: how many are turns of a conversation.
        width: cells of the widest list.
        first: the first element.
        strings: the elements, where all are text and few.
    """

    def __init__(self) -> None:
        self.count = self.objects = self.lists = self.conversations = self.width = 0
        self.first: Any = None
        self.strings: list[str] = []
        # Path -> whether any record has a value there.
        self._columns: dict[Keys, bool] = {}

    def add(self, element: Any, most_strings: int = 0) -> None:
        """Take an element into account."""
        if not self.count:
            self.first = element
        self.count += 1
        if isinstance(element, dict):
            self.objects += 1
            self.conversations += turns([element]) is not None
            for record in records(element):
                self._look_at(record, ())
        elif isinstance(element, list):
            self.lists += 1
            self.width = max(self.width, len(element))
        elif element is not None:
            self._columns[VALUE] = True
            if len(self.strings) == self.count - 1 < most_strings and is_text(element):
                self.strings.append(element)

    def _look_at(self, record: dict[str, Any], around: Keys) -> None:
        columns = self._columns
        for key, value in record.items():
            path = (*around, key)
            if isinstance(value, dict) and value:
                self._look_at(value, path)
            elif path not in columns or not columns[path]:
                columns[path] = value is not None and value != {}

    @property
    def columns(self) -> list[Keys]:
        """Paths of the records' values, in the order of their first appearance.

        One that is null wherever it is no object is no column beside those inside of the object.
        """
        opened = {path[:depth] for path in self._columns for depth in range(1, len(path))}
        found = [path for path, filled in self._columns.items() if filled or path not in opened]
        # Lists among objects are values; without objects they are rows of cells.
        return [*found, VALUE] if self.lists and self.objects and VALUE not in found else found

    @property
    def is_records(self) -> bool:
        """Whether the elements are records, as objects or as lists of cells."""
        return self.is_rows or bool(self.objects and not self.is_conversation)

    @property
    def is_conversation(self) -> bool:
        """Whether every element is a turn of a conversation."""
        return bool(self.count) and self.conversations == self.count

    @property
    def is_rows(self) -> bool:
        """Whether the elements are lists of cells."""
        return bool(self.lists) and not self.objects


def is_text(value: Any) -> bool:
    """Whether it is text and no number."""
    return isinstance(value, str) and not isinstance(value, Number)


def outline(source: Source, limit: int, depth: int = 0) -> Outline:
    """Go through the next value; `limit` is the most names of columns to keep of a list."""
    kind = source.peek()
    if kind == "{":
        return {key: outline(source, limit, depth + 1) for key in source.members(depth)}
    if kind == "[":
        found = Listed()
        for element in source.elements(depth):
            found.add(element, limit)
        return found
    source.value(depth)
    return None


@dataclass(frozen=True)
class Place:
    """Where records are in a document.

    Attributes:
        path: keys that lead there.
        count: how many there are.
        take: reads them from a source that stands there, at this depth.
        listed: what the elements are, where the outline tells it.
        sure: whether they are records even where plain values stand around them.
        header: names of the cells of rows, where they stand elsewhere.
    """

    path: Keys
    count: int
    take: Callable[[Source, int], Iterable[Any]]
    listed: Listed | None = None
    header: tuple[str, ...] = ()
    sure: bool = False

    @property
    def name(self) -> str:
        """The path in one word."""
        return ".".join(self.path)

    def elements(self, source: Source) -> Iterator[Any]:
        """The elements at the place."""
        for depth, key in enumerate(self.path):
            for found in source.members(depth):
                if found == key:
                    break
                source.skip(depth + 1)
        yield from self.take(source, len(self.path))


def places(found: Outline, path: Keys = ()) -> list[Place]:
    """All places of records in an outline, none if the document is a single record."""
    if isinstance(found, Listed):
        return [Place(path, found.count, Source.elements, found, sure=True)] if found.is_records or not path else []
    if not isinstance(found, dict) or not found:
        return []
    whole = _split(found, path) or _columns(found, path) or _indexed(found, path)
    if whole:
        return [whole]
    inside = [place for key, value in found.items() for place in places(value, (*path, key))]
    if None in found.values():
        # A record with plain values: what is inside of it are columns of it, unless it is a list of records.
        inside = [place for place in inside if place.sure]
    if not inside or len(inside) > _PLACES:
        keyed = _keyed(found, path)
        return [keyed] if keyed else inside
    return inside


def _split(found: dict[str, Outline], path: Keys) -> Place | None:
    """pandas' `orient="split"`: the names in one list, the rows in another."""
    names, data = found.get("columns"), found.get("data")
    if not (isinstance(names, Listed) and isinstance(data, Listed) and data.is_rows):
        return None
    if not names.strings or len(names.strings) != names.count or names.count != data.width:
        return None
    return Place(path, data.count, _from_split, data, tuple(names.strings), sure=True)


def _from_split(source: Source, depth: int) -> Iterator[Any]:
    for key in source.members(depth):
        if key == "data":
            yield from source.elements(depth + 1)
            return
        source.skip(depth + 1)


def _columns(found: dict[str, Outline], path: Keys) -> Place | None:
    """A list for each column, all of one length, and at least one of them with plain values."""
    lists = [value for value in found.values() if isinstance(value, Listed)]
    if len(lists) < len(found) or len({one.count for one in lists}) > 1 or not lists[0].count:
        return None
    if all(one.objects or one.lists for one in lists) or any(one.is_conversation for one in lists):
        return None
    listed = _named(found) if not any(one.objects for one in lists) else None
    return Place(path, lists[0].count, _from_columns, listed)


def _named(keys: Iterable[str]) -> Listed:
    """What records with these keys and plain values have in common."""
    listed = Listed()
    listed.add(dict.fromkeys(keys, True))
    return listed


def _from_columns(source: Source, depth: int) -> Iterator[dict[str, Any]]:
    columns = {key: list(source.elements(depth + 1)) for key in source.members(depth)}
    for values in zip(*columns.values(), strict=False):
        yield dict(zip(columns, values, strict=True))


def _indexed(found: dict[str, Outline], path: Keys) -> Place | None:
    """pandas' own way: an object for each column, whose keys are the rows' numbers."""
    if not all(isinstance(value, dict) and value for value in found.values()):
        return None
    first = list(next(iter(found.values())))
    if not all(key.isdigit() for key in first) or any(list(value) != first for value in found.values()):
        return None
    plain = all(inner is None for value in found.values() for inner in value.values())
    return Place(path, len(first), _from_indexed, _named(found) if plain else None)


def _from_indexed(source: Source, depth: int) -> Iterator[dict[str, Any]]:
    columns = {key: source.value(depth + 1) for key in source.members(depth)}
    for index in next(iter(columns.values())):
        yield {key: values.get(index) for key, values in columns.items()}


def _keyed(found: dict[str, Outline], path: Keys) -> Place | None:
    """Records under their own names, with the same keys each."""
    values = list(found.values())
    if len(values) < 2 or not all(isinstance(value, dict) and value for value in values):
        return None
    return Place(path, len(values), _from_keyed) if len({frozenset(value) for value in values}) == 1 else None


def _from_keyed(source: Source, depth: int) -> Iterator[dict[str, Any]]:
    for key in source.members(depth):
        yield {"key": key, **source.value(depth + 1)}
