"""Rows of tokens put together for a model: batches of about equal work, and their padding."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

# What the loss leaves out, as PyTorch's cross-entropy and the Trainer know it.
IGNORED = -100
# Tokens that a model reads at once without learning, by `core.device.Device.kind`: more are hardly faster.
READ_TOGETHER = {"cpu": 2048, "mps": 4096, "cuda": 32768}
# The same on a processor by compiled steps without padding, see `core.models.rounding.rounded_reading`.
READ_LEANLY = 8192


def batches(lengths: Sequence[int], tokens: int, most: int) -> Iterator[list[int]]:
    """Places of rows in batches, longest rows first, so that little is padded and trouble shows at once.

    Args:
        lengths: of each row, in tokens.
        tokens: of a batch with its padding, at most; a longer row goes alone.
        most: rows of a batch.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        count = max(1, min(most, tokens // max(1, lengths[order[start]])))
        yield order[start : start + count]
        start += count


def is_seq2seq(model: Any) -> bool:
    """Whether a loaded model reads with an encoder and writes with a decoder."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


def reads_prefixes(model: Any, tokenizer: Any) -> bool:
    """Whether a model was pretrained with words before its texts: T5 and FLAN-T5, not mT5 and not the one of bytes."""
    return bool(model.config.model_type == "t5") and type(tokenizer).__name__ != "ByT5Tokenizer"


def padded(rows: Sequence[Sequence[int]], filler: int, *, left: bool = False) -> tuple[Any, Any]:
    """Rows as one tensor (rows, longest), and the mask that is 1 where there is a token.

    Args:
        left: whether the filler goes before the tokens, as writing on from them needs.
    """
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for place, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[place, where] = torch.tensor(row, dtype=torch.long)
        mask[place, where] = 1
    return ids, mask


def training_batch(model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Encoded rows (`input_ids`, `labels`) as one batch whose labels stand where the model predicts them.

    Of an encoder-decoder, `decoder_input_ids` are made of the labels. Of a decoder-only model, whose rows say for each
    token whether it is learned, labels move one place to the left: so they line up with the logits for both kinds. Of
    what comes before the first answer no logits are computed where the model allows it (`logits_to_keep`): they are
    most of the work of a small model with a large vocabulary. Models are not given labels: the loss is the task's.
    """
    import torch

    ids, mask = padded([row["input_ids"] for row in rows], tokenizer.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask}
    labels, _ = padded([row["labels"] for row in rows], IGNORED)
    if is_seq2seq(model):
        batch["decoder_input_ids"] = _shifted(model, labels)
    else:
        labels = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], IGNORED)], dim=1)
        if _can_leave_logits_out(model):
            labels, batch["logits_to_keep"] = _from_the_first_wanted(labels)
    return batch | {"labels": labels}


def _can_leave_logits_out(model: Any) -> bool:
    """Whether the model computes the scores of the vocabulary at the last places alone, where it is asked to."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in signature(inner.forward).parameters


def _from_the_first_wanted(labels: Any) -> tuple[Any, int]:
    """Labels from the first place on where any row has one, and how many places those are."""
    wanted = (labels != IGNORED).any(dim=0).nonzero()
    first = int(wanted[0]) if len(wanted) else labels.shape[1] - 1
    return labels[:, first:].contiguous(), labels.shape[1] - first


def token_loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """Cross-entropy of the wanted tokens, in 32 bits: their mean, or their sum over `num_items_in_batch`.

    Args:
        outputs: with `logits` of shape (rows, tokens, vocabulary), or of the wanted tokens alone.
        labels: of shape (rows, tokens), as `training_batch` lays them.
    """
    from torch.nn.functional import cross_entropy

    # Prompts and padding are left out before the numbers are copied to 32 bits.
    counted = labels != IGNORED
    logits = outputs["logits"] if outputs["logits"].dim() == 2 else outputs["logits"][counted]
    total = cross_entropy(logits.float(), labels[counted], reduction="sum")
    return total / (counted.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def likeliest(logits: Any) -> Any:
    """The token that is guessed at each place; of what an encoder-decoder hands over, the logits come first."""
    return (logits[0] if isinstance(logits, tuple) else logits).argmax(dim=-1)


def token_accuracy(guesses: Any, labels: Any) -> float:
    """Share of the wanted tokens that were guessed right, from arrays of shape (rows, tokens)."""
    counted = labels != IGNORED
    return float(((guesses == labels) & counted).sum() / max(1, counted.sum()))


def _shifted(model: Any, labels: Any) -> Any:
    """What a decoder has read when it shall write each label: the start token, then the labels before."""
    own = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if own is not None:
        return own(labels=labels)
    moved = labels.new_full(labels.shape, model.config.decoder_start_token_id)
    moved[:, 1:] = labels[:, :-1]
    return moved.masked_fill(moved == IGNORED, model.config.pad_token_id)
