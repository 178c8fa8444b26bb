"""Several files of one data set become one table."""

from pathlib import Path
from typing import Any

import pytest

from core.data import joining, reading
from core.errors import UserError
from core.settings import Limits, Settings


def files(folder: Path, *contents: str) -> list[Path]:
    paths = [folder / f"{number:05}.csv" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, encoding="utf-8", newline="")
    return paths


def settings(home: Path, **limits: int) -> Settings:
    return Settings(home=home / "home", limits=Limits(**limits))


def join(folder: Path, *contents: str, **limits: int) -> tuple[dict[str, Any], list[tuple[int, list[str]]]]:
    """Facts, and the rows with their numbers."""
    target = folder / "joined.parquet"
    facts = joining.join(files(folder, *contents), target, settings(folder, **limits))
    frame = reading.load(target)
    return facts, [(number, list(row)) for number, row in zip(frame.index, frame.to_numpy(), strict=True)]


def test_rows_follow_each_other_and_are_numbered_anew(tmp_path: Path) -> None:
    facts, rows = join(tmp_path, "text,label\na,x\nb,y\n", "text,label\nc,x\n", "text,label\nd,\n")
    assert rows == [(1, ["a", "x"]), (2, ["b", "y"]), (3, ["c", "x"]), (4, ["d", ""])]
    assert (facts["rows"], facts["columns"], facts["format"]) == (4, ["text", "label"], "csv")
    assert len(facts["id"]) == 64


def test_each_file_is_read_for_what_it_is(tmp_path: Path) -> None:
    _, rows = join(tmp_path, "text,label\na,x\n", "label\ttext\ny\tb\nz\tc\n")
    assert [row for _, row in rows] == [["a", "x"], ["b", "y"], ["c", "z"]]


def test_the_same_files_are_the_same_table(tmp_path: Path) -> None:
    one, two = "text,label\na,x\n", "text,label\nb,y\n"
    ids = []
    for number, contents in enumerate([(one, two), (one, two), (two, one), (one, one)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        ids.append(join(folder, *contents)[0]["id"])
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_what_was_mended_is_added_up(tmp_path: Path) -> None:
    ragged = "text,label\na,x\nb,y\nc\nd,y\n"
    facts, _ = join(tmp_path, ragged, "text,label\na,x\n", ragged)
    assert facts["notes"] == [{"code": "ragged_rows", "rows": 2, "longer": 0, "shorter": 2}]


def test_one_column_will_do(tmp_path: Path) -> None:
    assert join(tmp_path, "text\na\n", "text\nb\n")[1] == [(1, ["a"]), (2, ["b"])]


def test_a_file_without_rows_is_passed_over(tmp_path: Path) -> None:
    assert join(tmp_path, "text,label\n", "text,label\na,x\n", "")[1] == [(1, ["a", "x"])]


@pytest.mark.parametrize(
    ("contents", "limits", "code", "facts"),
    [
        (("text,label\na,x\n", "text,tag\nb,y\n"), {}, "shards_differ", {"number": 2, "total": 2}),
        (("text,label\na,x\n",) * 2 + ("text,label,id\nb,y,1\n",), {}, "shards_differ", {"number": 3, "total": 3}),
        (("text,label\na,x\nb,y\n", "text,label\nc,x\nd,y\n"), {"rows": 3}, "file_too_many_rows", {"limit": 3}),
        (("a,b\n" + "a,x\n" * 2**18,) * 2, {"file_bytes": 2**20 + 99}, "file_too_large", {"mb": 2, "limit_mb": 1}),
        (("text,label\n", ""), {}, "file_empty", {}),
        (("text,label\na,x\n", "%PDF-1.7\n"), {}, "file_not_a_table", {"kind": "PDF"}),
        (("a,b\na,x\n", "a,b\n" + "b" * 99 + ",y\n"), {"cell_characters": 50}, "file_cell_too_long", {"limit": 50}),
        (("text,label\na,x\n", "text,label\nb,y\n"), {"reader_wall": 0}, "file_too_heavy", {}),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_leaves_nothing(
    contents: tuple[str, ...], limits: dict[str, int], code: str, facts: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as wrong:
        join(tmp_path, *contents, **limits)
    assert (wrong.value.code, wrong.value.facts) == (code, facts)
    assert not (tmp_path / "joined.parquet").exists()


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UserError) as wrong:
        joining.join([tmp_path / "gone.csv"], tmp_path / "joined.parquet", settings(tmp_path))
    assert (wrong.value.code, wrong.value.facts) == ("file_missing", {"name": "gone.csv"})
