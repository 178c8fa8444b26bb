"""Compiles `kernels.c` beside what a process does meanwhile, and keeps what came of it for later ones."""

import ctypes
import os
import platform
import shutil
import stat
import subprocess
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from core.errors import UserError
from core.files import write_bytes
from core.models.kernel_arguments import GROUP, PART, ROWS, WIDEST
from core.models.kernels import Kernels

_SOURCE, _PROCESSOR = Path(__file__).with_name("kernels.c"), Path("/proc/cpuinfo")
# No promise is given up but those of errno and of traps, which nobody asks about: sums of lanes are written as such.
_FLAGS = (
    "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", f"-DPART={PART}",
    f"-DROWS={ROWS}", f"-DWIDEST={WIDEST}", f"-DGROUP={GROUP}",
)  # fmt: skip
_X86_FLAGS = ("-mprefer-vector-width=512",)
# Compiling takes some three seconds on a machine that has nothing else to do.
_LONGEST_WAIT = 60.0


@cache
def begin() -> "tuple[subprocess.Popen[bytes], str, TemporaryDirectory[str]] | None":
    """Begin to compile, beside what this process does meanwhile; None without a compiler. Once in a process.

    What an earlier process of this user compiled on this machine is taken from where it was kept.
    """
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    folder = TemporaryDirectory(prefix="kernels-")
    built = Path(folder.name) / "kernels.o"
    command: tuple[str, ...] = (compiler, *_flags(), "-c", str(_SOURCE), "-o", str(built))
    kept = _kept(compiler)
    if kept and kept.is_file():
        with suppress(OSError):
            shutil.copyfile(kept, built)
            command = (compiler, "--version")
    quiet: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        return subprocess.Popen(command, **quiet), compiler, folder
    except OSError:
        folder.cleanup()
        return None


@cache
def compiled() -> Kernels | None:
    """The steps, ready to be used and tried; None where they can't be compiled, or compute something else.

    Waits for the compiler, which takes some four seconds where it did not begin before, and nothing was kept.
    """
    begun = begin()
    if begun is None:
        return None
    process, compiler, folder = begun
    with folder, suppress(OSError, AttributeError, subprocess.SubprocessError):
        try:
            done = process.wait(_LONGEST_WAIT) == 0
        finally:
            process.kill()
        if not done:
            return None
        built, library = Path(folder.name) / "kernels.o", Path(folder.name) / "kernels.so"
        # Without libraries: what runs in parallel has to find PyTorch's threads, not others beside them.
        link = (compiler, "-shared", "-nostdlib", str(built), "-o", str(library))
        subprocess.run(link, check=True, timeout=_LONGEST_WAIT, stdin=subprocess.DEVNULL, capture_output=True)
        # Only now: these know what is defined above, and import torch with its threads.
        import torch

        from core.models.kernel_checks import agree, products_pay

        found = Kernels(ctypes.CDLL(str(library)))
        if agree(found):
            _keep(built, compiler)
            found.multiplies = found.multiplies and products_pay(found, torch.bfloat16)
            found.multiplies_exactly = products_pay(found, torch.float32)
            return found
    with suppress(OSError):  # what was kept may be damaged
        kept = _kept(compiler)
        if kept:
            kept.unlink(missing_ok=True)
    return None


def _flags() -> tuple[str, ...]:
    return (*_FLAGS, *(_X86_FLAGS if platform.machine() in ("x86_64", "AMD64") else ()))


def _kept(compiler: str) -> Path | None:
    """Where what this compiler makes of this source for this processor is kept; None where nothing may be.

    A folder of this user among temporary files, that nobody else can write to or read.
    """
    with suppress(OSError, AttributeError):
        folder = Path(gettempdir()) / f"tuning-fork-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        seen, made = folder.lstat(), Path(compiler).resolve().stat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
            return None
        # What a processor says of itself, but for what differs between its cores and from moment to moment.
        told = _PROCESSOR.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        processor = [
            line for line in told if line.startswith(("flags", "Features", "model", "cpu family", "vendor_id"))
        ]
        parts = (*_flags(), compiler, str(made.st_size), str(made.st_mtime_ns), *processor)
        return folder / (sha256(_SOURCE.read_bytes() + "\0".join(parts).encode()).hexdigest() + ".o")
    return None


def _keep(built: Path, compiler: str) -> None:
    """Keep what was compiled, whole or not at all."""
    kept = _kept(compiler)
    with suppress(OSError, UserError):
        if kept and not kept.exists():
            write_bytes(kept, built.read_bytes())


def ready() -> Kernels | None:
    """The same in a process that began to compile; None in others, which have too little to do for it."""
    return compiled() if begin.cache_info().currsize else None
