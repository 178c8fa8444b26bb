"""The choices of a person survive, and nobody sees another's."""

from pathlib import Path

from core.spec import ModelChoice
from ui.draft import Draft, DraftStore


def test_choices_survive_a_restart(tmp_path: Path) -> None:
    DraftStore(tmp_path).change("local", knobs={"epochs": 3}, model=ModelChoice(source="hub", name="a/b"), tab="model")
    draft = DraftStore(tmp_path).read("local")
    assert (draft.knobs, draft.model.name, draft.tab) == ({"epochs": 3}, "a/b", "model")


def test_owners_are_apart_and_their_names_are_no_paths(tmp_path: Path) -> None:
    store = DraftStore(tmp_path)
    store.change("hf:../../1", run="a")
    assert store.read("hf:2") == Draft()
    assert [f.parent for f in tmp_path.rglob("*.json")] == [tmp_path / "drafts"]


def test_a_damaged_draft_is_an_empty_one(tmp_path: Path) -> None:
    store = DraftStore(tmp_path)
    store.change("local", tab="model")
    next(tmp_path.rglob("*.json")).write_text('{"tab": ')
    assert store.read("local") == Draft()


def test_writing_one_field_leaves_the_others(tmp_path: Path) -> None:
    store = DraftStore(tmp_path)
    store.change("local", table="t", columns={"text": "a"})
    assert store.change("local", run="r").columns == {"text": "a"}
