"""How well a model foresees texts: loss, perplexity and token accuracy from what each row's tokens cost it."""

from collections.abc import Sequence

import numpy as np

from core.evaluation.resampling import Array, Measured

NAMES = ("loss", "perplexity", "token_accuracy")
# e to this is still a number that can be written down.
_MOST_NATS = 700.0


def measured(token_losses: Sequence[tuple[float, int, int]]) -> Measured:
    """`loss` in nats per token, `perplexity`, and `token_accuracy` from 0 to 1, over all tokens of the rows.

    Args:
        token_losses: see `Answers`. Tokens are a model's own, so only models with one tokenizer can be compared.
    """
    return Measured(np.asarray(token_losses, dtype=float).reshape(-1, 3), _scores)


def _scores(sums: Array) -> dict[str, Array]:
    tokens = np.maximum(sums[:, 1], 1)
    loss = sums[:, 0] / tokens
    return {"loss": loss, "perplexity": np.exp(np.minimum(loss, _MOST_NATS)), "token_accuracy": sums[:, 2] / tokens}
