"""What a handler asks several times over is worked out once for its view, and anew once something has changed."""

import pytest

from core.models import sizing
from ui import choices, page, readiness
from ui.page import House, Visit
from ui.text import Text


def test_a_view_describes_the_model_once_for_its_settings_and_once_for_its_size(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    describe = sizing.describe
    monkeypatch.setattr(sizing, "describe", lambda *a, **k: asked.append(k["batch_size"]) or describe(*a, **k))
    for tab in ("model", "hyperparameters", "training"):
        readiness.card(visit, tab)
    assert len(asked) == 2


def test_a_choice_that_changes_is_seen_at_once(visit: Visit) -> None:
    before = choices.settled(visit).whole("epochs")
    visit.change(knobs={"epochs": before + 1})
    assert choices.settled(visit).whole("epochs") == before + 1


def test_who_asks_later_asks_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(page, "monotonic", lambda: now[0])
    visit = Visit(house, Text("en"), "local")
    assert visit.draft.tab == "data"
    house.drafts.change("local", tab="model")
    assert visit.draft.tab == "data"
    now[0] = 1.0
    assert visit.draft.tab == "model"


def test_no_two_visits_know_the_same(house: House) -> None:
    one, other = Visit(house, Text("en"), "local"), Visit(house, Text("en"), "hf:stranger")
    one.change(tab="model")
    assert (one.draft.tab, other.draft.tab) == ("model", "data")
