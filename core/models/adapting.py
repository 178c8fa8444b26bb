"""How much of a model is changed: all of it, its last part, its head alone, or small matrices beside its weights."""

import importlib.util
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.models.catalogue import STARTERS
from core.spec import ModelChoice, TrainSpec

if TYPE_CHECKING:
    from core.device import Device

# What stays unrounded beside rounded weights: output layers, and heads and poolers, which are trained.
_UNROUNDED = ["lm_head", "classifier", "pre_classifier", "score", "classification_head", "head", "pooler.dense"]
# What stands between the tables and the first layer, as families name it: norms, and matrices that widen.
BESIDE_TABLES = re.compile(
    r"(^|\.)(embeddings|embeddings_project|embedding_hidden_mapping_in|layernorm_embedding|word_embeddings_layernorm|"
    r"layer_norm_emb|project_in|encoder\.LayerNorm)\."
)


def adapt(model: Any, spec: TrainSpec) -> Any:
    """The model with those weights open to change that `spec.method` names; the others stay as they are.

    `full` changes everything but what `freeze_embeddings` and `freeze_layers` name, and what stands between the two;
    where a language model writes with the same matrix that it reads with, freezing the embeddings freezes its output
    layer too. `lora` wraps the model:
    only the matrices, and the classification head where there is one, are changed. `quick` and `few` freeze
    everything: what they train, they choose themselves.

    Source: LoRA (Hu et al., 2021), DoRA (Liu et al., 2024), rsLoRA (Kalajdzievski, 2023), as `peft` computes them.

    Raises:
        UserError: `method_unsupported` for the head of a model that has none, `layers_all_frozen` where `freeze_layers`
            leaves no layer for matrices.
    """
    if spec.method == "lora":
        return _with_matrices(model, spec)
    if spec.method == "full":
        _freeze(model, spec)
        return model
    closed = _closed(model)
    model.requires_grad_(False)
    if spec.method == "head":
        if is_language_model(model):
            raise UserError("method_unsupported", method=spec.method)
        for name in head_modules(model):
            model.get_submodule(name).requires_grad_(True)
        _close(model, closed)
    return model


def trainable(model: Any) -> tuple[int, int]:
    """(Numbers that are open to change, all numbers). Shared ones count once, four-bit ones as what they stand for.

    Positions that are computed from sines are no numbers of the model: nothing is learned there.
    """
    open_to_change = total = 0
    computed = {name for name, module in model.named_modules() if "Sinusoidal" in type(module).__name__}
    for name, parameter in model.named_parameters():
        # The head as it was, which peft keeps beside the one that is trained, does not count either.
        if ".original_module." in name or name.rpartition(".")[0] in computed:
            continue
        count = parameter.numel()
        if type(parameter).__name__ == "Params4bit":
            count *= 2 * parameter.quant_storage.itemsize
        total += count
        open_to_change += count if parameter.requires_grad else 0
    return open_to_change, total


def is_adapted(model: Any) -> bool:
    """Whether the model carries matrices of its own beside its weights."""
    return hasattr(model, "merge_and_unload")


def merged(model: Any) -> Any:
    """A plain model with the matrices added to the weights; one without matrices as it is."""
    return model.merge_and_unload() if is_adapted(model) else model


def has_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole model."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def reopen(load: Callable[[], tuple[Any, Any]], checkpoint: Path) -> tuple[Any, Any]:
    """The plain (model, tokenizer) of a checkpoint that holds an adapter.

    Args:
        load: opens the base as before the training, in full precision: merging into rounded weights would round again.
    """
    from peft import PeftModel

    model, tokenizer = load()
    with _old_names():
        wrapped = PeftModel.from_pretrained(model, checkpoint)
    return merged(wrapped), tokenizer


def quantization(spec: TrainSpec, device: "Device") -> Any:
    """How `from_pretrained` shall round the frozen weights (a `BitsAndBytesConfig`), None for not at all.

    Four bits: NormalFloat with rounded scales. Source: QLoRA (Dettmers et al., 2023); eight bits: LLM.int8 (Dettmers et
    al., 2022).

    Raises:
        UserError: `quantization_needs_lora`, `quantization_needs_cuda`, `quantization_missing`.
    """
    if spec.quantization == "none":
        return None
    if spec.method != "lora":
        raise UserError("quantization_needs_lora", bits=spec.quantization)
    if device.kind != "cuda":
        raise UserError("quantization_needs_cuda", bits=spec.quantization)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("quantization_missing", bits=spec.quantization)
    import torch
    from transformers import BitsAndBytesConfig

    if spec.quantization == "8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_UNROUNDED)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=_UNROUNDED,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if device.precision == "bfloat16" else torch.float32,
    )


def rounding(spec: TrainSpec) -> Any:
    """`quantization` for this machine.

    Raises:
        UserError: as `quantization`.
    """
    if spec.quantization == "none":
        return None
    from core.device import detect

    return quantization(spec, detect())


