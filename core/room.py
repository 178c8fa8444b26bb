"""Whether there is room on the disk, and in a person's part of it."""

import shutil
from pathlib import Path

from core.errors import UserError
from core.settings import MEBIBYTE, Settings


def check(settings: Settings, folder: Path, size: int, used: int) -> None:
    """Refuse before the first byte what would fill the disk, or on a shared page the person's part of it.

    Args:
        settings: says how much stays free, and how much a person may have.
        folder: lies on the disk in question.
        size: bytes to come.
        used: bytes that the person has already.

    Raises:
        UserError: `disk_full`, `quota_full`.
    """
    limits = settings.limits
    if shutil.disk_usage(folder).free - size < limits.free_disk:
        raise UserError("disk_full")
    if settings.on_space and used + size > limits.owner_bytes:
        raise UserError("quota_full", used_mb=used // MEBIBYTE, limit_mb=limits.owner_bytes // MEBIBYTE)
