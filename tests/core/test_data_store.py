import errno
import shutil
from pathlib import Path

import pandas as pd
import pytest

from core.data import reading
from core.data.options import ReadOptions
from core.data.samples import SAMPLES
from core.data.store import TableStore
from core.errors import UserError
from core.settings import Limits, Settings

CONTENT = "text,label\nhello,x\n,y\nnan,x\n0012,y\n"


@pytest.fixture
def store(tmp_path):
    return TableStore(Settings(home=tmp_path / "home"))


def written(tmp_path, name="file.csv", content=CONTENT):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_table_comes_back_as_it_was(store, tmp_path):
    table = store.add(written(tmp_path), "local")
    assert store.get(table.id, "local") == table
    assert (table.name, table.rows, table.columns, table.format) == ("file.csv", 4, ("text", "label"), "csv")
    frame = store.frame(table.id, "local")
    assert frame.to_dict("list") == {"text": ["hello", "", "nan", "0012"], "label": ["x", "y", "x", "y"]}
    assert list(frame.index) == [2, 3, 4, 5]
    assert all(pd.api.types.is_string_dtype(dtype) for dtype in frame.dtypes)
    assert not frame.isna().any().any()


def test_a_part_of_a_table(store, tmp_path):
    table = store.add(written(tmp_path), "local")
    part = store.frame(table.id, "local", ["label"], rows=2)
    assert part.to_dict("list") == {"label": ["x", "y"]}
    assert list(store.frame(table.id, "local", ["label", "text", "label"]).columns) == ["label", "text"]
    with pytest.raises(UserError) as error:
        store.frame(table.id, "local", ["topic"])
    assert error.value.as_dict() == {"code": "column_missing", "facts": {"column": "topic", "columns": "text, label"}}


def test_the_same_content_is_one_table_whatever_its_name_and_encoding(store, tmp_path):
    first = store.add(written(tmp_path), "local")
    wide = tmp_path / "wide.csv"
    wide.write_text(CONTENT.replace(",", ";"), encoding="utf-16")
    second = store.add(wide, "local", "again.csv")
    assert second.id == first.id
    assert [table.name for table in store.list("local")] == ["again.csv"]
    assert store.add(written(tmp_path, content=CONTENT + "more,x\n"), "local").id != first.id


def test_newest_first(store, tmp_path):
    for number in range(3):
        store.add(written(tmp_path, f"{number}.csv", CONTENT + f"row {number},x\n"), "local")
    assert [table.name for table in store.list("local")] == ["2.csv", "1.csv", "0.csv"]


def test_another_owner_sees_what_anybody_sees_of_nothing(store, tmp_path):
    mine = store.add(written(tmp_path), "hf:1")
    assert store.list("hf:2") == []
    for call in (store.get, store.frame, store.path, store.delete):
        with pytest.raises(UserError) as foreign:
            call(mine.id, "hf:2")
        with pytest.raises(UserError) as unknown:
            call("0" * 64, "hf:2")
        assert foreign.value.code == unknown.value.code == "table_unknown"
    assert store.get(mine.id, "hf:1") == mine


@pytest.mark.parametrize("table_id", ["", "..", "../../etc/passwd", "a" * 63, "A" * 64, "0" * 64 + "\n", "/etc/passwd"])
def test_what_is_no_id_opens_no_file(store, table_id):
    with pytest.raises(UserError, match="table_unknown"):
        store.frame(table_id, "local")


def test_deleting(store, tmp_path):
    table = store.add(written(tmp_path), "local")
    store.delete(table.id, "local")
    assert store.list("local") == []
    with pytest.raises(UserError, match="table_unknown"):
        store.get(table.id, "local")


def test_an_owner_has_a_quota_of_their_own(tmp_path):
    limits = Limits(owner_bytes=6000)
    store = TableStore(Settings(home=tmp_path / "home", limits=limits))
    kept = store.add(written(tmp_path), "hf:1")
    large = written(
        tmp_path, "large.csv", "text,label\n" + "".join(f"{hash((i, 1))} {hash(str(i))},x\n" for i in range(400))
    )
    with pytest.raises(UserError) as error:
        store.add(large, "hf:1")
    assert error.value.code == "quota_full"
    assert error.value.facts.keys() == {"used_mb", "limit_mb"}
    assert [table.id for table in store.list("hf:1")] == [kept.id]
    assert store.add(written(tmp_path), "hf:1").id == kept.id
    assert store.add(written(tmp_path), "hf:2").id == kept.id


