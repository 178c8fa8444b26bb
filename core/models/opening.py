"""A model folder as a model and its tokenizer: no code from it, no more memory than its file has numbers."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.loading import check_folder, tensor_shapes

_SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
# What a config may ask for beyond what its file holds: position tables that are computed, a new head.
_SPARE_NUMBERS = 2**25
# Share of the body's numbers that may start from chance, as the pooler does where it was not trained before.
_LEAST_KNOWN = 0.9
# They count positions from after the number of the padding token.
_SHIFTED_POSITIONS = frozenset(
    {
        "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
        "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
# They know where a word stands by its distance alone, so that no length is too long for them.
_RELATIVE_POSITIONS = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers", "bloom", "mpt", "xlnet"})
_POSITIONS = ("max_position_embeddings", "n_positions", "max_encoder_position_embeddings")
_VOCABULARY = re.compile(r"tokenizer\.json|vocab\.(txt|json)|.+\.(model|spm|codes|tiktoken)")
_USUAL_PADDING = ("<pad>", "[PAD]", "<|pad|>", "<|endoftext|>", "<|finetune_right_pad_id|>", "</s>")
_LAYERS = frozenset(
    {
        "num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers",
        "num_encoder_layers", "num_decoder_layers",
    }
)  # fmt: skip
_HEADS = ("classifier", "score", "classification_head")


def open_model(
    folder: Path,
    auto: str,
    *,
    overrides: dict[str, Any] | None = None,
    new_head: bool = False,
    dtype: str = "float32",
    quantization: Any = None,
) -> tuple[Any, Any]:
    """The (model, tokenizer) of a folder, on the CPU unless quantized. The tokenizer has a padding token.

    Args:
        folder: as `core.models.loading.resolve` gives it.
        auto: name of an auto class of transformers, `AutoModelForCausalLM`.
        overrides: entries of the config that are set before building.
        new_head: whether the head is to start anew, where its size or its labels are others.
        dtype: name of a torch type, in which the weights are held.
        quantization: as `core.models.adapting.quantization` gives it, for CUDA alone.

    Raises:
        UserError: `model_not_loadable`, `model_config_mismatch` (the config does not belong to the weights),
            `model_head_missing` (the weights have no head, and none is to start anew), `tokenizer_no_pad`
            and what `open_tokenizer` raises.
    """
    raw = check_folder(folder)
    with loading_is_a_user_error(folder.name):
        import torch
        import transformers

        config = transformers.AutoConfig.from_pretrained(folder, **_SAFE, **(overrides or {}))
        built = getattr(transformers, auto)
        attention = _check_size(folder, config, built)
        model, told = built.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            attn_implementation=attention,
            dtype=getattr(torch, dtype),
            ignore_mismatched_sizes=new_head,
            output_loading_info=True,
            **({"quantization_config": quantization, "device_map": {"": 0}} if quantization else {}),
            **_SAFE,
        )
        _check_known(model, told, folder.name, new_head=new_head)
    tokenizer = open_tokenizer(folder)
    _ensure_padding(model, tokenizer, folder.name)
    if new_head and "SequenceClassification" in " ".join(raw.get("architectures") or []):
        _reset_head(model)
    return model, tokenizer


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, as it is.

    Raises:
        UserError: `model_not_loadable`, `tokenizer_missing` and what `check_folder` raises.
    """
    check_folder(folder)
    with loading_is_a_user_error(folder.name):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, **_SAFE)
    # Without a file the library makes one that knows no word, but for those that read bytes and need none.
    if tokenizer.vocab_files_names and not any(_VOCABULARY.fullmatch(file.name) for file in folder.iterdir()):
        raise UserError("tokenizer_missing", name=folder.name)
    return tokenizer


def positions(config: Any) -> int:
    """Longest input in tokens that a model was made for; 0 where it has no such limit or none is known.

    Args:
        config: of a loaded model.
    """
    if config.model_type in _RELATIVE_POSITIONS:
        return 0
    told = [getattr(config, name, None) for name in _POSITIONS]
    limit = next((value for value in told if isinstance(value, int) and value > 0), 0)
    shift = (config.pad_token_id or 0) + 1 if config.model_type in _SHIFTED_POSITIONS else 0
    return max(0, limit - shift)


