"""Where to compute and in which precision: chosen once per process, by measuring, and recorded with the reason."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from core.cores import usable_cores
from core.settings import thread_limit

Precision = Literal["float32", "bfloat16"]


# bfloat16 is used where its products are so many times as fast; below the second it is far from that.
_FASTER, _FAR_FROM_IT = 1.15, 0.4
# Where it is below this twice, nothing else explains it: some processors take a quarter of a second for such a product.
_HOPELESS = 0.1
# How often both are measured, and how often once more where bfloat16 does not seem to be faster.
_ROUNDS = (5, 25)


@dataclass(frozen=True)
class Device:
    """A choice made for the user, with its reason.

    Attributes:
        kind: `cpu`, `cuda` or `mps`.
        precision: number format of the matrix products.
        threads: processor threads used.
        reason: code of why this precision.
        bfloat16_speedup: measured rate of bfloat16 products as a multiple of float32, None where not measured.
        name: what the hardware calls itself.
    """

    kind: Literal["cpu", "cuda", "mps"]
    precision: Precision
    threads: int
    reason: str
    bfloat16_speedup: float | None = None
    name: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def usable_threads() -> int:
    """Processor cores that this process may use, and not more than `OMP_NUM_THREADS` where that is set."""
    return usable_cores(asked=thread_limit())


def has_cuda_driver() -> bool:
    """Whether this machine seems to have a CUDA card: told without torch, so for what to offer, not for what to do."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()


def detect() -> Device:
    """Choose the device: a CUDA card where there is one, else the CPU in the precision that measured faster here.

    The trial multiplies matrices of a small BERT's shape for about a quarter of a second. bfloat16 is taken only
    when it is at least 1.15 times as fast as float32, because autocast itself costs time.
    """
    import torch

    threads = usable_threads()
    if torch.cuda.is_available():
        # cuDNN's attention is built anew for each shape, and batches of texts have a hundred of them.
        torch.backends.cuda.enable_cudnn_sdp(False)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        name = torch.cuda.get_device_name(0)
        if bf16:
            return Device("cuda", "bfloat16", threads, "cuda_bfloat16", name=name)
        return Device("cuda", "float32", threads, "cuda_no_bfloat16", name=name)
    if torch.backends.mps.is_available():
        return Device("mps", "float32", threads, "mps_float32")
    torch.set_num_threads(threads)
    speedup = _speedup()
    name = torch.backends.cpu.get_cpu_capability()
    if speedup >= _FASTER:
        return Device("cpu", "bfloat16", threads, "cpu_bfloat16_faster", round(speedup, 2), name)
    return Device("cpu", "float32", threads, "cpu_float32_faster", round(speedup, 2), name)


def _speedup() -> float:
    """The rate of bfloat16 products as a multiple of float32's: the best of each, in turn.

    Where the machine is busy with something else, bfloat16 may seem to be no faster although a training would take
    four times as long without it: so that is looked at longer, unless it is far from it.
    """
    import torch

    best = {torch.bfloat16: 0.0, torch.float32: 0.0}
    for rounds in _ROUNDS:
        for number in range(rounds):
            for dtype in best:
                best[dtype] = max(best[dtype], _product_rate(dtype))
            found = best[torch.bfloat16] / best[torch.float32]
            if number and found < _HOPELESS:
                break
        if not _FAR_FROM_IT < found < _FASTER:
            break
    return found


def _product_rate(dtype: Any, seconds: float = 0.02) -> float:
    """Matrix products per second in this format: the best of as many as fit into the time, at least one."""
    import torch

    left, right = torch.randn(256, 384).to(dtype), torch.randn(384, 1536).to(dtype)
    left @ right  # the first call sets kernels and buffers up
    best, end = float("inf"), perf_counter() + seconds
    while best == float("inf") or perf_counter() < end:
        start = perf_counter()
        left @ right
        best = min(best, perf_counter() - start)
    return 1 / best
