"""What is kept of each open window."""

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ui import sessions


class Config:
    """As gradio's own: the parts of a page by their numbers. (A real `gr.Blocks` leaves event loops open.)"""

    def __init__(self, blocks: dict[int, Any]) -> None:
        self.blocks = blocks

    def __copy__(self) -> "Config":
        return Config(dict(self.blocks))


@pytest.fixture
def page() -> Any:
    parts = [gr.Dropdown(["a"], render=False), gr.Button("go", render=False)]
    return SimpleNamespace(default_config=Config({part._id: part for part in parts}), state_session_capacity=10_000)


@pytest.fixture
def holder(page: Any) -> sessions.LightHolder:
    app = SimpleNamespace()
    sessions.lighten(app, page)
    assert isinstance(app.state_holder, sessions.LightHolder)
    return app.state_holder


def dropdown(page: Any) -> gr.Dropdown:
    return next(part for part in page.default_config.blocks.values() if isinstance(part, gr.Dropdown))


def test_a_window_has_its_own_choices(page: Any, holder: sessions.LightHolder) -> None:
    number = dropdown(page)._id
    holder["mine"][number] = gr.Dropdown(["a", "b"], render=False)
    holder["mine"]._update_config(number)
    holder["mine"]._update_value_in_config(number, "b")
    assert [value for _, value in holder["mine"][number].choices] == ["a", "b"]
    assert [value for _, value in holder["other"][number].choices] == ["a"]


def test_no_part_is_described(page: Any, holder: sessions.LightHolder) -> None:
    number = dropdown(page)._id
    holder["mine"][number] = gr.Dropdown(["a", "b"], render=False)
    assert list(holder["mine"].components) == []


def test_what_a_person_chose_is_not_kept_in_a_window(page: Any, holder: sessions.LightHolder) -> None:
    with pytest.raises(TypeError):
        holder["mine"][dropdown(page)._id] = "a value"


def test_the_windows_used_last_are_kept(
    page: Any, holder: sessions.LightHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder.capacity = 2
    number = dropdown(page)._id
    for name in ("first", "second"):
        holder[name][number] = gr.Dropdown(["a", "b"], render=False)
    assert holder["first"][number].choices[-1] == ("b", "b")
    _ = holder["third"]
    assert "second" not in holder
    assert holder["first"][number].choices[-1] == ("b", "b")


def test_there_are_bounds(page: Any, holder: sessions.LightHolder) -> None:
    assert holder.capacity == sessions.MOST_WINDOWS == page.state_session_capacity