def limit_length(tokenizer: Any, model: Any, max_length: int) -> int:
    """Set `tokenizer.model_max_length` to what is asked for, or to what the model can bear, and return it."""
    most = positions(model.config)
    tokenizer.model_max_length = min(max_length, most) if most else max_length
    return int(tokenizer.model_max_length)


@contextmanager
def loading_is_a_user_error(name: str) -> Iterator[None]:
    """Turn whatever a library makes of a stranger's files into `UserError("model_not_loadable")`.

    Configs and tokenizers can break the libraries in any way, so everything is caught but what is no fault of the
    files. A panic of the tokenizers' Rust code is no `Exception` at all.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except BaseException as error:
        from torch import OutOfMemoryError

        mine = isinstance(error, Exception) and not isinstance(error, OutOfMemoryError)
        if mine or type(error).__name__ == "PanicException":
            raise UserError("model_not_loadable", name=name) from error
        raise


def _check_size(folder: Path, config: Any, built: Any) -> str:
    """Refuse a config that asks for far more numbers than the file holds, before they take memory.

    Returns:
        The kind of attention that the model can use.
    """
    import torch

    held = tensor_shapes(folder)
    most = 2 * sum(math.prod(shape) for shape in held.values()) + _SPARE_NUMBERS
    if any(layers > len(held) for layers in _layer_counts(config.to_dict())):
        raise UserError("model_config_mismatch", name=folder.name)
    attention, shell = "sdpa", None
    with torch.device("meta"):
        try:
            shell = built.from_config(config, attn_implementation=attention, trust_remote_code=False)
        except ValueError:  # a family without this kind of attention; anything else is wrong with both
            attention = "eager"
            shell = built.from_config(config, attn_implementation=attention, trust_remote_code=False)
    if sum(part.numel() for part in (*shell.parameters(), *shell.buffers())) > most:
        raise UserError("model_config_mismatch", name=folder.name)
    return attention


def _layer_counts(config: dict[str, Any]) -> Iterator[int]:
    """Every number of layers in a config: each of them becomes an object, of which the file must have a tensor."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _layer_counts(value)
        elif name in _LAYERS and isinstance(value, int):
            yield value


def _check_known(model: Any, told: dict[str, Any], name: str, *, new_head: bool) -> None:
    """Refuse a model whose body, or whose head where it is to be kept, did not come from the file."""
    parts = {key: part.numel() for key, part in model.state_dict().items()}
    unknown = {*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])} & parts.keys()
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    if not new_head and any(not key.startswith(prefix) for key in unknown):
        raise UserError("model_head_missing", name=name)
    body = sum(size for key, size in parts.items() if key.startswith(prefix))
    lost = sum(parts[key] for key in unknown if key.startswith(prefix))
    if body - lost < _LEAST_KNOWN * body:
        raise UserError("model_config_mismatch", name=name)


def _ensure_padding(model: Any, tokenizer: Any, name: str) -> None:
    """Give the tokenizer a padding token where it has none: the end token, a usual one, or a new one."""
    if tokenizer.pad_token is None:
        words = tokenizer.get_vocab()
        tokenizer.pad_token = tokenizer.eos_token or next((word for word in _USUAL_PADDING if word in words), None)
    if tokenizer.pad_token is None:
        try:
            tokenizer.add_special_tokens({"pad_token": "<pad>"})
            if len(tokenizer) > model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        except (NotImplementedError, AttributeError, ValueError) as error:
            raise UserError("tokenizer_no_pad", name=name) from error
    model.config.pad_token_id = tokenizer.pad_token_id


def _reset_head(model: Any) -> None:
    """Forget an earlier classifier's head, which may have the same shape for other labels."""
    for name in _HEADS:
        head = getattr(model, name, None)
        if head is not None:
            for layer in head.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
