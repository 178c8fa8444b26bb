"""What kinds of examples there are: which columns a task needs, and what each column holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# Role -> column, or columns where a role is spread over several (one column for each label).
Columns = Mapping[str, str | tuple[str, ...]]
Kind = Literal["text", "answer", "label", "labels", "messages"]


@dataclass(frozen=True)
class Role:
    """What a column is for.

    Attributes:
        name: key of the role in specs and flags.
        kind: `text` is what the model reads, `answer` is text that it shall write, `label` one label, `labels` several,
            `messages` a conversation as JSON.
        required: whether there are no examples without it.
        many: whether it may be spread over several columns.
    """

    name: str
    kind: Kind
    required: bool = True
    many: bool = False


@dataclass(frozen=True)
class Shape:
    """The examples of a task. `roles` in the order in which people are asked for them."""

    task: str
    roles: tuple[Role, ...]

    def role(self, name: str) -> Role:
        """The role of this name.

        Raises:
            KeyError: there is none.
        """
        return next(role for role in self.roles if role.name == name)

    def missing(self, columns: Columns) -> str | None:
        """The first role that is needed and has no column. A chat is either `messages` or `prompt` and `answer`."""
        if self.task == "chat" and not columns.get("messages"):
            return next((name for name in ("prompt", "answer") if not columns.get(name)), None)
        return next((role.name for role in self.roles if role.required and not columns.get(role.name)), None)


SHAPES: dict[str, Shape] = {
    shape.task: shape
    for shape in (
        Shape("classification", (Role("text", "text"), Role("label", "label"))),
        Shape("multi_label", (Role("text", "text"), Role("labels", "labels", many=True))),
        Shape("translation", (Role("source", "text"), Role("target", "answer"))),
        Shape("summarization", (Role("text", "text"), Role("summary", "answer"))),
        Shape(
            "chat",
            (
                Role("messages", "messages", required=False),
                Role("prompt", "text", required=False, many=True),
                Role("answer", "answer", required=False),
                Role("system", "text", required=False),
            ),
        ),
        Shape("text_generation", (Role("text", "text"),)),
    )
}


def column_names(columns: Columns) -> list[str]:
    """All columns that have a role, each once."""
    found: list[str] = []
    for value in columns.values():
        found += [value] if isinstance(value, str) else list(value)
    return list(dict.fromkeys(found))
