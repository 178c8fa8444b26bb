"""What gradio keeps of each open window, made light.

gradio notes for every window how each of its parts could be described again, for links that bring a page's state back.
This page has no such links. The notes cost a tenth of a second of everybody's time for each window that opens, and
more than a megabyte that stays until ten thousand other windows came.
"""

from copy import copy
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

MOST_WINDOWS = 500


class LightSession(SessionState):
    """A window's parts as they differ from the page's own, without descriptions of all."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values = {}
        self.state_data = {}
        self._state_ttl = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def __setitem__(self, key: int, value: Any) -> None:
        if getattr(value, "stateful", False) or not isinstance(value, gr.blocks.Block):
            raise TypeError("this page keeps what a person chose on disk, not in a window")
        self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        return

    def _update_value_in_config(self, key: int, value: Any) -> None:
        return


class LightHolder(StateHolder):
    """The windows that were used last; one that comes back after that has the page's parts as they were at first."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = LightSession(self.blocks)
        return super().__getitem__(session_id)


def lighten(app: Any, page: gr.Blocks) -> None:
    """Let a page that is served keep its windows in a light form."""
    page.state_session_capacity = MOST_WINDOWS
    app.state_holder = LightHolder()
    app.state_holder.set_blocks(page)
