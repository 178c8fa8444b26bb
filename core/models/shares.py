"""How many numbers of a model will be changed, from the headers of its files alone. Imports no torch."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.adapting import BESIDE_TABLES, attention_of, longest
from core.models.loading import tensor_shapes
from core.spec import TrainSpec

Shapes = Mapping[str, tuple[int, ...]]

# Tensors that old checkpoints hold beside their weights: masks, positions that are computed, biases that stay zero.
_NO_WEIGHT = re.compile(
    r"(^|\.)(attn|attention)\.(masked_)?bias$|inv_freq$|position_ids$|final_logits_bias$|embed_positions\.weights$"
)
# Tables of vectors for words, positions and kinds.
_EMBEDDING = re.compile(
    r"(^|\.)(\w*_embeddings|embed_tokens|embed_positions|shared|wte|wpe|relative_attention_bias)\.weight$"
)
_WORDS = re.compile(r"(^|\.)(shared|embed_tokens|wte|tok_embeddings|word_embeddings|lm_head)\.weight$")
# Heads that a body was saved with: none of them stays when it gets a new one.
_OTHER_HEADS = re.compile(
    r"(^|\.)(cls|lm_head|head|vocab_\w+|pooler|classifier|pre_classifier|score|classification_head|qa_outputs|"
    r"predictions|\w+_predictions|generator_lm_head|sop_classifier|seq_relationship)\."
)
# They keep their matrices the other way round.
_TRANSPOSED = frozenset({"gpt2", "openai-gpt"})
# They compute their positions from sines, and some files hold the result.
_SINES = frozenset({"marian", "pegasus", "roformer"})
# One matrix makes what attention compares and what it hands on.
_JOINT_ATTENTION = frozenset({"bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "modernbert", "openai-gpt", "phi3"})


@dataclass(frozen=True)
class Adapting:
    """The part of a TrainSpec that says how much of a model is changed. The fields are those of the same names."""

    method: str = str(TrainSpec.model_fields["method"].default)
    freeze_embeddings: bool = bool(TrainSpec.model_fields["freeze_embeddings"].default)
    freeze_layers: int = int(TrainSpec.model_fields["freeze_layers"].default)
    lora_rank: int = int(TrainSpec.model_fields["lora_rank"].default)
    lora_targets: str = str(TrainSpec.model_fields["lora_targets"].default)
    lora_dora: bool = bool(TrainSpec.model_fields["lora_dora"].default)
    quantization: str = str(TrainSpec.model_fields["quantization"].default)
    head_layers: str = str(TrainSpec.model_fields["head_layers"].default)


@dataclass(frozen=True)
class Share:
    """Numbers that are changed, of all that the model has while it is trained."""

    trainable: int
    total: int


def share(model: Path | Shapes, config: Mapping[str, Any], spec: TrainSpec | Adapting, labels: int = 0) -> Share:
    """What `core.models.adapting.trainable` will say, before anything is loaded.

    Of `quick`, what is fitted is one linear layer; of `few`, all of the model.

    Args:
        model: its folder, or name -> shape of its tensors.
        config: its `config.json`.
        labels: outputs of the classification head that it will get; 0 for a model that writes.

    Raises:
        UserError: `method_unsupported` and `layers_all_frozen` as `adapt`, `model_not_loadable` for a damaged file.
    """
    shapes = tensor_shapes(model) if isinstance(model, Path) else model
    body = _weights(shapes, config, writes=not labels)
    head = head_size(config, labels) if labels else 0
    total = _count(body) + head
    # Of a head that shall have one layer, the first that its family brings only hands on, and stays so.
    closed = width(config) * (width(config) + 1) if labels and spec.head_layers == "one" else 0
    if spec.method == "full":
        return Share(total - closed - _count(_frozen(body, config, spec)), total)
    if spec.method == "lora":
        matrices = sum(_matrix_numbers(shape, config, spec) for shape in _targets(body, config, spec).values())
        return Share(matrices + head - closed, total + matrices)
    if not labels:
        raise UserError("method_unsupported", method=spec.method)
    if spec.method == "few":
        return Share(total, total)
    return Share(head - closed if spec.method == "head" else labels * (width(config) + 1), total)


def head_size(config: Mapping[str, Any], labels: int) -> int:
    """Numbers of a new classification head: a dense layer and the outputs; of a decoder the outputs alone.

    Source: the `ForSequenceClassification` models of transformers.
    """
    hidden, family = width(config), str(config.get("model_type"))
    dense = hidden * hidden + hidden
    outputs = labels * hidden + labels
    if family == "big_bird":  # has a pooler and a dense layer
        return 2 * dense + outputs
    from core.models.architectures import kind_of

    return labels * hidden if kind_of(config) == "decoder" else dense + outputs


def width(config: Mapping[str, Any]) -> int:
    """How many numbers stand for a token between the layers; 0 where unknown."""
    return whole(config, "hidden_size", "dim", "n_embd", "d_model")


def whole(config: Mapping[str, Any], *names: str) -> int:
    """The first of these entries that is a whole number, as families name them differently; 0 where there is none."""
    return next((int(config[n]) for n in names if isinstance(config.get(n), int)), 0)


def sketch(config: Mapping[str, Any], parameters: int) -> dict[str, tuple[int, ...]]:
    """Shapes as a model of this size is likely to have them, where its files cannot be asked: one on the Hub.

    Args:
        parameters: all its numbers; what the layers do not have is given to the embeddings.
    """
    hidden = width(config)
    inner = whole(config, "intermediate_size", "hidden_dim", "n_inner", "d_ff", "encoder_ffn_dim") or 4 * hidden
    gate = ("gate",) if "silu" in (config.get("hidden_act"), config.get("hidden_activation")) else ()
    sides = {"encoder.": 1, "decoder.": 2} if config.get("is_encoder_decoder") else {"": 1}
    found: dict[str, tuple[int, ...]] = {}
    for side, attentions in sides.items():
        for place in (f"{side}layers.{number}" for number in range(layer_count(config))):
            for number in range(attentions):
                found |= {f"{place}.attn{number}.{n}.weight": s for n, s in _attention(config, hidden).items()}
            found |= {f"{place}.{n}.weight": (inner, hidden) for n in ("up", *gate)}
            found[f"{place}.down.weight"] = (hidden, inner)
    if config.get("model_type") in _TRANSPOSED:
        found = {name: shape[::-1] for name, shape in found.items()}
    return found | {"embed_tokens.weight": (1, max(0, parameters - _count(found)))}


def layer_count(config: Mapping[str, Any]) -> int:
    """Layers, of an encoder-decoder those of one half; 0 where unknown."""
    return whole(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers")


def _attention(config: Mapping[str, Any], hidden: int) -> dict[str, tuple[int, int]]:
    heads = whole(config, "num_attention_heads", "n_heads", "n_head", "num_heads", "encoder_attention_heads") or 1
    narrow = hidden * (whole(config, "num_key_value_heads") or heads) // heads
    if config.get("model_type") in _JOINT_ATTENTION:
        return {"qkv": (hidden + 2 * narrow, hidden), "o": (hidden, hidden)}
    return {"q": (hidden, hidden), "k": (narrow, hidden), "v": (narrow, hidden), "o": (hidden, hidden)}


def _weights(shapes: Shapes, config: Mapping[str, Any], *, writes: bool) -> dict[str, tuple[int, ...]]:
    """The tensors that the model is loaded with, shared ones once."""
    sines = config.get("model_type") in _SINES
    known = {
        name: shape
        for name, shape in shapes.items()
        if not _NO_WEIGHT.search(name) and not (sines and name.endswith("embed_positions.weight"))
    }
    if not writes:
        seq2seq = bool(config.get("is_encoder_decoder"))
        known = {
            name: shape
            for name, shape in known.items()
            if _layer(name) or not (_OTHER_HEADS.search(name) or (name.startswith("decoder.") and not seq2seq))
        }
    tied = config.get("tie_word_embeddings", True)
    seen: set[tuple[int, ...]] = set()
    kept = {}
    for name, shape in known.items():
        if _WORDS.search(name) and not _layer(name) and (tied or "lm_head" not in name):
            if shape in seen:
                continue
            seen.add(shape)
        kept[name] = shape
    return kept


def _layer(name: str) -> tuple[str, int] | None:
    """(Stack, number) of the layer where a tensor lies: `encoder.layer.3.output.dense.weight` -> `encoder.layer`, 3."""
    found = re.match(r"(.*?)\.(\d+)\.", name)
    return (found[1], int(found[2])) if found else None


def _stacks(shapes: Shapes, config: Mapping[str, Any]) -> dict[str, int]:
    """Name -> layers of the stacks that `core.models.adapting.layer_stacks` finds in the model."""
    counts: dict[str, int] = {}
    for place in filter(None, map(_layer, shapes)):
        counts[place[0]] = max(counts.get(place[0], 0), place[1] + 1)
    return {name: counts[name] for name in longest(counts, both=bool(config.get("is_encoder_decoder")))}


def _frozen(body: Shapes, config: Mapping[str, Any], spec: TrainSpec | Adapting) -> dict[str, tuple[int, ...]]:
    stacks = _stacks(body, config)

    def is_frozen(name: str) -> bool:
        place = _layer(name)
        if place and place[0] in stacks:
            return place[1] < spec.freeze_layers
        between = spec.freeze_layers and BESIDE_TABLES.search(name)
        return spec.freeze_embeddings and bool(_EMBEDDING.search(name) or between)

    return {name: shape for name, shape in body.items() if is_frozen(name)}


def _targets(body: Shapes, config: Mapping[str, Any], spec: TrainSpec | Adapting) -> dict[str, tuple[int, ...]]:
    """The linear layers that get matrices."""
    stacks = _stacks(body, config)
    inside = {}
    for name, shape in body.items():
        place = _layer(name)
        linear = len(shape) == 2 and name.endswith(".weight") and not _EMBEDDING.search(name)
        # Experts are no linear layers once they are loaded.
        if linear and place and place[0] in stacks and place[1] >= spec.freeze_layers and ".experts." not in name:
            inside[name] = shape
    if not inside:
        raise UserError("layers_all_frozen", layers=max(stacks.values(), default=0))
    names = attention_of(list(inside)) if spec.lora_targets == "attention" else list(inside)
    return {name: inside[name] for name in names}


def _matrix_numbers(shape: tuple[int, ...], config: Mapping[str, Any], spec: TrainSpec | Adapting) -> int:
    """Numbers beside one linear layer: two thin matrices, and with DoRA a length for each of its outputs."""
    outputs = shape[1] if config.get("model_type") in _TRANSPOSED else shape[0]
    return spec.lora_rank * sum(shape) + (outputs if spec.lora_dora else 0)


def _count(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
