"""Writing with a model that is in memory, and how likely it finds what others wrote: for every task that writes."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.opening import positions
from core.models.prepacked import prepacked
from core.spec import Writing
from core.tasks._batches import IGNORED, batches, is_seq2seq, padded, training_batch

if TYPE_CHECKING:
    from core.device import Device

# Bytes that the keys and values of a batch may come to while it is written, and tokens at least.
_BYTES_WRITTEN = {"cpu": 3 * 2**27, "cuda": 3 * 2**30, "mps": 3 * 2**28}
_LEAST_TOKENS = 1024
_ROWS_WRITTEN = 32
# Prompts for which it is worth finding out whether a model writes row by row.
_WORTH_ROWS = 4
# Numbers of a batch's logits, over the whole vocabulary: a quarter of a gigabyte in 32 bits.
_LOGITS = 2**26
# What a pretrained model needs to write at all. Its other habits (lengths, beams) give way to those asked for.
_KEPT = (
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "bad_words_ids",
)  # fmt: skip


def settings(model: Any, tokenizer: Any, writing: Writing, *, stop_ids: Sequence[int] = ()) -> Any:
    """A GenerationConfig for `writing`, which the model may also be saved with: other programs then write alike.

    Args:
        stop_ids: tokens at which an answer ends, beside the end token.

    Beams are not drawn from: the temperature counts where one hypothesis is followed. What a rule against repetition
    means to `transformers` includes the prompt, so a decoder-only model is saved without it.
    """
    from transformers import GenerationConfig

    kept = {name: getattr(model.generation_config, name, None) for name in _KEPT}
    ends = kept["eos_token_id"] if kept["eos_token_id"] is not None else tokenizer.eos_token_id
    ends = list(dict.fromkeys([*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id, *stop_ids]))
    kept["eos_token_id"] = [end for end in ends if end is not None]
    kept["pad_token_id"] = tokenizer.pad_token_id
    drawn = writing.temperature > 0 and writing.beams == 1
    return GenerationConfig(
        **kept,
        max_new_tokens=writing.max_new_tokens,
        num_beams=writing.beams,
        do_sample=drawn,
        use_cache=True,
        **({"temperature": writing.temperature, "top_p": writing.top_p, "top_k": 0} if drawn else {}),
        **({"early_stopping": True, "length_penalty": writing.length_penalty} if writing.beams > 1 else {}),
        **({"no_repeat_ngram_size": writing.no_repeat_ngram} if is_seq2seq(model) else {}),
    )


def write(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    device: "Device",
    writing: Writing,
    *,
    stop_ids: Sequence[int] = (),
    seconds: float | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The answer to each prompt (token ids), in their order; without special tokens, the stop text and outer blanks.

    Args:
        stop_ids: as for `settings`.
        seconds: after which a batch, or an answer of its own, ends with what is there; None for no such end.
        tell: called with (answers written, answers in all) as answers end.

    Raises:
        UserError: `prompt_too_long` where a prompt leaves no room for an answer.
    """
    config = settings(model, tokenizer, writing, stop_ids=stop_ids)
    config.max_time = seconds
    found, done = [""] * len(prompts), 0
    with _ready(model, device, config):
        for ended in _answers(model, tokenizer, prompts, device, config, writing):
            for place, row in ended:
                found[place] = _text(tokenizer, row, config, writing.stop)
            done += len(ended)
            if tell:
                tell(done, len(prompts))
    return found


