"""What lies where in the private repository in which a person's runs are kept, and what may lie there at all."""

import re
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from core.models import parts
from core.runs.store import RunRecord, State
from core.settings import MEBIBYTE
from core.training.checkpoints import FACTS, JUDGED, MANIFEST

NAME = TAG = "tuning-fork-kept"
CARD = f"""---
tags:
- {TAG}
---

# Runs kept by Tuning Fork

A page that forgets everything when it restarts keeps runs here while they train: their tables, settings, states and
results. It brings them back when you ask it to. Keep this repository private: it holds your data. What is in it is
replaced as training goes on; what you delete here is no longer kept.
"""
RECORD, SPEC, EVENTS, REPORT = "run.json", "spec.json", "events.jsonl", "report.json"
MOST_RECORD_BYTES = 64 * 2**10
# A state's own files. Those of torch are pickles: who reads them must ask for `weights_only`, as training does.
TORCH = frozenset({"optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "state.pt"})
_STATE = TORCH | {"changed.safetensors", "trainer_state.json", FACTS, MANIFEST}
_ADAPTER = frozenset({"adapter_config.json", "adapter_model.safetensors"})
_PLAIN = frozenset({RECORD, SPEC, EVENTS, REPORT, JUDGED})
_FOLDERED = re.compile(r"(checkpoints/step-\d{1,9}|best/step-\d{1,9}|model|adapter)/([A-Za-z0-9_.-]{1,80})")
_TABLE = re.compile(r"tables/[0-9a-f]{64}\.(parquet|json)")
_RUN = re.compile(r"[0-9a-f]{32}")
_MOST_TEXT_BYTES = 64 * MEBIBYTE
_ENDED: tuple[State, ...] = ("FINISHED", "STOPPED", "FAILED")


class Why(BaseModel):
    """Why a run failed: the code and facts of a UserError."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    code: str = Field(pattern=r"^[a-z_]{1,60}$")
    facts: dict[str, str | int | float | bool] = {}


class Kept(BaseModel):
    """What is kept of a RunRecord, whose fields have the same names: everything but the owner and the place.

    Attributes:
        step: of the newest state that is kept, 0 for none.
        saved: when that was, seconds since the epoch.
        bytes: of all its files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    state: State
    attempt: int = Field(ge=0, le=1_000_000)
    created: float = Field(ge=0)
    name: str = Field(max_length=1_000)
    task: str = Field(max_length=60)
    has_result: bool
    error: Why | None = None
    headline: dict[str, float] = {}
    note: str = Field(default="", max_length=100_000)
    parts: int = Field(ge=1, le=1_000)
    seconds: float = Field(ge=0)
    ended_by: str = Field(default="", max_length=60)
    step: int = Field(ge=0)
    saved: float = Field(ge=0)
    bytes: int = Field(ge=0)

    @classmethod
    def of(cls, record: RunRecord, step: int, saved: float, size: int) -> Self:
        """What to keep of a record."""
        own = {name: getattr(record, name) for name in cls.model_fields.keys() - {"step", "saved", "bytes"}}
        return cls(**own, step=step, saved=saved, bytes=size)

    def facts(self) -> dict[str, Any]:
        """The fields of the RunRecord that it was made of. Of a run that was under way, it tells that it no longer is.

        The run's id is not among them: there may be another of that id by now.
        """
        found = self.model_dump(exclude={"id", "step", "saved", "bytes"})
        ended = self.state in _ENDED and (self.state != "FINISHED" or self.has_result)
        return found | {"state": self.state if ended else "INTERRUPTED"}


def is_run(run_id: str) -> bool:
    """Whether it can be the id of a run."""
    return bool(_RUN.fullmatch(run_id))


def folder(run_id: str) -> str:
    """Where a run lies in the repository, with a slash at the end."""
    return f"runs/{run_id}/"


def may_be_kept(path: str) -> bool:
    """Whether a file may lie at this path below a run's folder."""
    if path in _PLAIN or _TABLE.fullmatch(path):
        return True
    found = _FOLDERED.fullmatch(path)
    if not found:
        return False
    place, name = found[1].split("/")[0], found[2]
    if place == "checkpoints":
        return name in _STATE
    if place == "adapter":
        return name in _ADAPTER or name == MANIFEST
    return parts.is_part(name) or name == MANIFEST or (place == "best" and (name in _ADAPTER or name == FACTS))


def most_bytes(path: str, table_bytes: int) -> int | None:
    """How large such a file may be; None for weights and states, which count together alone.

    Args:
        table_bytes: bound on a table.
    """
    if path == RECORD:
        return MOST_RECORD_BYTES
    if path.endswith(".parquet"):
        return table_bytes
    weights = path.endswith(".safetensors") or path.rpartition("/")[2] in TORCH
    return None if weights else _MOST_TEXT_BYTES
