"""Looking for models on the Hub: what is asked, what is shown, and what is not believed."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import Response

from core.errors import UserError
from core.hub.searching import Found, search
from core.settings import Limits, Settings
from tests.fakehub import Account, FakeHub

TOKEN = "hf_writer"
WEIGHTS = {"model.safetensors": b"x"}


def settings(home: Path, hub: FakeHub | str, timeout: float = 3.0) -> Settings:
    url = hub if isinstance(hub, str) else hub.url
    return Settings(home=home, hub_endpoint=url, limits=Limits(hub_timeout=timeout))


def card(**facts: Any) -> dict[str, bytes]:
    return {"README.md": b"---\n" + json.dumps(facts).encode() + b"\n---\n"}


def ids(found: list[Found]) -> list[str]:
    return [model.id for model in found]


@pytest.fixture
def stocked(fake_hub: FakeHub, tiny_model: Path) -> FakeHub:
    whole = {f.name: f.read_bytes() for f in tiny_model.iterdir()}
    fake_hub.add("team/tiny-bert", whole | card(license="mit", pipeline_tag="fill-mask"), downloads=50)
    fake_hub.add("team/bert-writer", WEIGHTS | card(pipeline_tag="text-generation"), downloads=900, gated=True)
    fake_hub.add("team/bert-pickled", {"pytorch_model.bin": b"x"} | card(pipeline_tag="fill-mask"), downloads=999)
    fake_hub.add("team/bert-code", WEIGHTS | card(pipeline_tag="fill-mask", tags=["custom_code"]), downloads=999)
    fake_hub.add("team/bert-onnx", WEIGHTS | card(library_name="transformers.js"), downloads=999)
    fake_hub.add("other/bert-sentences", WEIGHTS | card(library_name="sentence-transformers", tags=["transformers"]))
    fake_hub.add("team/bert-secret", WEIGHTS, private=True, downloads=10)
    fake_hub.add("team/marian", WEIGHTS | card(pipeline_tag="translation", license=["apache-2.0", "mit"]))
    fake_hub.add("team/bert-rows", WEIGHTS, kind="dataset")
    return fake_hub


def test_models_are_found_by_name_most_downloaded_first(stocked: FakeHub, tmp_path: Path, tiny_model: Path) -> None:
    found = search("BERT", settings(tmp_path, stocked))
    assert ids(found) == ["team/bert-writer", "team/tiny-bert", "other/bert-sentences"]
    writer, tiny, sentences = found
    assert (writer.downloads, writer.gated, writer.pipeline_tag) == (900, True, "text-generation")
    assert (writer.license, writer.parameters) == (None, None)
    assert (tiny.license, tiny.gated, tiny.library) == ("mit", False, "transformers")
    assert tiny.parameters
    assert tiny.parameters > 1000
    assert sentences.library == "sentence-transformers"
    assert stocked.unhandled == []


def test_kinds_of_jobs_are_alternatives(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    assert ids(search("", here, task_tags=["translation"])) == ["team/marian"]
    both = search("", here, task_tags=["translation", "fill-mask", "translation"])
    assert ids(both) == ["team/tiny-bert", "team/marian"]
    assert search("bert", here, task_tags=["translation"]) == []
    assert search("", here, task_tags=["translation"])[0].license == "apache-2.0"


@pytest.mark.parametrize(("limit", "shown"), [(1, 1), (2, 2), (0, 1), (-5, 1), (10**9, 4)])
def test_no_more_are_shown_than_asked_for(limit: int, shown: int, stocked: FakeHub, tmp_path: Path) -> None:
    assert len(search("", settings(tmp_path, stocked), limit=limit)) == shown


def test_what_cannot_be_used_here_does_not_crowd_the_rest_out(stocked: FakeHub, tmp_path: Path) -> None:
    for number in range(120):
        stocked.add(f"old/bert-{number}", {"pytorch_model.bin": b"x"}, downloads=5_000 + number)
        stocked.add(f"web/bert-{number}", WEIGHTS | card(library_name="transformers.js"), downloads=5_000 + number)
    assert ids(search("bert", settings(tmp_path, stocked), limit=1)) == ["team/bert-writer"]


def test_the_words_are_words_and_nothing_else(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    assert ids(search("  tiny\n-bert ", here)) == []
    assert ids(search("\ttiny-\0bert"[:6], here)) == ["team/tiny-bert"]
    assert search("x&limit=1&filter=gguf#", here) == []
    assert search("bert" * 5000, here) == []
    assert ids(search("", here)) != []
    assert stocked.unhandled == []


def test_the_token_opens_what_its_owner_sees(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    assert "team/bert-secret" in ids(search("bert", here, TOKEN))
    assert all("authorization" not in r.headers for r in stocked.requests[:-1])
    stocked.accounts["hf_other"] = Account("other")
    assert "team/bert-secret" not in ids(search("bert", here, "hf_other"))
    assert "team/bert-secret" not in ids(search("bert", here))
    for wrong_token in ("hf_expired", "hf_\nX-Evil: 1"):
        with pytest.raises(UserError) as wrong:
            search("bert", here, wrong_token)
        assert wrong.value.code == "token_invalid"


# -- a Hub that means harm, or is in trouble


def answering(hub: FakeHub, content: bytes, status: int = 200) -> None:
    async def fault(_: Request) -> Response:
        return Response(content, status, media_type="application/json")

    hub.fault = fault


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "team/fine", "downloads": 1, "likes": 1, "pipeline_tag": "fill-mask", "gated": False,
        "tags": ["transformers", "safetensors", "license:mit"], "library_name": "transformers",
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None}, {"id": 5}, {"id": ["team/fine"]}, {"id": "../etc"}, {"id": "a/b/c"}, {"id": "team/a\nb"},
        {"id": "team/\x1b[31m"}, {"id": " team/fine"}, {"id": "<b>x</b>"}, {"id": "https://evil.example/a/b"},
        {"id": "team/" + "x" * 200}, {"id": "team/\u202efine"}, {"tags": None}, {"tags": "safetensors transformers"},
        {"tags": {"safetensors": 1}}, {"tags": ["transformers", ["safetensors"]]}, {"tags": ["safetensors"] * 9,
        "library_name": "gguf"}, {"tags": ["transformers", "safetensors", "custom_code"]},
    ],
)  # fmt: skip
def test_entries_that_are_no_models_are_passed_over(changes: dict[str, Any], fake_hub: FakeHub, tmp_path: Path) -> None:
    answering(fake_hub, json.dumps([entry(**changes), entry(id="team/last"), None, 7, "x", [entry()]]).encode())
    assert ids(search("", settings(tmp_path, fake_hub))) == ["team/last"]


def test_what_is_no_fact_is_left_out(fake_hub: FakeHub, tmp_path: Path) -> None:
    odd = entry(
        downloads="many", likes=-3, pipeline_tag="fill\nmask", cardData={"license": "<script>"}, gated={"x": 1},
        safetensors={"total": 1e300}, library_name=["x"],
    )  # fmt: skip
    huge = entry(id="team/huge", downloads=True, likes=10**30, cardData=[], safetensors=[1], pipeline_tag=None)
    answering(fake_hub, json.dumps([odd, huge]).encode())
    fine, other = search("", settings(tmp_path, fake_hub))
    assert fine == Found("team/fine", 0, 0, None, "mit", True, None, "transformers")
    assert (other.downloads, other.likes, other.parameters, other.license) == (0, 0, None, "mit")


def test_more_than_was_asked_for_is_cut(fake_hub: FakeHub, tmp_path: Path) -> None:
    answering(fake_hub, json.dumps([entry(id=f"team/m{n}", downloads=n) for n in range(20_000)]).encode())
    found = search("", settings(tmp_path, fake_hub), limit=20)
    assert ids(found)[:2] == ["team/m99", "team/m98"]
    assert len(found) == 20
    answering(fake_hub, json.dumps([entry()] * 50).encode())
    assert ids(search("", settings(tmp_path, fake_hub))) == ["team/fine"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b'"x"',
        b"<html>",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"error": "x"}',
        b"[" + b" " * 2**24 + b"]",
    ],
)
def test_no_list_is_one_error(content: bytes, fake_hub: FakeHub, tmp_path: Path) -> None:
    answering(fake_hub, content)
    with pytest.raises(UserError) as wrong:
        search("", settings(tmp_path, fake_hub))
    assert wrong.value.code == "hub_unreachable"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_a_hub_in_trouble_is_one_error(status: int, fake_hub: FakeHub, tmp_path: Path) -> None:
    answering(fake_hub, b"{}", status)
    with pytest.raises(UserError) as wrong:
        search("", settings(tmp_path, fake_hub))
    assert wrong.value.code == "hub_unreachable"


def test_a_slow_hub_is_not_waited_for(fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    async def slow(_: Request) -> Response | None:
        await asyncio.sleep(1.0)
        return None

    fake_hub.fault = slow
    start = time.monotonic()
    with pytest.raises(UserError) as wrong:
        search("", settings(tmp_path, fake_hub, timeout=0.3), task_tags=["translation", "fill-mask"])
    assert wrong.value.code == "hub_unreachable"
    assert time.monotonic() - start < 0.9