def _answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    device: "Device",
    config: Any,
    writing: Writing,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Places of prompts and the tokens of their answers as they end: row by row, where the model allows it."""
    most = tokens_held(model, device)
    if len(prompts) >= _WORTH_ROWS and writing.beams == 1 and not is_seq2seq(model):
        from core.tasks import _writing_rows

        own = model.get_base_model() if hasattr(model, "get_base_model") else model
        with _computing(device):
            able = _writing_rows.can_write(own, prompts, config)
        if able:
            limit, longest = positions(own.config.get_text_config(decoder=True)), max(map(len, prompts))
            if limit and longest >= limit:
                raise UserError("prompt_too_long", tokens=longest, most=limit)
            stops = partial(_has_stop, tokenizer, stop=writing.stop) if writing.stop else None
            yield from _computed(
                device,
                _writing_rows.answers(
                    own, prompts, config, writing, tokens=most, limit=limit, seconds=config.max_time, stops=stops
                ),
            )
            return
    lengths = [writing.beams * (len(prompt) + writing.max_new_tokens) for prompt in prompts]
    for places in batches(lengths, most, _ROWS_WRITTEN):
        with _computing(device):
            rows = _generate(model, tokenizer, [prompts[place] for place in places], config, writing)
        yield list(zip(places, rows, strict=True))


def tokens_held(model: Any, device: "Device") -> int:
    """Tokens that a batch may come to while it is written: the keys and values of all of them stay in memory."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", 0) or 1  # a family without attention keeps less
    own = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    numbers = int(2 * config.num_hidden_layers * own * width)
    bytes_each = 2 if device.precision == "bfloat16" else 4
    return max(_LEAST_TOKENS, _BYTES_WRITTEN[device.kind] // (numbers * bytes_each))


def _computed(device: "Device", found: Iterator[Any]) -> Iterator[Any]:
    """What an iterator that computes finds; between its steps the thread is as it was."""
    end = object()
    while True:
        with _computing(device):
            one = next(found, end)
        if one is end:
            return
        yield one


def write_streaming(
    model: Any,
    tokenizer: Any,
    prompt: Sequence[int],
    device: "Device",
    writing: Writing,
    *,
    stop_ids: Sequence[int] = (),
    seconds: float | None = 30.0,
) -> Iterator[str]:
    """The answer to one prompt in pieces that make up what `write` gives; beams come in one piece.

    No piece ends within a character or within what may become the stop text. The writing thread has ended when the
    iterator is closed.

    Raises:
        UserError: as `write`.
    """
    config = settings(model, tokenizer, writing, stop_ids=stop_ids)
    config.max_time = seconds
    if writing.beams > 1:
        whole = write(model, tokenizer, [prompt], device, writing, stop_ids=stop_ids, seconds=seconds)[0]
        yield from [whole] if whole else []
        return
    with _ready(model, device, config):
        told = ""
        for row in _growing(device, lambda look: _generate(model, tokenizer, [prompt], config, writing, look)):
            text = _text(tokenizer, row, config, writing.stop, whole=False)
            if len(text) > len(told) and text.startswith(told):
                yield text[len(told) :]
                told = text
        text = _text(tokenizer, row, config, writing.stop)
        if text[len(told) :]:
            yield text[len(told) :]


def token_losses(
    model: Any, tokenizer: Any, rows: Sequence[Mapping[str, Any]], device: "Device"
) -> list[tuple[float, int, int]]:
    """How likely each row's wanted tokens are: (sum of negative log-likelihoods in nats, tokens, right guesses).

    Args:
        rows: `input_ids` and `labels` as `training_batch` takes them.
    """
    from torch.nn.functional import cross_entropy

    found: list[tuple[float, int, int]] = [(0.0, 0, 0)] * len(rows)
    lengths = [max(len(row["input_ids"]), len(row["labels"])) for row in rows]
    most = max(1, _LOGITS // int(model.config.get_text_config(decoder=True).vocab_size))
    with _ready(model, device), _computing(device):
        for places in batches(lengths, most, _ROWS_WRITTEN):
            batch = training_batch(model, tokenizer, [rows[place] for place in places])
            labels = batch.pop("labels").to(device.kind)
            keep = {"logits_to_keep": batch.pop("logits_to_keep")} if "logits_to_keep" in batch else {}
            tensors = {name: tensor.to(device.kind) for name, tensor in batch.items()}
            logits = model(**tensors, **keep, use_cache=False).logits
            counted = labels != IGNORED
            # Only where something is wanted: a prompt is often much longer than its answer.
            chosen, wanted = logits[counted].float(), labels[counted]
            losses = cross_entropy(chosen, wanted, reduction="none").double().cpu()
            right = (chosen.argmax(dim=-1) == wanted).cpu()
            counts, begin = counted.sum(dim=1).tolist(), 0
            for place, count in zip(places, counts, strict=True):
                found[place] = (
                    float(losses[begin : begin + count].sum()), count, int(right[begin : begin + count].sum())
                )  # fmt: skip
                begin += count
    return found


@contextmanager
def _ready(model: Any, device: "Device", config: Any = None) -> Iterator[None]:
    """The model on its device, in the faster precision and with these settings; afterwards it is as it was.

    Under autocast alone, matrices would be converted again for each token. So bfloat16 ones stand in for the exact
    ones, which are kept beside them, as the model may yet be trained or saved. The results are those of autocast.
    """
    import torch

    model.eval()
    if model.device.type != device.kind:
        model.to(device.kind)
    exact, before, stack = {}, model.generation_config, ExitStack()
    try:
        if device.precision == "bfloat16":
            stood_in = stack.enter_context(prepacked(model)) - {model.get_input_embeddings().weight}
            for weight in model.parameters():
                if weight.dtype == torch.float32 and weight.dim() > 1 and weight not in stood_in:
                    exact[weight] = weight.data
                    weight.data = weight.data.to(torch.bfloat16)
        if config is not None:
            model.generation_config = config  # else `generate` fills in what the base model is used to
        yield
    finally:
        model.generation_config = before
        for weight, data in exact.items():
            weight.data = data
        stack.close()


@contextmanager
def _computing(device: "Device") -> Iterator[None]:
    """For the thread that computes: nothing is recorded for training, and products are in the faster precision."""
    import torch

    with (
        torch.inference_mode(),
        torch.autocast(device.kind, torch.bfloat16, enabled=device.precision == "bfloat16"),
    ):
        yield


def _generate(
    model: Any,
    tokenizer: Any,
    prompts: list[Sequence[int]],
    config: Any,
    writing: Writing,
    look: Callable[[list[int]], bool] | None = None,
) -> list[list[int]]:
    """Tokens of the answers to a batch of prompts. `look` is shown each state of the first, and ends it all by True."""
    import torch
    from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, StoppingCriteriaList

    seq2seq = is_seq2seq(model)
    ids, mask = padded(prompts, tokenizer.pad_token_id, left=not seq2seq)
    # The decoder's start token stands before an encoder-decoder's answer, the prompt before another's.
    begin = 1 if seq2seq else ids.shape[1]
    limit = positions(model.config.get_text_config(decoder=True))
    if limit:
        if ids.shape[1] > (limit if seq2seq else limit - 1):
            raise UserError("prompt_too_long", tokens=ids.shape[1], most=limit)
        config.max_new_tokens = min(writing.max_new_tokens, limit - begin)

    def repeats(tokens: Any, scores: Any) -> Any:
        return NoRepeatNGramLogitsProcessor(writing.no_repeat_ngram)(tokens[:, begin:], scores)

    def stops(tokens: Any, scores: Any, **_: Any) -> Any:
        ended = look is not None and look(tokens[0, begin:].tolist())
        found = [ended or _has_stop(tokenizer, row, writing.stop) for row in tokens[:, begin:].tolist()]
        return torch.tensor(found, device=tokens.device)

    written = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=config,
        logits_processor=LogitsProcessorList([repeats] if writing.no_repeat_ngram and not seq2seq else []),
        stopping_criteria=StoppingCriteriaList([stops] if look or writing.stop else []),
    )
    return [row[begin:] for row in written.tolist()]


def _growing(device: "Device", run: Callable[[Callable[[list[int]], bool]], Any]) -> Iterator[list[int]]:
    """The states of an answer while a thread writes it: `generate` itself cannot be left and entered again."""
    states: queue.SimpleQueue[list[int] | BaseException | None] = queue.SimpleQueue()
    closed = threading.Event()

    def look(tokens: list[int]) -> bool:
        states.put(tokens)
        return closed.is_set()

    def work() -> None:
        try:
            with _computing(device):
                run(look)
            states.put(None)
        except BaseException as error:  # noqa: BLE001 (raised again where the answer is read)
            states.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (state := states.get()) is not None:
            if isinstance(state, BaseException):
                raise state
            yield state
    finally:
        closed.set()
        thread.join()


def _has_stop(tokenizer: Any, row: list[int], stop: str) -> bool:
    # A token is at least a byte, and a character at most four: the last tokens are enough to look at.
    return bool(stop) and stop in tokenizer.decode(row[-4 * len(stop) - 4 :], skip_special_tokens=True)


def _text(tokenizer: Any, row: list[int], config: Any, stop: str, *, whole: bool = True) -> str:
    """The text of an answer's tokens; while it is not whole, without an end that may still change."""
    # M2M100's tokenizer does not hold the language, with which its answers begin, for special.
    begin = 1 if row[:1] == [config.forced_bos_token_id] else 0
    end = next((place for place, token in enumerate(row) if token in config.eos_token_id), len(row))
    text = str(tokenizer.decode(row[begin:end], skip_special_tokens=True)).lstrip()
    if stop and stop in text:
        return text[: text.index(stop)].rstrip()
    text = text.rstrip("\ufffd")  # a character whose bytes are not all there
    if not whole:
        may = (n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n]))
        text = text[: len(text) - next(may, 0)]
    return text.rstrip()
