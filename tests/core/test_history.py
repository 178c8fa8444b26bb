"""What became of runs: size, names and notes, deletion, and what is compared."""

import dataclasses

import pytest

from core.errors import UserError
from core.runs import history
from core.runs.store import RunStore
from core.spec import DataChoice, ModelChoice, SplitChoice, build

DATA = DataChoice(table="0" * 64, columns={"text": "t", "label": "l"})
SPEC = build(data=DATA)


@pytest.fixture
def runs(tmp_path):
    return RunStore(tmp_path)


def ended(runs, owner="local", spec=SPEC, name=""):
    record = runs.create(spec, owner, name)
    runs.request_stop(record.id)
    return runs.get(record.id)


def test_size_counts_files_and_not_what_links_lead_to(runs, tmp_path):
    record = ended(runs)
    before = history.run_bytes(runs, record.id)
    (runs.folder(record.id) / "model").mkdir()
    (runs.folder(record.id) / "model" / "w").write_bytes(b"x" * 5000)
    (tmp_path / "large").write_bytes(b"x" * 90_000)
    (runs.folder(record.id) / "link").symlink_to(tmp_path / "large")
    assert history.run_bytes(runs, record.id) == before + 5000


def test_used_is_the_sum_of_an_owners_runs(runs):
    mine = [ended(runs), ended(runs)]
    theirs = ended(runs, "hf:2")
    assert history.used_bytes(runs, "local") == sum(history.run_bytes(runs, r.id) for r in mine)
    assert history.used_bytes(runs, "hf:2") == history.run_bytes(runs, theirs.id)
    assert history.used_bytes(runs, "hf:3") == 0


def test_an_ended_run_is_deleted_by_its_owner_alone(runs):
    record = ended(runs)
    with pytest.raises(UserError, match="run_unknown"):
        history.delete(runs, record.id, "hf:2")
    folder = runs.folder(record.id)
    history.delete(runs, record.id, "local")
    assert not folder.exists()
    with pytest.raises(UserError, match="run_still_active"):
        history.delete(runs, runs.create(SPEC, "local").id, "local")


def test_a_run_from_which_a_waiting_one_begins_is_kept_until_that_has_ended(runs):
    base = ended(runs)
    further = runs.create(SPEC.model_copy(update={"model": ModelChoice(source="run", name=base.id)}), "local", "next")
    with pytest.raises(UserError) as refused:
        history.delete(runs, base.id, "local")
    assert (refused.value.code, refused.value.facts) == ("run_needed", {"name": "next"})
    runs.request_stop(further.id)
    history.delete(runs, base.id, "local")


def test_name_and_note_are_bounded_and_plain(runs):
    record = ended(runs, name="before")
    history.describe(runs, record.id, "local", "  two\nlines\x00 \x1b[31mred ", "one\r\ntwo\x07\n" + "x" * 3000)
    kept = runs.get(record.id)
    assert kept.name == "two lines [31mred"
    assert kept.note.startswith("one\ntwo\nxxx")
    assert len(kept.note) == history.LONGEST_NOTE
    history.describe(runs, record.id, "local", " \n ", "")
    assert (runs.get(record.id).name, runs.get(record.id).note) == ("two lines [31mred", "")
    history.describe(runs, record.id, "local", "n" * 200, "")
    assert runs.get(record.id).name == "n" * history.LONGEST_NAME
    with pytest.raises(UserError, match="run_unknown"):
        history.describe(runs, record.id, "hf:2", "mine", "")


def test_only_what_differs_is_told_and_in_order():
    other = build(data=data_with(fixes={"html": "mend"}), epochs=9, method="lora")
    assert history.differing([SPEC, other]) == ("fixes", "epochs", "method")
    assert history.differing([SPEC, SPEC, build(data=DATA, seed=1)]) == ("seed",)
    assert history.differing([SPEC, SPEC]) == ()
    renamed = build(data=data_with(name="same content, other name.csv"))
    assert history.differing([SPEC, renamed]) == ()


def data_with(**changes):
    return DATA.model_copy(update=changes)


@pytest.mark.parametrize(
    ("choices", "same"),
    [
        ({"epochs": 9, "method": "lora", "learning_rate": 1e-3}, True),
        ({"seed": 1}, False),
        ({"test_fraction": 0.3}, False),
        ({"data": data_with(table="1" * 64)}, False),
        ({"data": data_with(fixes={"duplicate_rows": "drop"})}, False),
        ({"data": data_with(split=SplitChoice(method="group", column="c"))}, False),
    ],
)
def test_scores_are_comparable_only_on_the_same_test_rows(choices, same):
    assert history.same_test_rows(SPEC, build(**({"data": DATA} | choices))) is same


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [([0.8, 0.9], [0.85, 0.95], True), ([0.8, 0.9], [0.91, 0.95], False), ([0.9, 0.95], [0.8, 0.9], True)],
)
def test_intervals_overlap(one, other, together):
    assert history.overlap(one, other) is together


def test_a_run_that_is_gone_meanwhile_counts_for_nothing(runs, monkeypatch):
    kept, gone = ended(runs), ended(runs)
    listed = [*runs.list("local"), dataclasses.replace(gone, id="f" * 32)]
    monkeypatch.setattr(runs, "list", lambda owner=None: listed)
    assert history.used_bytes(runs, "local") == sum(history.run_bytes(runs, r.id) for r in (kept, gone))
