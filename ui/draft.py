"""What a person has chosen so far, kept on the server so that a reload, a restart or a second window loses nothing."""

import hashlib
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from core import files
from core.spec import AugmentChoice, ModelChoice, SplitChoice


class Draft(BaseModel):
    """The choices of one owner.

    Attributes:
        table: id of the table with the examples.
        task: id of what the examples are for.
        columns: role -> column name or names.
        guess: why this task and these columns: `task`, `reason`, `facts`, `languages`; None where they were chosen.
        fixes: what is mended, finding's code -> fix.
        split: how the rows are divided.
        augment: changed copies of training rows.
        test_table: id of a table with test rows of the person's own.
        model: which model to start from.
        knobs: the settings (knobs and switches) moved by hand; the others follow the recommendation.
        tokens: text lengths as measured last, with `key` saying of which column and which model.
        run: id of the run that is shown.
        tab: the tab opened last.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    table: str | None = None
    task: str = "classification"
    columns: dict[str, str | tuple[str, ...]] = {}
    guess: dict[str, Any] | None = None
    fixes: dict[str, str] = {}
    split: SplitChoice = SplitChoice()
    augment: AugmentChoice = AugmentChoice()
    test_table: str | None = None
    model: ModelChoice = ModelChoice()
    knobs: dict[str, bool | int | float | str] = {}
    tokens: dict[str, Any] | None = None
    run: str | None = None
    tab: str = "data"


class DraftStore:
    """One small file per owner below `home/drafts`."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "drafts"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()

    def read(self, owner: str) -> Draft:
        """The owner's draft; an empty one where there is none or it is damaged."""
        try:
            return Draft.model_validate_json(self._path(owner).read_bytes())
        except (FileNotFoundError, ValidationError):
            return Draft()

    def change(self, owner: str, **changes: Any) -> Draft:
        """Write some fields and leave the others.

        Raises:
            UserError: `disk_full`.
        """
        with self._lock:
            before = self.read(owner)
            draft = before.model_copy(update=changes)
            if draft != before:
                files.write_bytes(self._path(owner), draft.model_dump_json(indent=1).encode())
        return draft

    def _path(self, owner: str) -> Path:
        return self._folder / f"{hashlib.sha256(owner.encode()).hexdigest()[:32]}.json"
