"""History: values in, values out."""

import dataclasses
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from core import events
from core.errors import UserError
from core.runs import history as stored
from core.runs.store import EventWriter, RunRecord
from core.spec import AugmentChoice, ModelChoice, SplitChoice, TrainSpec
from ui import charts, choices, guard, readiness
from ui.draft import Draft
from ui.page import House, Visit
from ui.tabs import history, results
from ui.tabs.data import handing_in
from ui.tabs.history import comparing, listing, moving
from ui.text import Text

Finish = Callable[..., RunRecord]
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + b"\0\0\0\0"


def told(house: House, run: RunRecord, **changes: Any) -> None:
    """Change what the report of a run says."""
    path = house.runs.folder(run.id) / "report.json"
    report = json.loads(path.read_text())
    for name, value in changes.items():
        report[name] = {**report[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(report))


@pytest.fixture
def finished(house: House, finished: Finish) -> Finish:
    """Finished runs whose report names its main score."""

    def finish(*given: Any, **options: Any) -> RunRecord:
        run = finished(*given, **options)
        told(house, run, main_metric="macro_f1")
        return run

    return finish


def asked(house: House, run: RunRecord, **changes: Any) -> TrainSpec:
    """Change what a run was told to do."""
    spec = house.runs.spec(run.id).model_copy(update=changes)
    (house.runs.folder(run.id) / "spec.json").write_text(spec.model_dump_json())
    return spec


def learned(house: House, run: RunRecord, *values: float) -> None:
    """Scores on validation rows, evenly over the training."""
    writer = EventWriter(house.runs.folder(run.id), 1)
    writer.write(events.Planned(steps=10 * len(values), epochs=2, parameters=1, trainable=1))
    for i, value in enumerate(values, 1):
        step = 10 * i
        writer.write(events.Evaluated(step=step, epoch=i, loss=1 - value, metric="accuracy", value=value, best=True))


def test_without_runs_it_says_so(visit: Visit) -> None:
    shown = history.view(visit)
    assert visit.text("history.none") in shown["runs"]
    assert not shown["details"].visible
    assert visit.text("ready.history.todo") in shown["ready"]


def test_the_list_holds_name_note_score_with_range_size_and_time(visit: Visit, finished: Finish) -> None:
    run = finished()
    (visit.house.runs.folder(run.id) / "model" / "model.safetensors").write_bytes(b"x" * (87 * 2**20))
    visit.house.runs.annotate(run.id, note="the <b>good</b> one")
    shown = history.view(visit)
    page = shown["runs"]
    for words in ("mine · MiniLM", "F1 81 %", "95 % sure: 84 to 90 %", "87 MB", "1 minute", "Sort texts", "Finished"):
        assert words in page, words
    assert "&lt;b&gt;good&lt;/b&gt;" in page
    assert "<b>" not in page
    assert shown["chosen"] == run.id  # the one that the other tabs are about


def test_the_newest_is_first_and_strangers_see_nothing(visit: Visit, stranger: Visit, finished: Finish) -> None:
    first, second = finished(), finished()
    page = history.view(visit)["runs"]
    assert page.index(second.id) < page.index(first.id)
    assert first.id not in history.view(stranger)["runs"]


def test_a_run_that_cannot_be_read_any_more_is_still_listed(visit: Visit, finished: Finish) -> None:
    run = finished()
    (visit.house.runs.folder(run.id) / "spec.json").write_text('{"version": 99}')
    assert run.id in history.view(visit)["runs"]
    history.delete(visit, run.id, "")
    assert visit.house.runs.list() == []


def test_an_ended_run_is_measured_once(visit: Visit, finished: Finish, monkeypatch: pytest.MonkeyPatch) -> None:
    run, waiting = finished(), visit.house.runs.create(visit.house.runs.spec(finished().id), "local")
    seen: list[str] = []
    measure = stored.run_bytes
    monkeypatch.setattr(stored, "run_bytes", lambda runs, run_id: seen.append(run_id) or measure(runs, run_id))
    history.view(visit)
    history.view(visit)
    assert seen.count(run.id) == 1
    assert seen.count(waiting.id) == 2  # what goes on grows


def test_a_name_and_a_note_are_kept(visit: Visit, finished: Finish) -> None:
    run = finished()
    shown = history.save(visit, run.id, "", "  <i>better</i> ", "one\ntwo")
    kept = visit.house.runs.get(run.id)
    assert (kept.name, kept.note) == ("<i>better</i>", "one\ntwo")
    assert "&lt;i&gt;better" in shown["runs"]
    assert visit.text("history.saved") in shown["said"]


def test_a_click_on_a_name_chooses_and_keeps_the_ticks(visit: Visit, finished: Finish) -> None:
    one, other = finished(), finished()
    shown = history.press(visit, {"run": one.id, "ticked": [other.id]}, other.id)
    assert (shown["chosen"], shown["ticked"]) == (one.id, other.id)
    assert f'data-tick="{other.id}"' in shown["runs"]
    assert shown["runs"].count(" checked") == 1
    assert visit.draft.run is None  # choosing here changes nothing elsewhere


def test_opening_makes_the_other_tabs_be_about_it(visit: Visit, finished: Finish) -> None:
    old, _ = finished(), finished()
    assert not history.open_run(visit, old.id, "")["open"].interactive
    assert readiness.shown_run(visit) == old
    assert readiness.target(visit, "history") == "results"


def test_deleting_asks_first_and_says_what_it_frees(visit: Visit, finished: Finish) -> None:
    run = finished()
    (visit.house.runs.folder(run.id) / "model" / "model.safetensors").write_bytes(b"x" * (87 * 2**20))
    shown = history.ask(visit, run.id)
    assert shown["asked"].visible
    assert shown["yes"] == "Yes, delete, frees 87 MB"
    assert not history.keep(visit)["asked"].visible
    assert visit.house.runs.list() == [run]
    visit.change(run=run.id)
    shown = history.delete(visit, run.id, run.id)
    assert visit.house.runs.list() == []
    assert "87 MB" in shown["file_said"]
    assert visit.draft.run is None
    assert (shown["chosen"], shown["ticked"]) == ("", "")


def test_a_run_that_goes_on_is_not_deleted(visit: Visit, finished: Finish) -> None:
    run = visit.house.runs.create(visit.house.runs.spec(finished().id), "local")
    assert not history.press(visit, {"run": run.id}, "")["delete"].interactive
    for attempt in (lambda: history.ask(visit, run.id), lambda: history.delete(visit, run.id, "")):
        with pytest.raises(UserError, match="run_still_active"):
            attempt()


CALLS: dict[str, Callable[[Visit, str], Any]] = {
    "press": lambda visit, run: history.press(visit, {"run": run}, ""),
    "tick": lambda visit, run: history.press(visit, {"ticked": [run]}, ""),
    "save": lambda visit, run: history.save(visit, run, "", "taken over", ""),
    "open": lambda visit, run: history.open_run(visit, run, ""),
    "copy": lambda visit, run: history.copy(visit, run, ""),
    "ask": lambda visit, run: history.ask(visit, run),
    "delete": lambda visit, run: history.delete(visit, run, ""),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_foreign_run_answers_as_an_unknown_one(visit: Visit, stranger: Visit, finished: Finish, call: str) -> None:
    mine = finished()
    refused = []
    for run_id in (mine.id, "0" * 32, "../../etc", ""):
        if not run_id and call in ("press", "tick"):
            continue
        with pytest.raises(UserError) as error:
            CALLS[call](stranger, run_id)
        refused.append(error.value.code)
    assert set(refused) == {"run_unknown"}
    assert visit.house.runs.get(mine.id) == mine
    assert stranger.draft == Draft()


def test_what_the_browser_tells_is_bounded(visit: Visit, finished: Finish) -> None:
    many = [finished().id for _ in range(7)]
    assert history.press(visit, {"ticked": [*many, *many]}, "")["ticked"].split(",") == many[:5]
    for odd in (None, 7, {"a": 1}, [], ""):
        assert history.press(visit, {"ticked": odd}, "")["ticked"] == ""


# Comparing


def test_one_alone_is_not_compared(visit: Visit, finished: Finish) -> None:
    one, hint = finished().id, f'<p class="hint">{visit.text("history.compare_hint")}</p>'
    assert comparing.comparison(visit, []) == f'<div data-ticked="">{hint}</div>'
    assert comparing.comparison(visit, [one]) == f'<div data-ticked="{one}">{hint}</div>'


def test_only_settings_that_differ_are_shown_as_people_read_them(visit: Visit, finished: Finish) -> None:
    one, other = finished(), finished()
    asked(visit.house, other, learning_rate=2e-5, epochs=9, method="lora", freeze_embeddings=True)
    page = comparing.comparison(visit, [one.id, other.id])
    table = page[page.index(visit.text("history.settings_title")) :]
    for words in ("Learning rate", "0.00005", "0.00002", "Epochs", "How much is changed", "Small additions (LoRA)"):
        assert words in table, words
    assert "Batch size" not in table
    # LoRA cannot keep the word table, so there is no such setting in that run.
    assert "<td>Keep the word table</td><td>off</td><td>not used</td>" in table


def test_data_and_model_are_told_too(visit: Visit, finished: Finish) -> None:
    one, other = finished(), finished()
    spec = visit.house.runs.spec(one.id)
    data = spec.data.model_copy(
        update={
            "table": "1" * 64, "name": "<other>.csv", "fixes": {"duplicate_rows": "drop", "html": "strip"},
            "split": SplitChoice(method="group", column="customer"),
            "augment": AugmentChoice(methods=("typos",), copies=2), "columns": {"text": "words", "label": ("a", "b")},
        }
    )  # fmt: skip
    asked(visit.house, other, data=data, model=ModelChoice(source="run", name=one.id))
    page = comparing.comparison(visit, [one.id, other.id])
    for words in (
        "&lt;other&gt;.csv", "Keep one of each", "in groups that stay together", "customer", "typing slips",
        "Label: a, b", "<td>all-MiniLM-L6-v2</td><td>mine · MiniLM</td>",
    ):  # fmt: skip
        assert words in page, words
    assert "<other>" not in page


def test_the_same_settings_are_said_to_be_the_same(visit: Visit, finished: Finish) -> None:
    page = comparing.comparison(visit, [finished().id, finished().id])
    assert visit.text("history.same") in page


@pytest.mark.parametrize(
    ("score", "between", "key"),
    [(0.95, [0.91, 0.98], "better"), (0.88, [0.85, 0.92], "chance"), (0.81, [0.84, 0.9], "equal")],
)
def test_a_difference_is_called_one_only_beyond_chance(
    visit: Visit, finished: Finish, score: float, between: list[float], key: str
) -> None:
    one, other = finished(), finished()
    metrics = json.loads((visit.house.runs.folder(other.id) / "report.json").read_text())["metrics"]
    told(visit.house, other, metrics={"macro_f1": score, "intervals": {**metrics["intervals"], "macro_f1": between}})
    page = comparing.comparison(visit, [one.id, other.id])
    best, less = ("A", "B") if key == "equal" else ("B", "A")
    assert visit.text(f"history.{key}", best=best, other=less, metric="F1") in page
    assert sum(visit.text(f"history.{k}", best=best, other=less, metric="F1") in page for k in ("better", "chance")) < 2


@pytest.mark.parametrize("change", ["seed", "judged", "task"])
def test_scores_of_other_exams_are_not_compared(visit: Visit, finished: Finish, change: str) -> None:
    one, other = finished(), finished()
    if change == "judged":
        told(visit.house, other, rows={"judged": 7})
    else:
        asked(visit.house, other, **({"seed": 7} if change == "seed" else {"task": "multi_label"}))
    page = comparing.comparison(visit, [one.id, other.id])
    key = "other_task" if change == "task" else "other_exam"
    assert visit.text(f"history.{key}", best="A", other="B") in page
    assert "overlap" not in page


def test_those_of_one_exam_are_compared_among_themselves(visit: Visit, finished: Finish) -> None:
    runs = [finished() for _ in range(4)]
    for run in runs[1:3]:
        asked(visit.house, run, seed=7)
    told(visit.house, runs[2], metrics={"macro_f1": 0.9})
    page = comparing.comparison(visit, [run.id for run in runs])
    assert visit.text("history.chance", best="C", other="B", metric="F1") in page
    assert visit.text("history.equal", best="A", other="D", metric="F1") in page
    assert visit.text("history.other_exam", best="A, D", other="B, C") in page


def test_a_run_without_a_result_is_named(visit: Visit, finished: Finish) -> None:
    one = finished()
    waiting = visit.house.runs.create(visit.house.runs.spec(one.id), "local", "next")
    page = comparing.comparison(visit, [one.id, waiting.id])
    assert visit.text("history.unjudged", name="B") in page
    both = comparing.comparison(visit, [waiting.id, visit.house.runs.create(visit.house.runs.spec(one.id), "local").id])
    assert visit.text("history.scores_none") in both


def test_the_curves_of_all_are_drawn_over_one_another(visit: Visit, finished: Finish) -> None:
    one, other = finished(), finished()
    learned(visit.house, one, 0.5, 0.75)
    learned(visit.house, other, 0.25, 0.5, 0.9)
    page = comparing.comparison(visit, [one.id, other.id])
    assert page.count('class="curve line-0"') == page.count('class="curve line-1"') == 2  # score and loss
    assert page.count('class="dot line-1"') == 6
    assert "A ends at 75; B ends at 90" in page
    assert "B: 50 at 67 %" in page


def test_curves_stay_inside_their_ticks() -> None:
    drawn = charts.curves(Text("en"), "<t>", {"A": [(50.0, 0.31), (100.0, 0.29)], "B": []})
    assert "&lt;t&gt;" in drawn
    assert "line-1" not in drawn
    assert "M50.00 0.00L100.00 100.00" not in drawn
    assert charts.curves(Text("en"), "t", {"A": [], "B": []}) == ""
    assert charts._ticks([3.0]) == [3.0, 3.1]
    assert charts._ticks([0.0, 100.0]) == [0, 50, 100]
    for values in ([0.5], [0.0], [-2.0, 7.0], [1e-9, 2e-9], [12.0, 3000.0]):
        ticks = charts._ticks(values)
        assert 2 <= len(ticks) <= 7
        assert ticks[0] <= min(values) <= max(values) <= ticks[-1]


# Copying settings


@pytest.fixture
def trained(visit: Visit, spreadsheet: Callable[..., Path], finished: Finish) -> tuple[RunRecord, TrainSpec]:
    """A run with settings of the person's own, and a draft that has nothing of them any more."""
    handing_in.take(visit, spreadsheet(), "mine.csv")
    moved = {"epochs": 9, "learning_rate": 1e-4, "method": "lora", "lora_rank": 4, "seed": 7, "test_fraction": 0.3}
    visit.change(knobs=moved, fixes={"duplicate_rows": "drop"})
    spec = choices.train_spec(visit)
    run = finished()
    asked(visit.house, run, **{name: getattr(spec, name) for name in TrainSpec.model_fields})
    visit.change(**{n: getattr(Draft(), n) for n in ("knobs", "fixes", "table", "columns", "guess", "tokens")})
    return run, spec


def test_copied_settings_make_the_same_run(visit: Visit, trained: tuple[RunRecord, TrainSpec]) -> None:
    run, spec = trained
    shown = history.copy(visit, run.id, "")
    assert visit.text("history.copied") in shown["said"]
    assert choices.train_spec(visit) == spec
    # What stands where it is recommended was not moved by hand.
    assert visit.draft.knobs.keys() == {"epochs", "learning_rate", "method", "lora_rank", "seed", "test_fraction"}


def test_what_is_no_longer_here_is_told_and_not_chosen(visit: Visit, trained: tuple[RunRecord, TrainSpec]) -> None:
    run, spec = trained
    visit.house.tables.delete(spec.data.table, "local")
    asked(visit.house, run, model=ModelChoice(source="run", name="0" * 32))
    shown = history.copy(visit, run.id, "")
    for name in ("table", "model"):
        assert visit.text(f"history.not_copied.{name}") in shown["said"]
    assert (visit.draft.table, visit.draft.model) == (None, ModelChoice())
    assert visit.draft.knobs["epochs"] == 9


def test_a_folder_is_never_chosen_on_the_page(visit: Visit, trained: tuple[RunRecord, TrainSpec]) -> None:
    run, _ = trained
    asked(visit.house, run, model=ModelChoice(source="directory", name="/etc"))
    history.copy(visit, run.id, "")
    assert visit.draft.model == ModelChoice()


def test_settings_for_another_task_keep_what_that_task_can_use(
    visit: Visit, trained: tuple[RunRecord, TrainSpec], spreadsheet: Callable[..., Path]
) -> None:
    run, spec = trained
    visit.house.tables.delete(spec.data.table, "local")
    other = spreadsheet(
        [(f"another text number {i}", "delivery" if i % 2 else "refund") for i in range(60)], "next.csv"
    )
    handing_in.take(visit, other, "next.csv")
    visit.change(task="text_generation", columns={"text": "text"}, guess=None)
    asked(visit.house, run, method="few", beams=3)
    history.copy(visit, run.id, "")
    assert visit.draft.task == "text_generation"
    assert choices.settled(visit).values["method"] != "few"


# Leaving and coming in


def served(house: House) -> TestClient:
    app = Starlette(routes=moving.routes(house), middleware=[Middleware(guard.Guard, settings=house.settings)])
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.fixture
def whole(visit: Visit, finished: Finish) -> RunRecord:
    """A finished run with weights that are weights, and a report as trainings write it now."""
    run = finished()
    (visit.house.runs.folder(run.id) / "model" / "model.safetensors").write_bytes(WEIGHTS)
    learned(visit.house, run, 0.5, 0.8)
    return run


def uploaded(content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "gradio" / "abc" / "run.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_run_goes_out_as_a_file_and_comes_in_again(visit: Visit, whole: RunRecord, tmp_path: Path) -> None:
    answer = served(visit.house).get(f"/download/{whole.id}/run.zip")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.testzip() is None
    path = uploaded(answer.content, tmp_path)
    shown = history.take_in(visit, str(path))
    assert not path.exists()
    assert not path.parent.exists()
    taken = visit.house.runs.get(shown["chosen"], "local")
    assert taken.id != whole.id
    assert (taken.name, visit.draft.run) == (whole.name, taken.id)
    assert f"“{whole.name}” is taken in" in shown["file_said"]
    assert "F1 81 %" in shown["runs"]
    for page in (results.view(visit)["scores"], comparing.comparison(visit, [whole.id, taken.id])):
        assert "81 %" in page


def test_only_the_owner_gets_the_file(visit: Visit, finished: Finish) -> None:
    theirs = finished("hf:somebody")
    there = served(visit.house)
    unknown = there.get(f"/download/{'0' * 32}/run.zip")
    answer = there.get(f"/download/{theirs.id}/run.zip")
    assert (answer.status_code, answer.content) == (unknown.status_code, unknown.content) == (404, b"Not found")
    waiting = visit.house.runs.create(visit.house.runs.spec(theirs.id), "local")
    assert there.get(f"/download/{waiting.id}/run.zip").status_code == 404


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_no_run_changes_nothing_but_the_message(visit: Visit, tmp_path: Path, content: bytes) -> None:
    path = uploaded(content, tmp_path)
    shown = history.take_in(visit, str(path))
    assert visit.text("errors.run_file_unreadable") in shown["file_said"].value
    assert shown["file_said"].visible
    assert not path.exists()
    assert visit.house.runs.list() == []
    assert history.take_in(visit, None) == {}


def test_a_full_space_takes_in_nothing(visit: Visit, whole: RunRecord, tmp_path: Path) -> None:
    content = served(visit.house).get(f"/download/{whole.id}/run.zip").content
    limits = dataclasses.replace(visit.house.settings.limits, owner_bytes=1000)
    shared = dataclasses.replace(visit.house.settings, place="space", limits=limits)
    there = dataclasses.replace(visit, house=dataclasses.replace(visit.house, settings=shared))
    shown = history.take_in(there, str(uploaded(content, tmp_path)))
    assert "full" in shown["file_said"].value
    assert len(visit.house.runs.list()) == 1


def test_everything_is_said_in_chinese_too(visit: Visit, finished: Finish) -> None:
    there = dataclasses.replace(visit, text=Text("zh-CN"))
    one, other = finished(), finished()
    asked(visit.house, other, epochs=9)
    shown = history.view(there)
    assert "主要得分" in shown["runs"]
    assert "不同的设置" in comparing.comparison(there, [one.id, other.id])
    assert "是的，删除并释放" in history.ask(there, one.id)["yes"]


def test_the_list_keeps_its_promise_with_many_runs(visit: Visit, finished: Finish) -> None:
    ids = [finished().id for _ in range(6)]
    page = listing.table(visit, "", ids[:5])
    assert page.count(" checked") == 5
    assert page.count(" disabled") == 1
