"""Files that leave the house: a route of our own, because gradio serves a file to whoever knows its address."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from core.data.mending import mend
from core.data.understanding import known_columns
from core.errors import UserError
from core.publishing import adapter, archive, card
from ui import guard
from ui.overview import question
from ui.page import House, Visit
from ui.text import Text

_MENDED = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


def routes(house: House) -> list[Route]:
    """A run's model and adapter for its owner, and one's own table as it is mended.

    Anybody else gets what an unknown run gets.
    """

    def model_zip(request: Request) -> Response:
        def found(run_id: str, owner: str) -> list[archive.Entry]:
            house.runs.get(run_id, owner)
            told = card.for_run(house.runs, run_id, owner, house.settings, None)
            return archive.entries(house.runs.model_folder(run_id), told)

        return zipped(request, found, "")

    def adapter_zip(request: Request) -> Response:
        return zipped(request, lambda run_id, owner: adapter.entries(house.runs, run_id, owner), "-adapter")

    def zipped(request: Request, find: Callable[[str, str], list[archive.Entry]], suffix: str) -> Response:
        run_id = request.path_params["run_id"]
        try:
            found = find(run_id, guard.owner(request, house.settings))
            length = archive.archive_bytes(found)
        except UserError:
            return PlainTextResponse("Not found", 404)
        return StreamingResponse(
            _read(found),
            media_type="application/zip",
            headers={
                "Content-Length": str(length),
                "Content-Disposition": f'attachment; filename="tuning-fork-{run_id[:8]}{suffix}.zip"',
                "Cache-Control": "no-store",
            },
        )

    def mended(request: Request) -> Response:
        kind = request.path_params["kind"]
        try:
            visit = Visit(house, Text("en"), guard.owner(request, house.settings))
            if kind not in _MENDED or visit.draft.table is None:
                return PlainTextResponse("Not found", 404)
            return _mended(visit, kind)
        except UserError:
            return PlainTextResponse("Not found", 404)

    return [
        Route("/download/table/mended.{kind}", mended, methods=["GET"]),
        Route("/download/{run_id}/model.zip", model_zip, methods=["GET"]),
        Route("/download/{run_id}/adapter.zip", adapter_zip, methods=["GET"]),
    ]


def _mended(visit: Visit, kind: str) -> Response:
    """The person's table after the fixes that they chose; the file lives as long as it takes to send it."""
    table = visit.house.tables.get(str(visit.draft.table), visit.owner)
    folder = Path(tempfile.mkdtemp(prefix=".mended-", dir=visit.house.settings.home))
    try:
        out = folder / f"mended.{kind}"
        columns = known_columns(visit.draft.columns, list(table.columns))
        mend(visit.house.settings, table.rows, question(visit, table, columns), out, for_excel=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        out,
        media_type=_MENDED[kind],
        filename=f"{_stem(table.name)}-mended.{kind}",
        headers={"Cache-Control": "no-store"},
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


def _stem(name: str) -> str:
    """A table's name as a file name that no browser or system stumbles over."""
    return re.sub(r"[^\w.-]+", "_", name.rsplit(".", 1)[0])[:60].strip("._") or "table"


def _read(found: list[archive.Entry]) -> Iterator[bytes]:
    yield from archive.stream_zip(found)
