"""Which files make up a model that loads from a folder: nothing else is fetched, zipped or published."""

import re
from pathlib import Path

_NAMED = frozenset(
    {
        "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json", "merges.txt",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
        "chat_template.jinja", "bpe.codes",
        # SentencePiece: T5 and Pegasus; mBART, NLLB and M2M100; Llama and Gemma; DeBERTa; RemBERT; Marian's two.
        "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model", "sentencepiece.model",
        "source.spm", "target.spm", "target_vocab.json",
    }
)  # fmt: skip
_ADAPTER = frozenset({"adapter_config.json", "adapter_model.safetensors"})
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")


def is_part(name: str) -> bool:
    """Whether a file of this name, at the top of a folder or repository, belongs to a model."""
    return name in _NAMED or is_weights(name)


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights (whole or a shard) as safetensors."""
    return bool(_WEIGHTS.fullmatch(name))


def model_files(folder: Path) -> list[Path]:
    """The files of a model in a folder, sorted by name. Links are passed over: they could lead anywhere."""
    return sorted(f for f in folder.iterdir() if is_part(f.name) and f.is_file() and not f.is_symlink())


def adapter_files(folder: Path) -> list[Path]:
    """The files of an adapter in a folder, sorted by name; they belong to no model that loads by itself."""
    return sorted(f for f in folder.iterdir() if f.name in _ADAPTER and f.is_file() and not f.is_symlink())