def is_language_model(model: Any) -> bool:
    """Whether it writes (causal or encoder-decoder), rather than sorts."""
    return model.get_output_embeddings() is not None


def _closed(model: Any) -> set[str]:
    """Names of what stays as it is whatever the method: the first layer of a head that shall have one layer."""
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def _close(model: Any, names: set[str]) -> None:
    for name, parameter in model.named_parameters():
        # So peft calls the copy of a head that is trained.
        plain = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
        if plain in names:
            parameter.requires_grad_(False)


def head_modules(model: Any) -> list[str]:
    """Names of what a classifier has beside its body: head and pooler, as far as they hold numbers."""
    body = model.base_model
    names = [name for name, child in model.named_children() if child is not body]
    if body is not model and getattr(body, "pooler", None) is not None:
        names.append(f"{model.base_model_prefix}.pooler")
    return [name for name in names if any(True for _ in model.get_submodule(name).parameters())]


def layer_stacks(model: Any) -> list[str]:
    """Names of the lists of layers: one, or the encoder's and the decoder's; the longest where there are several."""
    from torch.nn import ModuleList

    found = {name: len(module) for name, module in model.named_modules() if isinstance(module, ModuleList)}
    outermost = {n: count for n, count in found.items() if not any(n.startswith(f"{other}.") for other in found)}
    return longest(outermost, both=bool(model.config.is_encoder_decoder))


def longest(stacks: dict[str, int], *, both: bool) -> list[str]:
    """The name of the longest stack; `both`: that of the encoder and that of the decoder. `stacks`: name -> layers."""
    sides = ("encoder", "decoder") if both else ("",)
    names = [[name for name in stacks if not side or side in name.split(".")] for side in sides]
    return [max(side, key=lambda name: stacks[name]) for side in names if side]


def _freeze(model: Any, spec: TrainSpec) -> None:
    from torch.nn import Embedding

    stacks = layer_stacks(model)
    for stack in stacks:
        for layer in model.get_submodule(stack)[: spec.freeze_layers]:
            layer.requires_grad_(False)
    if spec.freeze_embeddings:
        for name, module in model.named_modules():
            if isinstance(module, Embedding) and not any(name.startswith(f"{stack}.") for stack in stacks):
                module.requires_grad_(False)
    if spec.freeze_embeddings and spec.freeze_layers:
        # For the few numbers of a norm, gradients would go all the way through the frozen layers.
        for name, parameter in model.named_parameters():
            if BESIDE_TABLES.search(name):
                parameter.requires_grad_(False)


def _with_matrices(model: Any, spec: TrainSpec) -> Any:
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers.pytorch_utils import Conv1D

    targets = _targets(model, spec)
    writes = is_language_model(model)
    config = LoraConfig(
        task_type="SEQ_CLS" if not writes else "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        target_modules=targets,
        modules_to_save=None if writes else head_modules(model),
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        use_dora=spec.lora_dora,
        use_rslora=spec.lora_rslora,
        # GPT-2 keeps its matrices the other way round.
        fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),
    )
    closed = _closed(model)
    with _old_names():
        if getattr(model, "is_quantized", False):
            prepare: Callable[..., Any] = prepare_model_for_kbit_training
            model = prepare(model, use_gradient_checkpointing=False)
        wrapped = get_peft_model(model, config)
    _close(wrapped, closed)
    # peft has put the folder here that the base was opened from.
    config.base_model_name_or_path = _public_name(spec.model)
    config.revision = spec.model.revision if spec.model.source == "hub" else None
    return wrapped


@contextmanager
def _old_names() -> Iterator[None]:
    """Silence over peft's use of an attribute that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _targets(model: Any, spec: TrainSpec) -> list[str]:
    """Full names of the linear layers that get matrices: those inside the layers, so never head or embeddings."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    stacks = {name: len(model.get_submodule(name)) for name in layer_stacks(model)}
    inside = [
        name
        for stack in stacks
        for name, module in model.named_modules()
        if isinstance(module, Linear | Conv1D) and name.startswith(f"{stack}.")
        if int(name.removeprefix(f"{stack}.").split(".")[0]) >= spec.freeze_layers
    ]
    if not inside:
        raise UserError("layers_all_frozen", layers=max(stacks.values(), default=0))
    return attention_of(inside) if spec.lora_targets == "attention" else inside


def attention_of(names: list[str]) -> list[str]:
    """Those of the names that lie in an attention module; all where there is none (FNet mixes without attention).

    Every family names that module so: `attention`, `self_attn`, `encoder_attn`, `SelfAttention`, `attn`.
    """
    found = [name for name in names if any("att" in part.lower() for part in name.split("."))]
    return found or names


def _public_name(choice: ModelChoice) -> str:
    """What the base is called on the Hub; empty for one that lies here alone, whose place is nobody's business."""
    if choice.source == "starter" and choice.name in STARTERS:
        return STARTERS[choice.name].hub_id
    return choice.name if choice.source == "hub" else ""
