"""A run as a file, and back: what is kept, and that a stranger's file can do no harm."""

import hashlib
import json
import shutil
import stat
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from core import events
from core.data.store import TableStore
from core.errors import UserError
from core.evaluation import report as reports
from core.evaluation.answers import Answers, Prediction
from core.publishing import archive, card, carried, carrying, taking_in
from core.runs import history
from core.runs.progress import fold
from core.runs.store import EventWriter, RunStore
from core.settings import GIBIBYTE, Limits, Settings
from core.spec import DataChoice, ModelChoice, build

DATA = DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}, name="mine.csv")
SPEC = build(data=DATA, epochs=3)
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + b"\0\0\0\0"
DEVICE = {"kind": "cpu", "precision": "float32", "threads": 2, "reason": "cpu_float32_faster", "name": ""}


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", limits=Limits(free_disk=0))


@pytest.fixture
def runs(settings):
    return RunStore(settings.home)


def judged():
    rows = pd.DataFrame([(i + 2, f"text {i}", "ab"[i % 2]) for i in range(40)], columns=["row", "text", "label"])
    said = ["b", *["ab"[i % 2] for i in range(1, 40)]]
    ours = Answers([Prediction(a, 0.9, ((a, 0.9),), (a,)) for a in said])
    others = {name: Answers([Prediction("a", labels=("a",))] * 40) for name in ("majority", "tfidf")}
    return reports.judge(rows, ("a", "b"), ours, others) | {
        "version": 1, "task": "classification", "rows": {"train": 70, "validation": 15, "test": 40, "judged": 40},
        "data": {"name": "mine.csv", "label_counts": {"a": 60, "b": 60}, "findings": []},
        "model": {"source": "starter", "name": "minilm", "revision": None, "trainable": 9, "parameters": 10},
        "device": DEVICE, "seconds": 61.5, "epochs_done": 3.0, "best_epoch": 2.0, "stopped": False, "diverged": False,
        "validation": {"metric": "accuracy", "value": 0.9}, "headline": ["macro_f1", "accuracy"],
        "use": {"task": "classification", "max_length": 64, "truncation": "head", "chat_template": False},
    }  # fmt: skip


def finished(runs, spec=SPEC, told=None, adapter=False):
    record = runs.create(spec, "local", "mine · MiniLM")
    folder = runs.folder(record.id)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "bert", "_name_or_path": "/home/somebody/secret"}')
    (folder / "model" / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "model" / "vocab.txt").write_text("a\nb\n")
    (folder / "worker.log").write_text("/home/somebody")
    if adapter:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_config.json").write_text("{}")
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / "report.json").write_text(json.dumps(told or judged()))
    writer = EventWriter(folder, 1)
    writer.write(events.Started(device=DEVICE))
    writer.write(events.Planned(steps=10, epochs=3, parameters=10, trainable=9))
    writer.write(events.Evaluated(step=5, epoch=1.5, loss=0.4, metric="accuracy", value=0.8, best=True))
    writer.write(events.Finished(seconds=61.5))
    runs.transition(record.id, ("QUEUED",), "STARTING", 0)
    runs.transition(record.id, ("STARTING",), "RUNNING", 1)
    runs.annotate(record.id, note="a note")
    return runs.transition(record.id, ("RUNNING",), "FINISHED", 1, has_result=True)


@pytest.fixture
def saved(runs, tmp_path):
    """The file of a run."""
    path = tmp_path / "run.zip"
    path.write_bytes(b"".join(archive.stream_zip(carrying.entries(runs, finished(runs).id, "local"))))
    return path


def take_in(path, settings, runs, owner="hf:2"):
    return taking_in.take_in(path, owner, runs, TableStore(settings), settings)


def contents(path):
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def listing(parts):
    listed = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in parts.items()}
    return json.dumps({"format": "tuning-fork run", "version": 1, "files": listed}).encode()


def packed(path, parts, compression=zipfile.ZIP_STORED):
    """A file of these parts, with a manifest that fits them unless they bring one."""
    parts = {"manifest.json": listing(parts)} | parts
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return path


def altered(saved, **changes):
    """The parts of a saved run with some of its JSON changed: `report={"task": "x"}`."""
    parts = contents(saved)
    del parts["manifest.json"]
    for name, change in changes.items():
        parts[f"{name}.json"] = json.dumps(json.loads(parts[f"{name}.json"]) | change).encode()
    return parts


