"""Families of models, by the `model_type` of their config: what kind each is, and whether it can sort texts.

Known here so that the page need not import transformers to say no; a test compares the lists with the library's own.
"""

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["encoder", "decoder", "seq2seq"]

# They read a text at once and fill gaps in it.
ENCODERS = frozenset(
    {
        "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert",
        "electra", "ernie", "eurobert", "fnet", "ibert", "longformer", "megatron-bert", "mobilebert", "modernbert",
        "mpnet", "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roformer", "squeezebert",
        "xlm-roberta", "xlm-roberta-xl",
    }
)  # fmt: skip
# They go on with a text. Only those for texts alone, and none that is read from packed weights.
DECODERS = frozenset(
    {
        "apertus", "arcee", "biogpt", "bloom", "codegen", "cohere", "cohere2", "ernie4_5", "exaone4", "falcon",
        "falcon_h1", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox",
        "gptj", "granite", "granitemoe", "granitemoehybrid", "granitemoeshared", "helium", "hunyuan_v1_dense", "lfm2",
        "llama", "ministral", "ministral3", "mistral", "mixtral", "modernbert-decoder", "mpt", "nanochat", "nemotron",
        "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3",
        "qwen3_5_text", "qwen3_moe", "seed_oss", "smollm3", "stablelm", "starcoder2", "vaultgemma", "xglm",
    }
)  # fmt: skip
# They read one text and write another. NLLB is of the family m2m_100.
SEQ2SEQ = frozenset(
    {
        "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "led", "longt5", "m2m_100", "marian", "mbart",
        "mt5", "pegasus", "pegasus_x", "plbart", "t5", "umt5",
    }
)  # fmt: skip
# Names that people know, for messages.
_EXAMPLES: dict[str, str] = {
    "encoder": "BERT, RoBERTa, DeBERTa, ModernBERT",
    "decoder": "Qwen, Llama, Gemma, SmolLM2, GPT-2",
    "seq2seq": "T5, BART, Marian (Opus-MT)",
}
_WITHOUT_LABELS = frozenset(
    {
        "apertus", "blenderbot", "blenderbot-small", "codegen", "cohere", "cohere2", "ernie4_5", "falcon_h1", "granite",
        "granitemoe", "granitemoehybrid", "granitemoeshared", "led", "lfm2", "longt5", "m2m_100", "marian", "nanochat",
        "olmoe", "pegasus", "pegasus_x", "vaultgemma", "xglm",
    }
)  # fmt: skip
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(ENCODERS, "encoder"),
    **dict.fromkeys(DECODERS, "decoder"),
    **dict.fromkeys(SEQ2SEQ, "seq2seq"),
}


def kind_of(config: Mapping[str, Any]) -> Kind | None:
    """What kind of model a `config.json` describes, whatever head it was saved with; None for families unknown here.

    An encoder that was made to write (`is_decoder`) is neither.
    """
    family = config.get("model_type")
    kind = _KINDS.get(family) if isinstance(family, str) else None
    return None if kind == "encoder" and config.get("is_decoder") else kind


def labels_possible(model_type: str) -> bool:
    """Whether transformers puts a classification head on models of this family."""
    return model_type in _KINDS and model_type not in _WITHOUT_LABELS


def suits(config: Mapping[str, Any], kinds: tuple[str, ...], *, labels: bool = False) -> bool:
    """Whether a model is of one of these kinds.

    Args:
        labels: whether it must also take a classification head.
    """
    return kind_of(config) in kinds and (not labels or labels_possible(str(config.get("model_type"))))


def examples(kinds: tuple[str, ...]) -> str:
    """Some families of these kinds, as people call them."""
    return ", ".join(_EXAMPLES[kind] for kind in kinds if kind in _EXAMPLES)
