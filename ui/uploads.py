"""What becomes of gradio's copy of an upload.

gradio names the folder of a copy after its content. Two people who hand in the same file at the same time, as a class
does, would share one copy, and whoever is read first would remove it under the other.
"""

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradio import routes


def keep_apart() -> None:
    """Let each request's files arrive in a folder of their own, whose name nobody can guess."""
    receive = routes.upload_fn
    if getattr(receive, "keeps_apart", False):
        return

    async def receive_apart(request: Any, upload_dir: str | Path, *rest: Any, **options: Any) -> Any:
        return await receive(request, str(Path(upload_dir) / secrets.token_hex(16)), *rest, **options)

    receive_apart.keeps_apart = True  # type: ignore[attr-defined]
    routes.upload_fn = receive_apart


def remove(path: Path) -> None:
    """Remove gradio's copy of an upload and the folders made for it: whoever knew its address could read it."""
    path.unlink(missing_ok=True)
    for folder in path.parents[:2]:
        with suppress(OSError):
            folder.rmdir()