def left(runs):
    return sorted(path.name for path in runs.root.iterdir())


def test_a_run_comes_back_as_it_was_and_belongs_to_whoever_brought_it(runs, settings, saved):
    original = runs.list("local")[0]
    taken = take_in(saved, settings, runs)
    assert runs.get(taken.id, "hf:2") == taken
    assert (taken.state, taken.attempt, taken.owner, taken.has_result) == ("FINISHED", 1, "hf:2", True)
    assert (taken.name, taken.note, taken.created) == (original.name, "a note", original.created)
    assert taken.headline == {"accuracy": 0.975, "macro_f1": 0.975}
    assert runs.spec(taken.id) == SPEC
    before, after = runs.report(original.id), runs.report(taken.id)
    assert {k: v for k, v in after.items() if k not in ("spec", "model")} == {
        k: v for k, v in before.items() if k not in ("spec", "model")
    }
    assert fold(runs.read_events(taken.id)[0]).evaluations == [(5, 0.4, 0.8, True)]
    assert (runs.model_folder(taken.id) / "model.safetensors").read_bytes() == WEIGHTS
    assert "mine" in card.for_run(runs, taken.id, "hf:2", settings)
    assert not runs.can_go_on(taken)


def test_the_file_is_a_zip_of_known_length_that_tells_nothing_of_owner_or_machine(runs, saved):
    parts = contents(saved)
    assert saved.stat().st_size == archive.archive_bytes(carrying.entries(runs, runs.list()[0].id, "local"))
    assert sorted(parts) == [
        "events.jsonl", "manifest.json", "model/config.json", "model/model.safetensors", "model/vocab.txt",
        "report.json", "run.json", "spec.json",
    ]  # fmt: skip
    assert b"somebody" not in b"".join(parts.values())
    assert not {"owner", "id", "attempt"} & json.loads(parts["run.json"]).keys()


def test_an_adapter_travels_along(runs, settings, tmp_path):
    record = finished(runs, adapter=True)
    path = tmp_path / "run.zip"
    path.write_bytes(b"".join(archive.stream_zip(carrying.entries(runs, record.id, "local"))))
    taken = take_in(path, settings, runs)
    assert (runs.folder(taken.id) / "adapter" / "adapter_model.safetensors").read_bytes() == WEIGHTS


def test_only_ones_own_run_with_a_result_is_saved(runs):
    record = finished(runs)
    with pytest.raises(UserError, match="run_unknown"):
        carrying.entries(runs, record.id, "hf:2")
    with pytest.raises(UserError, match="run_has_no_model"):
        carrying.entries(runs, runs.create(SPEC, "local").id, "local")


def test_a_folder_that_it_began_from_is_named_and_not_told(runs, settings, tmp_path):
    place = ModelChoice(source="directory", name="/home/somebody/models/tiny")
    record = finished(runs, SPEC.model_copy(update={"model": place}))
    path = tmp_path / "run.zip"
    path.write_bytes(b"".join(archive.stream_zip(carrying.entries(runs, record.id, "local"))))
    assert b"somebody" not in b"".join(contents(path).values())
    parts = altered(path, spec={"model": {"source": "directory", "name": "../../../etc"}})
    assert runs.spec(take_in(packed(tmp_path / "x.zip", parts), settings, runs).id).model.name == "etc"


def test_long_quotes_are_cut_when_a_run_is_saved(runs):
    told = judged()
    told["errors"][0]["text"] = "long " * 10_000
    parts = {e.name: b"".join(e.chunks()) for e in carrying.entries(runs, finished(runs, told=told).id, "local")}
    assert len(json.loads(parts["report.json"])["errors"][0]["text"]) == 4000


