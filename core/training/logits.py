"""Scores of the vocabulary only where a token is to be learned: of a small model they are most of the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.models.adapting import is_language_model
from core.tasks._batches import IGNORED


def guesses_everywhere(model: Any) -> bool:
    """Whether a model that writes scores its vocabulary at all places, as its head is of a kind of its own."""
    from torch.nn import Linear

    return is_language_model(model) and type(model.get_output_embeddings()) is not Linear


class Guesses:
    """Which places a model that writes shall guess at; for all other models it does nothing.

    Args:
        model: as it is trained.
    """

    def __init__(self, model: Any) -> None:
        selects = is_language_model(model) and not guesses_everywhere(model)
        self._wanted: Any = None
        self._hook = model.get_output_embeddings().register_forward_pre_hook(self._selected) if selects else None

    @contextmanager
    def where(self, labels: Any) -> Iterator[None]:
        """While this lasts, the logits are those of the wanted tokens alone: of shape (wanted tokens, vocabulary).

        Args:
            labels: of shape (rows, tokens), as `core.tasks._batches.training_batch` lays them.
        """
        self._wanted = labels != IGNORED if self._hook else None
        try:
            yield
        finally:
            self._wanted = None

    def close(self) -> None:
        """Leave the model as it was."""
        if self._hook:
            self._hook.remove()

    def _selected(self, head: Any, given: tuple[Any, ...]) -> Any:
        hidden = given[0]
        if self._wanted is not None and hidden.shape[:2] == self._wanted.shape and self._wanted.any():
            return (hidden[self._wanted], *given[1:])
        # Of a part of a tensor, a product in three dimensions would copy the head's weights for each row.
        return (hidden.contiguous(), *given[1:])
