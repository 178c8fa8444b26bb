"""Files that leave the house: a route of our own, because gradio serves a file to whoever knows its address."""

from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from core.errors import UserError
from core.publishing import archive, card
from ui import guard
from ui.page import House


def routes(house: House) -> list[Route]:
    """`GET /download/<run>/model.zip`, for the run's owner only; anybody else gets what an unknown run gets."""

    def model_zip(request: Request) -> Response:
        run_id = request.path_params["run_id"]
        try:
            owner = guard.owner(request, house.settings)
            house.runs.get(run_id, owner)
            folder = house.runs.model_folder(run_id)
            found = archive.entries(folder, card.for_run(house.runs, run_id, owner, house.settings, None))
            length = archive.archive_bytes(found)
        except UserError:
            return PlainTextResponse("Not found", 404)
        return StreamingResponse(
            _read(found),
            media_type="application/zip",
            headers={
                "Content-Length": str(length),
                "Content-Disposition": f'attachment; filename="{_name(folder)}"',
                "Cache-Control": "no-store",
            },
        )

    return [Route("/download/{run_id}/model.zip", model_zip, methods=["GET"])]


def _read(found: list[archive.Entry]) -> Iterator[bytes]:
    yield from archive.stream_zip(found)


def _name(folder: Path) -> str:
    return f"tuning-fork-{folder.parent.name[:8]}.zip"
