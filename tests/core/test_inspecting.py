"""A look at a file and its mended copy, as the command line gives them."""

import csv
import json
from collections import Counter

import pytest

from core.__main__ import main
from core.data.inspecting import Request, inspect
from core.data.options import ReadOptions
from core.data.samples import SAMPLES
from core.data.store import TableStore
from core.errors import UserError
from core.settings import Settings

MESSY = SAMPLES["customer_messages"].with_name("customer_messages_messy.csv")


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def codes(told):
    return {finding["code"]: finding for finding in told["findings"]}


def test_inspecting_tells_all_and_keeps_nothing(settings):
    told = inspect(Request(MESSY), settings)
    assert json.loads(json.dumps(told)) == told
    assert (told["format"], told["encoding"], told["delimiter"], told["rows"]) == ("csv", "utf-8", ",", 60)
    assert told["suggested"] == {
        "task": "classification", "reason": "few_values", "languages": {"message": "en"}, "text": "message",
        "label": "topic",
    }  # fmt: skip
    assert next(iter(told["labels"])) == "delivery"
    assert not {"nan", "-", ""} & told["labels"].keys()
    found = codes(told)
    assert {code: found[code]["rows"] for code in ("blank_text", "placeholder_label", "ragged_rows")} == {
        "blank_text": 2, "placeholder_label": 3, "ragged_rows": 3,
    }  # fmt: skip
    for finding in told["findings"]:
        assert {"code", "rows", "severity", "facts", "examples", "fix", "samples"} <= finding.keys()
        assert len(finding["samples"]) <= 3
    assert found["duplicate_rows"]["fix"] == "drop"
    assert found["duplicate_rows"]["applied"] is None
    assert list(settings.home.rglob("*.parquet")) == []
    assert TableStore(settings).list("local") == []


def test_inspecting_a_table_without_texts(settings, tmp_path):
    path = tmp_path / "file.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i * 7}\n" for i in range(20)))
    told = inspect(Request(path), settings)
    assert told["suggested"]["text"] is None
    assert told["error"] == {"code": "column_not_chosen", "facts": {"role": "text"}}
    assert told["labels"] == {}


def test_the_mended_table_has_every_column_and_nothing_left_to_mend(settings, tmp_path):
    out = tmp_path / "mended.csv"
    told = inspect(Request(MESSY, fixes="all", out=out), settings)
    assert told["mended"]["rows"] < 60
    assert {"duplicate_rows", "blank_text", "label_variants"} <= told["mended"]["applied"].keys()
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == told["mended"]["rows"]
    assert list(rows[0]) == ["id", "channel", "message", "topic"]
    assert {row["topic"] for row in rows} <= set(told["labels"])
    again = inspect(Request(out), settings)
    assert [f["code"] for f in again["findings"] if f["fixes"]] == []


def test_chosen_fixes_and_undo_are_to_the_row(settings, tmp_path):
    one, none = tmp_path / "one.jsonl", tmp_path / "none.jsonl"
    inspect(Request(MESSY, fixes={"duplicate_rows": ""}, out=one), settings)
    inspect(Request(MESSY, fixes={}, out=none), settings)
    first, whole = (path.read_text(encoding="utf-8").splitlines() for path in (one, none))
    assert len(whole) == 60
    assert len(first) == 60 - codes(inspect(Request(MESSY), settings))["duplicate_rows"]["rows"]
    assert not Counter(first) - Counter(whole)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_what_is_written_reads_back_the_same(settings, tmp_path, suffix):
    """Also a lone CR, line ends, quotes, delimiters and letters of every kind."""
    cells = ["a\rb", "c\nd", 'e "f", g', "漢字；字", "h\ti | j", "plain words here"]
    path, out = tmp_path / "in.jsonl", tmp_path / f"out{suffix}"
    rows = [{"text": f"{cell} {i}", "label": "xy"[i % 2], "more": str(i)} for i, cell in enumerate(cells * 4)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    inspect(Request(path, task="classification", out=out), settings)
    store = TableStore(settings)
    first = store.frame(store.add(path, "local").id, "local")
    second = store.frame(store.add(out, "local").id, "local")
    assert first.to_dict("records") == second.to_dict("records") == rows


def test_formulas_are_written_as_text(settings, tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    body = "".join(f"=HYPERLINK({i}),{'ab'[i % 2]}\n" for i in range(20))
    path.write_text(f"text,label\n{body}", encoding="utf-8")
    inspect(Request(path, task="classification", columns={"text": "text", "label": "label"}, out=out), settings)
    with out.open(encoding="utf-8", newline="") as file:
        assert all(row["text"].startswith("'=") for row in csv.DictReader(file))


def test_decisions_about_reading_are_kept_to(settings, tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes("Bericht\ntext;label\nTür klemmt;x\nLicht geht;y\n".encode("cp1252"))
    told = inspect(Request(path, options=ReadOptions("mac_roman", ";", 1, True)), settings)
    assert (told["encoding"], told["delimiter"], told["title_rows"]) == ("mac_roman", ";", 1)
    assert told["columns"] == ["text", "label"]


def test_texts_that_a_model_would_cut_are_told(settings, tmp_path, capsys):
    path = tmp_path / "in.csv"
    rows = [f"{'word ' * (700 if i % 4 else 7)}{i},{'ab'[i % 2]}\n" for i in range(40)]
    path.write_text("text,label\n" + "".join(rows))
    assert main(["inspect", str(path), "--home", str(settings.home)]) == 0
    found = codes(json.loads(capsys.readouterr().out))["texts_cut"]
    assert (found["rows"], found["severity"], found["fix"]) == (30, "warning", None)
    assert found["facts"]["limit"] == 512
    assert 20 < found["facts"]["tokens"] < 40
    assert "texts_cut" not in codes(inspect(Request(path), settings))


def test_wrong_requests_are_said(settings, tmp_path):
    for request, code in (
        (Request(MESSY, task="poetry"), "task_unknown"),
        (Request(MESSY, out=tmp_path / "out.doc"), "output_kind_unknown"),
        (Request(MESSY, out=MESSY), "output_is_input"),
        (Request(MESSY, out=tmp_path / "no" / "out.csv"), "output_folder_missing"),
    ):
        with pytest.raises(UserError, match=code):
            inspect(request, settings)


def test_on_the_command_line(tmp_path, capsys):
    out = tmp_path / "mended.csv"
    home = ["--home", str(tmp_path / "home")]
    assert main(["inspect", str(MESSY), "--fix", "all", "--out", str(out), *home]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mended"]["out"] == str(out)
    assert out.is_file()
    assert main(["inspect", str(MESSY), "--task", "summarization", *home]) == 0
    assert json.loads(capsys.readouterr().out)["suggested"]["task"] == "summarization"
    assert main(["inspect", str(MESSY), "--fix", "duplicate_rows,nonsense", *home]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert main(["inspect", str(MESSY), "--delimiter", ";", "--header", "yes", "--title-rows", "0", *home]) == 0
    assert json.loads(capsys.readouterr().out)["columns"] == ["id,channel,message,topic"]