def test_a_file_that_was_unpacked_and_packed_again_is_taken(runs, settings, saved, tmp_path):
    parts = {f"my run/{name}": content for name, content in contents(saved).items()}
    parts |= {"__MACOSX/my run/._spec.json": b"x", "my run/.DS_Store": b"x", "my run/model/": b""}
    with zipfile.ZipFile(tmp_path / "again.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    assert take_in(tmp_path / "again.zip", settings, runs).name == "mine · MiniLM"


def test_what_the_file_says_of_owner_state_and_attempt_counts_for_nothing(runs, settings, saved, tmp_path):
    claims = {"owner": "local", "state": "RUNNING", "attempt": 7, "id": "0" * 32, "turn": 99, "seconds": 1e9}
    claims |= {"name": "<b>\n" + "n" * 300, "note": "x" * 9000, "created": 9e18, "has_result": False}
    parts = altered(saved, run=claims, report={"stopped": True})
    taken = take_in(packed(tmp_path / "x.zip", parts), settings, runs)
    assert (taken.owner, taken.state, taken.attempt, taken.turn, taken.seconds) == ("hf:2", "STOPPED", 1, 0, 0.0)
    assert taken.has_result
    assert taken.id != "0" * 32
    assert len(taken.name) == history.LONGEST_NAME
    assert taken.name.startswith("<b> n")
    assert len(taken.note) == history.LONGEST_NOTE
    assert taken.created == taken.changed


FOREIGN = [
    "../escape.json", "/etc/passwd", "model/../../x", "model/evil.py", "model/sub/config.json", "pytorch_model.bin",
    "model/training_args.bin", "checkpoints/step-1/x", "run.lock", "..\\x", "adapter/config.json", "worker.log",
]  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_belongs_to_no_run_is_refused_and_leaves_nothing(runs, settings, saved, tmp_path, name):
    before = left(runs), sorted(tmp_path.iterdir())
    parts = altered(saved) | {name: b"{}"}
    path = packed(tmp_path / "x.zip", parts)
    with pytest.raises(UserError, match="run_file_foreign"):
        take_in(path, settings, runs)
    path.unlink()
    assert (left(runs), sorted(tmp_path.iterdir())) == before


def test_a_link_is_refused(runs, settings, saved, tmp_path):
    parts = altered(saved)
    del parts["model/vocab.txt"]
    listed = listing(parts | {"model/vocab.txt": b"/etc/passwd"})
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        for name, content in ({"manifest.json": listed} | parts).items():
            made.writestr(name, content)
        link = zipfile.ZipInfo("model/vocab.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="run_file_foreign"):
        take_in(tmp_path / "x.zip", settings, runs)


def score(**changes):
    return {"metrics": judged()["metrics"] | changes}


HOSTILE = {
    "no report": lambda p: {k: v for k, v in p.items() if k != "report.json"},
    "no model": lambda p: {k: v for k, v in p.items() if k != "model/config.json"},
    "no weights": lambda p: {k: v for k, v in p.items() if k != "model/model.safetensors"},
    "weights with a header of a terabyte": lambda p: p | {"model/model.safetensors": struct.pack("<Q", 2**40) + b"{}"},
    "weights that are none": lambda p: p | {"model/model.safetensors": b"\x80\x04pickle"},
    "code": lambda p: p | {"model/config.json": b'{"auto_map": {"AutoModel": "x.Y"}}'},
    "a config that is a list": lambda p: p | {"model/config.json": b"[]"},
    "a deep config": lambda p: p | {"model/config.json": b'{"a":' + b"[" * 100_000},
    "a report of many values": lambda p: p | {"report.json": b"[" + b"{}," * 2_100_000 + b"{}]"},
    "a report that is a list": lambda p: p | {"report.json": b"[]"},
    "a spec that is none": lambda p: p | {"spec.json": b'{"epochs": 1000000}'},
    "a spec with unknown fields": lambda p: p | {"spec.json": p["spec.json"].replace(b'"epochs"', b'"owner"')},
    "not text": lambda p: p | {"run.json": b"\xff\xfe\x00"},
}
REPORTS = {
    "another task": {"task": "translation"},
    "an unknown task": {"task": "x"},
    "no examples": {"examples": None},
    "an example without turns": {"examples": [[]]},
    "an unknown baseline": {"baselines": {"<b>": {"accuracy": 0.5}}},
    "an unknown verdict": {"verdict": {"code": "great", "rows": 1, "strongest": "tfidf", "chance": 0}},
    "a verdict on nothing": {"verdict": {"code": "unclear", "rows": 1, "strongest": "tfidf", "chance": 0}},
    "no intervals": {"metrics": {"macro_f1": 0.5, "accuracy": 0.5}},
    "a score that is a word": score(macro_f1="high"),
    "an infinite score": score(macro_f1=float("inf")),
    "a main score that is no number": score(macro_f1=float("nan")),
    "no main score": {"metrics": {"accuracy": 0.5, "intervals": {"accuracy": [0.4, 0.6]}}},
    "no interval": {"metrics": {"accuracy": 0.5, "macro_f1": 0.5, "intervals": {"accuracy": [0.4, 0.6]}}},
    "rows that are right without accuracy": {"metrics": {"macro_f1": 0.5, "intervals": {"macro_f1": [0.4, 0.6]}}},
    "a confusion of others": {"confusion": [[1]]},
    "a mistake without confidence": {"errors": [{"row": 1, "text": "t", "label": "a", "prediction": "b"}]},
    "an unknown device": {"device": {"kind": "quantum", "precision": "x"}},
    "no rows": {"rows": {}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_part_is_refused_and_leaves_nothing(runs, settings, saved, tmp_path, kind):
    before = left(runs)
    with pytest.raises(UserError) as refused:
        take_in(packed(tmp_path / "x.zip", HOSTILE[kind](altered(saved))), settings, runs)
    codes = {"code": "model_needs_code", "no weights": "model_not_safetensors", "no model": "model_not_loadable"}
    assert refused.value.code == codes.get(kind, "run_file_unreadable")
    assert left(runs) == before


@pytest.mark.parametrize("kind", REPORTS)
def test_a_report_that_the_page_could_not_show_is_refused(runs, settings, saved, tmp_path, kind):
    with pytest.raises(UserError) as refused:
        take_in(packed(tmp_path / "x.zip", altered(saved, report=REPORTS[kind])), settings, runs)
    assert refused.value.code in ("run_file_unreadable", "task_unknown")
    assert len(left(runs)) == 1


@pytest.mark.parametrize(
    "start",
    [
        {"source": "hub", "name": "x](http://a) ["}, {"source": "hub", "name": "a/b", "revision": "../x"},
        {"source": "starter", "name": "../x"},
    ],
)  # fmt: skip
def test_a_model_to_begin_from_that_is_none_is_refused(runs, settings, saved, tmp_path, start):
    with pytest.raises(UserError):
        take_in(packed(tmp_path / "x.zip", altered(saved, spec={"model": start})), settings, runs)


def test_events_that_would_mislead_a_chart_are_dropped(runs, settings, saved, tmp_path):
    good = altered(saved)["events.jsonl"]
    bad = [
        b'{"kind":"evaluated","step":1,"epoch":1,"loss":1e999,"metric":"accuracy","value":1,"best":true}',
        b'{"kind":"evaluated","step":1,"epoch":1,"loss":1,"metric":"accuracy","value":1e300,"best":true}',
        b'{"kind":"started","device":{"kind":"<script>"},"attempt":9}',
        b'{"kind":"failed","code":"disk_full","facts":{}}',
        b'{"kind":"finished","seconds":NaN}', b"\xff", b"x" * 300_000,
    ]  # fmt: skip
    parts = altered(saved) | {"events.jsonl": b"\n".join(bad) + b"\n" + good}
    taken = take_in(packed(tmp_path / "x.zip", parts), settings, runs)
    assert len(runs.read_events(taken.id)[0]) == len(good.splitlines())


def test_a_changed_byte_is_noticed(runs, settings, saved, tmp_path):
    parts = contents(saved)
    parts["model/vocab.txt"] = b"a\nc\n"
    with pytest.raises(UserError, match="run_file_unreadable"):
        take_in(packed(tmp_path / "x.zip", parts), settings, runs)
    content = bytearray(saved.read_bytes())
    content[content.index(b"\0\0\0\0", content.index(b"data_offsets"))] = 1
    (tmp_path / "y.zip").write_bytes(content)
    with pytest.raises(UserError, match="run_file_unreadable"):
        take_in(tmp_path / "y.zip", settings, runs)
    assert len(left(runs)) == 1


def test_files_that_are_no_run(runs, settings, saved, tmp_path):
    made = {
        "empty": b"",
        "text": b"hello" * 100,
        "cut": saved.read_bytes()[:-300],
        "with something behind": saved.read_bytes() + b"x" * 10,
    }
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="run_file_unreadable"):
            take_in(tmp_path / name, settings, runs)
    with pytest.raises(UserError, match="run_file_unreadable"):
        take_in(packed(tmp_path / "z", {"manifest.json": b"{}"}), settings, runs)


def never(*given, **options):
    raise AssertionError("it came so far")


def test_a_long_directory_is_refused_before_it_is_read(runs, settings, saved, tmp_path, monkeypatch):
    packed(tmp_path / "many.zip", {f"{i}.json": b"" for i in range(300)})
    # Another end in front of the usual one could tell of a directory of any length.
    content = saved.read_bytes()
    (tmp_path / "two ends.zip").write_bytes(content[:-22] + b"PK\6\7" + b"\0" * 16 + content[-22:])
    monkeypatch.setattr(zipfile, "ZipFile", never)
    for name in ("many.zip", "two ends.zip"):
        with pytest.raises(UserError, match="run_file_unreadable"):
            take_in(tmp_path / name, settings, runs)
    with pytest.raises(AssertionError):
        take_in(saved, settings, runs)


def test_a_file_that_unpacks_to_more_than_a_part_may_have_is_not_unpacked(runs, settings, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(taking_in, "_unpack", never)
    parts = altered(saved) | {"report.json": b" " * (17 * 2**20)}
    path = packed(tmp_path / "x.zip", parts, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="run_file_unreadable"):
        take_in(path, settings, runs)


def test_an_entry_that_holds_more_than_it_says_is_refused(runs, settings, saved, tmp_path):
    path = packed(tmp_path / "x.zip", altered(saved) | {"model/vocab.txt": b"y" * 500_000}, zipfile.ZIP_DEFLATED)
    said = path.read_bytes().replace(struct.pack("<I", 500_000), struct.pack("<I", 5))
    path.write_bytes(said)
    with pytest.raises(UserError, match="run_file_unreadable"):
        take_in(path, settings, runs)
    assert len(left(runs)) == 1


def test_json_that_would_take_much_memory_is_not_read():
    assert carried.parsed(b'{"a": [1, 2]}', 100) == {"a": [1, 2]}
    for content, most in ((b"[" + b"{}," * 2_100_000 + b"{}]", 10**8), (b"[1, 2]", 3)):
        with pytest.raises(ValueError, match="too large"):
            carried.parsed(content, most)
    with pytest.raises(ValueError, match="too deep"):
        carried.parsed(b"[" * 200_000, 10**6)


def test_a_newer_format_is_told(runs, settings, saved, tmp_path):
    parts = contents(saved)
    parts["manifest.json"] = json.dumps(json.loads(parts["manifest.json"]) | {"version": 2}).encode()
    with pytest.raises(UserError, match="run_file_newer"):
        take_in(packed(tmp_path / "x.zip", parts), settings, runs)


def test_room_is_looked_at_first(runs, settings, saved):
    shared = replace(settings, place="space", limits=Limits(free_disk=0, owner_bytes=100))
    with pytest.raises(UserError, match="quota_full"):
        take_in(saved, shared, runs)
    full = replace(settings, limits=Limits(free_disk=10_000 * GIBIBYTE))
    with pytest.raises(UserError, match="disk_full"):
        take_in(saved, full, runs)
    assert take_in(saved, replace(settings, limits=Limits(free_disk=0, owner_bytes=100)), runs)  # one's own computer


def test_tables_count_too(settings, runs, saved, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "some words,a\nother words,b\n" * 20)
    tables = TableStore(settings)
    table = tables.add(tmp_path / "t.csv", "hf:2")
    kept = tables.path(table.id, "hf:2").parent
    assert tables.used_bytes("hf:2") == sum(f.stat().st_size for f in kept.iterdir()) > 0
    assert tables.used_bytes("hf:3") == 0


def test_what_an_ended_import_left_is_cleared_away(runs, settings, saved):
    left_over = runs.root / ".taken-dead"
    left_over.mkdir()
    (left_over / "x").write_bytes(b"x")
    take_in(saved, settings, runs)
    assert not left_over.exists()


def test_a_full_disk_in_the_middle_leaves_nothing(runs, settings, saved, monkeypatch):
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.files.sync", full)
    with pytest.raises(UserError, match="disk_full"):
        take_in(saved, settings, runs)
    monkeypatch.undo()
    assert len(left(runs)) == 1
    shutil.rmtree(settings.home)
