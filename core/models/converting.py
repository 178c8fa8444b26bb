"""The process that turns a packed model into an ordinary folder: `python -m core.models.converting FILE FOLDER`.

The numbers of a GGUF file are packed in few bits; here they are unpacked once and kept as float16 safetensors.
"""

import os
import sys
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from core.processes import end_with, limit_self
from core.quiet import quiet_libraries
from core.settings import GIBIBYTE

# Of address space, of which torch alone reserves about 3 GB.
_MOST_MEMORY = 8 * GIBIBYTE
_MOST_SECONDS = 600


def convert(packed: Path, folder: Path) -> None:
    """Write a decoder-only model and its tokenizer from a GGUF file into an empty folder.

    Source: the GGUF guide of transformers (`GgufConfig(dequantize=True)`).
    """
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils

    vars(gguf)["GGUFReader"] = cache(gguf.GGUFReader)  # config, weights and tokenizer are else read one after the other
    vars(modeling_gguf_pytorch_utils)["tqdm"] = _plain  # its bar heeds no switch
    safe: dict[str, Any] = {"gguf_file": packed.name, "local_files_only": True, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(
        packed.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **safe
    )
    tokenizer = AutoTokenizer.from_pretrained(packed.parent, **safe)
    _restore_pre_tokenizer(tokenizer, packed)
    tokenizer.model_max_length = model.config.max_position_embeddings
    for name in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(name, None)
    vars(model.config).pop("_model_name_or_path", None)  # a name that its makers gave a trial
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _restore_pre_tokenizer(tokenizer: Any, packed: Path) -> None:
    """Split digits from one another before the rest, as GGUF's rule `smollm` says and transformers leaves out."""
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    rule = GGUFReader(packed).get_field("tokenizer.ggml.pre")
    if rule is not None and rule.contents() == "smollm":
        inner = tokenizer.backend_tokenizer
        digits = pre_tokenizers.Digits(individual_digits=True)
        inner.pre_tokenizer = pre_tokenizers.Sequence([digits, inner.pre_tokenizer])


def _plain(items: Iterable[Any], **options: Any) -> Iterable[Any]:
    return items


def _end_with_parent() -> None:
    """Wait until nobody holds the other end of the input any more, then end at once: nobody would take the result."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_self(memory=_MOST_MEMORY, cpu=_MOST_SECONDS)
    quiet_libraries()
    end_with(convert, Path(sys.argv[1]), Path(sys.argv[2]))