def test_a_nearly_full_disk_is_said_before_reading(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    store = TableStore(Settings(home=tmp_path / "home", limits=Limits(free_disk=free * 2)))
    with pytest.raises(UserError, match="disk_full"):
        store.add(written(tmp_path), "local")


def test_a_disk_that_fills_up_keeps_what_was_there(store, tmp_path, monkeypatch):
    kept = store.add(written(tmp_path), "local")

    def full(self, target):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="disk_full"):
        store.add(written(tmp_path, content=CONTENT + "more,x\n"), "local")
    monkeypatch.undo()
    assert store.list("local") == [kept]
    assert not [p for p in (tmp_path / "home" / "tables").rglob("*") if p.name.endswith(".part")]


def test_a_refused_file_leaves_nothing(store, tmp_path):
    with pytest.raises(UserError, match="file_header_only"):
        store.add(written(tmp_path, content="text,label\n"), "local")
    assert [p for p in (tmp_path / "home" / "tables").rglob("*") if p.is_file()] == []


def test_damaged_records_are_passed_over(store, tmp_path):
    kept = store.add(written(tmp_path), "local")
    store.path(kept.id, "local").with_name("0.json").write_text("{")
    assert store.list("local") == [kept]


def test_names_lose_folders_and_control_characters(store, tmp_path):
    assert store.add(written(tmp_path), "local", "C:\\my\\da\nta\x1b.csv").name == "data.csv"


def test_one_column_only_where_asked_for(store, tmp_path):
    path = written(tmp_path, content="message\nhello, you\nwell; then\n")
    with pytest.raises(UserError, match="file_one_column"):
        store.add(path, "local")
    table = store.add(path, "local", options=ReadOptions(single_column=True))
    assert store.frame(table.id, "local")["message"].tolist() == ["hello, you", "well; then"]


def test_the_sample_is_read_without_a_remark(store):
    table = store.add(SAMPLES["customer_messages"], "local")
    assert table.rows >= 800
    assert table.notes == ()


def test_loading_the_first_rows_crosses_batches(tmp_path):
    store = TableStore(Settings(home=tmp_path / "home"))
    path = written(tmp_path, content="text,label\n" + "".join(f"t{i},x\n" for i in range(45_000)))
    table = store.add(path, "local")
    frame = reading.load(store.path(table.id, "local"), rows=25_000)
    assert (len(frame), frame["text"].iloc[-1], frame.index[-1]) == (25_000, "t24999", 25_001)
    assert store.frame(table.id, "local")["text"].iloc[-1] == "t44999"


def test_a_kept_file_is_read_again_otherwise(store, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes("text;label\nTür zu;x\nLicht an;y\n".encode("cp1252"))
    first = store.add(path, "local", keep_file=True)
    path.unlink()
    second = store.read_again(first.id, "local", ReadOptions("mac_roman", ";"))
    assert (second.encoding, second.name, second.origin) == ("mac_roman", "mine.csv", first.origin)
    assert second.options == {"encoding": "mac_roman", "delimiter": ";", "header": None}
    assert store.frame(first.id, "local")["text"].tolist() == ["Tür zu", "Licht an"]
    assert store.frame(second.id, "local")["text"].tolist() != ["Tür zu", "Licht an"]
    store.delete(first.id, "local")
    assert store.read_again(second.id, "local", ReadOptions("cp1252", ";")).id == first.id


def test_a_file_that_was_not_kept_cannot_be_read_again(store, tmp_path):
    table = store.add(written(tmp_path), "local")
    with pytest.raises(UserError, match="file_not_kept"):
        store.read_again(table.id, "local", ReadOptions())
    with pytest.raises(UserError, match="table_unknown"):
        store.read_again(table.id, "somebody else", ReadOptions())


def test_kept_files_go_with_their_last_table_and_with_a_failure(store, tmp_path):
    table = store.add(written(tmp_path), "local", keep_file=True)
    folder = store.path(table.id, "local").parent
    assert len(list(folder.glob("*.file"))) == 1
    with pytest.raises(UserError, match="file_header_only"):
        store.add(written(tmp_path, "empty.csv", "text,label\n"), "local", keep_file=True)
    assert len(list(folder.glob("*.file"))) == 1
    store.delete(table.id, "local")
    assert list(folder.iterdir()) == []


def test_rows_from_a_place_on(store, tmp_path):
    lines = "".join(f"text {i},{'xy'[i % 2]}\n" for i in range(120_000))
    table = store.add(written(tmp_path, content="text,label\n" + lines), "local")
    for start in (0, 9_999, 49_999, 50_000, 119_998):
        part = store.frame(table.id, "local", ["text"], rows=3, start=start)
        assert part["text"].tolist() == [f"text {i}" for i in range(start, min(start + 3, 120_000))]
        assert part.index[0] == start + 2
