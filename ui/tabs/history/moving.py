"""A run leaves the house as a file, or comes in as one."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from core.errors import UserError
from core.publishing import archive, carrying, taking_in
from core.runs.store import RunRecord
from ui import guard
from ui.page import House, Visit
from ui.uploads import remove


def routes(house: House) -> list[Route]:
    """A run's file for its owner. Anybody else gets what an unknown run gets."""

    def run_zip(request: Request) -> Response:
        run_id = request.path_params["run_id"]
        try:
            found = carrying.entries(house.runs, run_id, guard.owner(request, house.settings))
            length = archive.archive_bytes(found)
        except UserError:
            return PlainTextResponse("Not found", 404)
        return StreamingResponse(
            archive.stream_zip(found),
            media_type="application/zip",
            headers={
                "Content-Length": str(length),
                "Content-Disposition": f'attachment; filename="tuning-fork-run-{run_id[:8]}.zip"',
                "Cache-Control": "no-store",
            },
        )

    return [Route("/download/{run_id}/run.zip", run_zip, methods=["GET"])]


def take_in(visit: Visit, path: Path) -> RunRecord:
    """A run from a file that was handed in; gradio's copy of it is removed either way.

    Raises:
        UserError: what `core.publishing.taking_in.take_in` raises.
    """
    house = visit.house
    try:
        return taking_in.take_in(path, visit.owner, house.runs, house.tables, house.settings)
    finally:
        remove(path)
