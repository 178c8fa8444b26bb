"""What every tab begins with."""

from typing import Any

import gradio as gr


def top() -> dict[str, Any]:
    """The readiness card and the button that leads on: the parts `ready` and `next`."""
    with gr.Row(elem_classes=["top"], equal_height=True):
        ready = gr.HTML(min_height=64, scale=5)
        button = gr.Button("", visible=False, variant="primary", scale=1, min_width=190, elem_classes=["next"])
    return {"ready": ready, "next": button}


def heading(words: str, hint: str = "") -> None:
    """A section's title, with a sentence of help. Both come from the locales and hold no names."""
    lines = f"### {words}\n{hint}" if hint else f"### {words}"
    gr.Markdown(lines, elem_classes=["heading"])
