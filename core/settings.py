"""The only reader of the environment: where things live, what the limits are, which kind of place this is."""

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import platformdirs

from core.cores import usable_cores

_SAVES = "TUNING_FORK_SECONDS_BETWEEN_SAVES"
MEBIBYTE = 2**20
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Limits:
    """Bounds on what a person may hand in and use. Sizes in bytes, times in seconds.

    Attributes:
        owner_runs: runs of an owner that work or wait.
        queued_runs: runs of everybody that work or wait.
        run_seconds: after so long a run is stopped, its best so far kept; 0 for never.
        seconds_between_saves: so much work can be lost, and the step that is under way.
    """

    file_bytes: int = 200 * MEBIBYTE
    rows: int = 1_000_000
    columns: int = 500
    cell_characters: int = MEBIBYTE
    depth: int = 64
    reader_memory: int = 2 * GIBIBYTE
    reader_cpu: int = 30
    reader_wall: int = 60
    children: int = 3
    doctor_memory: int = 4 * GIBIBYTE
    doctor_cpu: int = 150
    doctor_wall: int = 180
    classes: int = 1_000
    free_disk: int = 5 * GIBIBYTE
    owner_bytes: int = 2 * GIBIBYTE
    owner_runs: int = 20
    queued_runs: int = 200
    run_seconds: float = 0.0
    seconds_between_saves: float = 60.0
    hub_timeout: float = 4.0
    predict_timeout: float = 30.0


@dataclass(frozen=True)
class Settings:
    """Everything that the place decides.

    Attributes:
        home: folder of runs, tables and drafts.
        place: `space` on a Hugging Face Space, else `local`.
        lasting: whether `home` is still there after a restart; most Spaces have no such disk.
        host: address that the page listens on.
        port: port asked for, None for the first free one from 7860.
        open_browser: whether to open the page in a browser on start.
        hub_endpoint: base address of the Hub.
        limits: bounds on files, rows, time.
    """

    home: Path
    place: Literal["local", "space"] = "local"
    lasting: bool = True
    host: str = "127.0.0.1"
    port: int | None = None
    open_browser: bool = False
    hub_endpoint: str = "https://huggingface.co"
    limits: Limits = field(default_factory=Limits)

    @property
    def on_space(self) -> bool:
        """Whether strangers share this page."""
        return self.place == "space"


def default_home() -> Path:
    """The folder that the platform foresees for a user's application data."""
    return Path(platformdirs.user_data_dir("tuning-fork", appauthor=False))


def from_environment(home: Path | None = None) -> Settings:
    """Read the settings from the environment.

    Args:
        home: overrides `TUNING_FORK_HOME`.
    """
    on_space = bool(os.environ.get("SPACE_ID"))
    named = os.environ.get("TUNING_FORK_HOME")
    disk = Path("/data/tuning-fork") if on_space and os.access("/data", os.W_OK) else None
    chosen = home or (Path(named) if named else disk or default_home())
    port = os.environ.get("GRADIO_SERVER_PORT")
    wants_browser = os.environ.get("TUNING_FORK_BROWSER", "1") != "0"
    has_screen = os.name == "nt" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "__CFBundleIdentifier")
    )
    return Settings(
        home=chosen.expanduser().resolve(),
        place="space" if on_space else "local",
        lasting=not on_space or (disk is not None and chosen.is_relative_to("/data")),
        host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if on_space else "127.0.0.1"),  # noqa: S104 (a Space must)
        port=int(port) if port else None,
        open_browser=wants_browser and has_screen and not on_space,
        hub_endpoint=os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/"),
        limits=replace(
            Limits(owner_runs=3, queued_runs=50, run_seconds=2 * 3600) if on_space else Limits(),
            seconds_between_saves=float(os.environ.get(_SAVES, Limits.seconds_between_saves)),
        ),
    )


def terminal_language() -> str:
    """Language of the command line's sentences, from the locale: `zh-CN` or `en`."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh-CN" if locale.lower().startswith("zh") else "en"


def thread_limit() -> int:
    """How many threads whoever started us allows for computing (`OMP_NUM_THREADS`); 0 where that is not said."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() else 0


# What a child process may know: enough to find Python, libraries and a temporary folder, and nothing secret.
_PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "SSL_CERT_FILE", "HTTPS_PROXY",
    "NO_PROXY",
)  # fmt: skip


# Each thread of a child that reads has a stack and may have a heap of its own, which count against its limit of address
# space: with one for each core, a machine of 16 leaves it no room.
_FEW_THREADS = 4
_LITTLE_MEMORY = (f"arena_max={_FEW_THREADS}",)
# A step takes and gives back the same hundreds of megabytes. glibc would give them to the system each time, to be given
# each page of 4 KiB anew and emptied: so it keeps them, and asks for pages of 2 MiB. Other libraries don't read this.
_MEMORY = ("hugetlb=1", f"mmap_threshold={32 * 2**20}", f"trim_threshold={2**30}", f"top_pad={64 * 2**20}")
# How often a thread that waits for the others looks before it sleeps, where this many times as much work wants cores
# as there are: for .3 ms. By itself it looks for nine, at the cost of whom it waits for. Where a core has nothing
# else to do that is right, as waking takes long.
_LOOKS, _CROWDED = "10000", 1.25


def _is_crowded() -> bool:
    """Whether, in the last minute, much more work wanted cores of this machine than it has."""
    with suppress(AttributeError, OSError):  # Windows does not tell
        return os.getloadavg()[0] > _CROWDED * (os.cpu_count() or 1)
    return False


def child_environment(settings: Settings, *, online: bool = False, computes: bool = False) -> dict[str, str]:
    """The whole environment of a child process: no token, and no Hub unless it is the fetcher.

    Args:
        computes: whether it trains or answers: it gets memory in large pieces, which it keeps.
    """
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    kept = _MEMORY if computes else _LITTLE_MEMORY
    passed["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{setting}" for setting in kept)
    cores = usable_cores(asked=thread_limit())
    threads = str(cores if computes else min(cores, _FEW_THREADS))
    passed |= {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    if "OMP_WAIT_POLICY" not in passed and _is_crowded():
        passed.setdefault("GOMP_SPINCOUNT", _LOOKS)
    return passed | {
        "HOME": str(settings.home / "cache"),
        "HF_HOME": str(settings.home / "cache" / "huggingface"),
        "HF_ENDPOINT": settings.hub_endpoint,
        "HF_HUB_OFFLINE": "0" if online else "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "true",
        # Each shape of a matrix product is compiled and kept, about a megabyte each, up to 1,024 of them.
        "LRU_CACHE_CAPACITY": "256",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
        "OPENBLAS_NUM_THREADS": "2",  # it reserves address space for each thread, which counts against a child's limit
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "TUNING_FORK_HOME": str(settings.home),
        _SAVES: str(settings.limits.seconds_between_saves),
    }
