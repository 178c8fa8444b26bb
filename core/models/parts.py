"""Which files make up a model that loads from a folder: nothing else is fetched, zipped or published."""

import re
from pathlib import Path

from core.errors import UserError

_NAMED = frozenset(
    {
        "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json", "merges.txt",
        "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
        "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
    }
)  # fmt: skip
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_REPO = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")


def is_part(name: str) -> bool:
    """Whether a file of this name, at the top of a folder or repository, belongs to a model."""
    return name in _NAMED or is_weights(name)


def is_weights(name: str) -> bool:
    """Whether a file of this name holds weights (whole or a shard) as safetensors."""
    return bool(_WEIGHTS.fullmatch(name))


def model_files(folder: Path) -> list[Path]:
    """The files of a model in a folder, sorted by name. Links are passed over: they could lead anywhere."""
    return sorted(f for f in folder.iterdir() if is_part(f.name) and f.is_file() and not f.is_symlink())


def check_id(name: str, endpoint: str = "https://huggingface.co", code: str = "model_id_malformed") -> str:
    """A repository name, `org/name` or `name`, as the Hub spells it; a pasted link to the endpoint is stripped first.

    Paths, other addresses and anything else that is no name are refused before any file or address is opened.

    Args:
        name: what the person typed.
        endpoint: base address of the Hub.
        code: error code to raise.

    Raises:
        UserError: `model_id_malformed` (or `code`).
    """
    stripped = name.strip()
    prefix = endpoint.rstrip("/") + "/"
    if stripped.startswith(prefix):
        stripped = stripped.removeprefix(prefix).removesuffix("/")
    segments = stripped.split("/")
    whole = 1 <= len(segments) <= 2 and all(_REPO.fullmatch(s) and s.isascii() for s in segments)
    # `--` and `..` are refused by the Hub too; so `--` can stand for the slash in a folder's name.
    if not whole or "--" in stripped or ".." in stripped or stripped.endswith(".git"):
        raise UserError(code, name=name[:120])
    return stripped
