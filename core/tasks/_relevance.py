"""Which settings matter: to a task, under a method. What does not matter is not shown and not searched."""

from core.spec import knobs, switches

# What every kind of training needs.
_ALWAYS = frozenset({"max_length", "seed", "validation_fraction", "test_fraction", "method"})
_STEPS = frozenset({"learning_rate", "batch_size", "larger_batches", "epochs", "weight_decay", "warmup_ratio"})
_FREEZING = frozenset({"freeze_embeddings", "freeze_layers"})
_LORA = frozenset(
    {
        "lora_rank",
        "lora_alpha",
        "lora_dropout",
        "lora_targets",
        "lora_dora",
        "lora_rslora",
        "quantization",
        "keep_adapter",
    }
)
_BY_METHOD = {
    "full": _STEPS | _FREEZING,
    "lora": _STEPS | _LORA | {"freeze_layers"},
    "head": _STEPS,
    "quick": frozenset[str](),
    "few": frozenset[str](),
}

# What a task uses and a method does not: where the body only reads, nothing is dropped.
_UNUSED = {"quick": frozenset({"dropout"})}


def relevant(uses: frozenset[str], method: str) -> frozenset[str]:
    """Names of the fields of TrainSpec that matter.

    Args:
        uses: what the task declares.
        method: value of `TrainSpec.method`.
    """
    named = _ALWAYS | _BY_METHOD[method] | (uses - _UNUSED.get(method, frozenset()))
    return frozenset(named & {*knobs(), *switches()})
