"""What can be fetched from the served page, and what a session tells to somebody else who knows it."""

import http.client
import io
import json
import secrets
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from core.runs.store import RunRecord
from tests.security import alice
from tests.security.alice import SECRET
from tests.security.conftest import Space
from tests.security.visitors import Visitor, digest, file, settings_of, signed_in

# Ways to write a path that some servers take for another one.
DOTS = ("..", "%2e%2e", "%252e%252e", "..%00", "....", "%c0%ae%c0%ae", "..;", "．．")
SLASHES = ("/", "%2f", "%252f", "\\", "%5c", "//")
DOORS = ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/download/", "/assets/", "/static/", "/svelte/", "/")


@dataclass(frozen=True)
class Hers:
    """Alice at the page, with her runs and her table."""

    visitor: Visitor
    runs: dict[Any, RunRecord]
    table: str


@pytest.fixture(scope="module")
def hers(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Hers:
    visitor = space.visitor()
    table = alice.table(settings_of(space.home), visitor.owner(), tmp_path_factory.mktemp("alice"))
    runs = alice.runs(space.home, visitor.owner(), table)
    alice.forge(space.home, visitor.owner(), table, runs["FINISHED"].id)
    return Hers(visitor, runs, table)


def strangers(space: Space) -> dict[str, Visitor]:
    return {"anonymous": space.visitor(), "signed in": space.visitor(signed_in("bob")), "nobody": Visitor(space.url)}


def test_she_herself_gets_her_model(hers: Hers) -> None:
    answer = hers.visitor.http.get(f"/download/{hers.runs['FINISHED'].id}/model.zip")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert SECRET in zipfile.ZipFile(io.BytesIO(answer.content)).read("model.safetensors").decode()


@pytest.mark.parametrize("name", ["model.zip", "adapter.zip", "run.zip", "", "run.json", "worker.log"])
@pytest.mark.parametrize("who", ["anonymous", "signed in", "nobody"])
def test_a_stranger_gets_of_her_run_what_an_unknown_run_has(space: Space, hers: Hers, who: str, name: str) -> None:
    visitor = strangers(space)[who]
    for record in hers.runs.values():
        theirs, unknown = (
            visitor.http.get(f"/download/{run_id}/{name}") for run_id in (record.id, secrets.token_hex(16))
        )
        assert theirs.status_code == unknown.status_code == 404
        assert theirs.content == unknown.content
        kept = {"date"}
        assert {n: v for n, v in theirs.headers.items() if n not in kept} == {
            n: v for n, v in unknown.headers.items() if n not in kept
        }


def test_a_strangers_mended_table_is_not_hers(space: Space, hers: Hers) -> None:
    bob = space.visitor()
    alice.forge(space.home, bob.owner(), hers.table, hers.runs["FINISHED"].id)
    for kind in ("csv", "jsonl", "parquet", "json"):
        assert bob.http.get(f"/download/table/mended.{kind}").status_code == 404


@pytest.mark.parametrize("door", DOORS)
def test_no_spelling_of_a_path_leads_out(space: Space, hers: Hers, door: str) -> None:
    run = f"runs/{hers.runs['FINISHED'].id}/run.json"
    targets = ["etc/passwd", str(space.home / run).lstrip("/"), run, "app.py", "proc/self/environ"]
    asked = [f"{door}/{quote(target)}" for target in targets] + [f"{door}{quote(target)}" for target in targets]
    for dots in DOTS:
        for slash in SLASHES:
            up = f"{dots}{slash}" * 8
            asked += [f"{door}{up}{target.replace('/', slash)}" for target in targets[:2]]
    for path in asked:
        status, content = as_spelled(space, hers.visitor, path)
        assert status in (400, 403, 404), path
        assert not [word for word in (SECRET, "root:", '"owner"', "import ") if word in content], path


def as_spelled(space: Space, visitor: Visitor, path: str) -> tuple[int, str]:
    """Status and content of a path sent to the letter: other clients tidy it up."""
    connection = http.client.HTTPConnection(space.url.removeprefix("http://"), timeout=30)
    try:
        connection.request("GET", quote(path, safe="/%;=\\"), headers={"cookie": visitor.http.headers["cookie"]})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def test_an_upload_is_given_back_to_nobody(space: Space) -> None:
    visitor = space.visitor()
    path = visitor.upload("mine.csv", f"text,label\n{SECRET},a\n".encode())
    for spelling in (path, quote(path, safe=""), path.lstrip("/"), f"{path}?download=1"):
        for one in (visitor, space.visitor(), Visitor(space.url)):
            for door in ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/static/", "/gradio_api/proxy="):
                answer = one.http.get(f"{door}{spelling}")
                assert answer.status_code in (403, 404)
                assert SECRET not in answer.text


def test_an_upload_that_was_taken_lies_with_its_owner_alone(space: Space) -> None:
    visitor = space.visitor()
    path = Path(visitor.upload("taken.csv", b"text,label\n" + b"some words,a\nother words,b\n" * 8))
    assert path.is_file()
    visitor.call(visitor.find("upload", "data-file"), [file(str(path))])
    assert not path.exists()
    assert visitor.http.get("/download/table/mended.csv").status_code == 200
    assert space.visitor().http.get("/download/table/mended.csv").status_code == 404


@pytest.mark.parametrize("elem_id", ["data-file", "test-file"])
def test_a_file_of_the_server_cannot_be_named_as_an_upload(space: Space, hers: Hers, elem_id: str) -> None:
    bob = space.visitor()
    upload, before = bob.find("upload", elem_id), digest(space.home / "tables")
    run = space.home / "runs" / hers.runs["FINISHED"].id
    tables = [str(path) for path in (space.home / "tables").rglob("*.parquet")]
    named = ["/etc/passwd", "/proc/self/environ", str(run / "report.json"), f"{run}/../{run.name}/worker.log", *tables]
    for path in [*named, "//etc/passwd", "/etc/passwd\0.csv", "file:///etc/passwd", str(space.home)]:
        assert '"data"' not in bob.call(upload, [file(path)])
    assert digest(space.home / "tables") == before
    assert (run / "report.json").is_file()


def choices_told(visitor: Visitor, session: str) -> str:
    """What gradio says of a choice that is none: the choices that it knows of in a session."""
    return visitor.call(visitor.find("input", "runs"), ["nothing"], session)


def test_a_session_is_of_use_only_to_who_opened_it(space: Space, hers: Hers) -> None:
    session, bob = "alices-session", space.visitor()
    opened = [f for f in hers.visitor.functions() if [event for _, event in f["targets"]] == ["load"]]
    for function in opened:
        hers.visitor.call(function, session=session)
    assert hers.runs["FINISHED"].id in choices_told(hers.visitor, session)
    assert hers.runs["FINISHED"].id not in choices_told(bob, session)
    straight = next(f for f in bob.functions() if not f["queue"] and f["inputs"] == [])
    body = {"data": [], "fn_index": straight["id"], "session_hash": session}
    assert SECRET in hers.visitor.http.post("/gradio_api/run/predict", json=body).text
    assert SECRET not in bob.http.post("/gradio_api/run/predict", json=body).text


def test_what_the_queue_says_is_heard_by_who_asked_alone(space: Space, hers: Hers) -> None:
    session, bob = "overheard", space.visitor()
    function = next(f for f in hers.visitor.functions() if f["queue"] and f["targets"][0][1] == "load")
    body = {"data": hers.visitor.values(function), "fn_index": function["id"], "session_hash": session}
    assert hers.visitor.http.post("/gradio_api/queue/join", json=body).status_code == 200
    for spelling in (session, f"{session}&session_hash={session}", f"x&session_hash={session}"):
        with bob.http.stream("GET", f"/gradio_api/queue/data?session_hash={spelling}") as stream:
            told = next(stream.iter_lines())
        assert "session_not_found" in told
        assert json.loads(told.removeprefix("data:"))["session_not_found"] is True
    assert SECRET in "".join(hers.visitor.heard(session))
