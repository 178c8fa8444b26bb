"""What this processor says that it can do, so that a test is never left out without a word where it can."""

from pathlib import Path

_FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
# Pairs of bfloat16 and fours of int8 are multiplied; and linear layers by the former, as there is nothing faster.
PAIRS_ARE_MULTIPLIED = "avx512_bf16" in _FLAGS and "avx512_vnni" in _FLAGS
LAYERS_ARE_COMPILED = PAIRS_ARE_MULTIPLIED and "amx_bf16" not in _FLAGS
# PyTorch lays out weights in bfloat16 for products.
_LAID_OUT = ("avx512bw", "avx512vl", "avx512dq")
WEIGHTS_ARE_LAID_OUT = all(name in _FLAGS for name in _LAID_OUT) or "avx_ne_convert" in _FLAGS
# Linear layers in 32 bits are compiled everywhere; these round to pairs of int16.
PAIRS_OF_INT16_ARE_MULTIPLIED = "avx2" in _FLAGS and ("avx512f" not in _FLAGS or "avx512bw" in _FLAGS)
