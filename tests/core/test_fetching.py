"""Models from the Hub: which names are taken, what is refused, what arrives on disk, and who carries the token."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from core import files, processes
from core.errors import UserError
from core.models import fetching, parts
from core.settings import Limits, Settings
from tests.answers import logits
from tests.fakehub import Account, FakeHub

TOKEN = "hf_writer"


def settings(home: Path, hub: FakeHub | str, **limits: float) -> Settings:
    return Settings(
        home=home,
        hub_endpoint=hub if isinstance(hub, str) else hub.url,
        limits=Limits(**({"free_disk": 0, "hub_timeout": 3.0} | limits)),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def code_of(wrong: pytest.ExceptionInfo[UserError]) -> str:
    return wrong.value.code


@pytest.fixture
def stocked(fake_hub: FakeHub, tiny_model: Path) -> FakeHub:
    """A Hub with one ordinary model that has more files than a model needs."""
    card = b"---\nlicense: mit\n---\n# Tiny"
    extra = {"README.md": card, "pytorch_model.bin": b"pickle", "evil.py": b"1/0", "onnx/model.safetensors": b"x"}
    fake_hub.add("team/tiny-bert", contents(tiny_model) | extra)
    return fake_hub


# -- names


@pytest.mark.parametrize("name", ["bert-base-uncased", "google-bert/bert-base_v1.5", "_a/b", " a/b ", "A/1"])
def test_names_of_the_hub_are_taken(name: str) -> None:
    assert fetching.check_id(name) == name.strip()


def test_a_pasted_link_is_a_name() -> None:
    assert fetching.check_id("https://huggingface.co/org/name") == "org/name"
    assert fetching.check_id("https://huggingface.co/org/name/") == "org/name"
    assert fetching.check_id("http://127.0.0.1:1/a/b", "http://127.0.0.1:1") == "a/b"


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "/etc", "/etc/passwd", "./x", "../x", "../../etc", "..", ".", "a/..", "a/../b", "a/b/c", "a//b", "a/",
        "a\0b", "a/b\0", "~/x", "a\\b", "C:\\x", "http://huggingface.co/a/b", "https://evil.example/a/b",
        "https://huggingface.co.evil.example/a/b", "https://huggingface.co/datasets/a/b", "file:///etc/passwd", "a b",
        "a/b\nc", "a--b/c", "org/name.git", "ａ/b", "é/b", "a" * 97, "-a/b", "a/b-", "a/b?x=1", "a/b#x", "a/b@main",
        "a%2fb",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_before_anything_is_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object, **__: object) -> None:
        raise AssertionError("opened something")

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", no)
        patched.setattr(subprocess, "Popen", no)
        patched.setattr(Path, "open", no)
        patched.setattr(os, "open", no)
        for ask in (
            lambda: fetching.look_up(name, settings(tmp_path, "https://huggingface.co")),
            lambda: fetching.installed(name, settings(tmp_path, "x"), "local"),
        ):
            with pytest.raises(UserError) as wrong:
                ask()
            assert code_of(wrong) == "model_id_malformed"


# -- looking up


def test_look_up_tells_what_is_there(stocked: FakeHub, tmp_path: Path, tiny_model: Path) -> None:
    model = fetching.look_up("team/tiny-bert", settings(tmp_path, stocked))
    assert model.id == "team/tiny-bert"
    assert model.revision == stocked.repo("team/tiny-bert").sha
    assert dict(model.files) == {f.name: f.stat().st_size for f in tiny_model.iterdir()}
    assert (model.license, model.gated, model.private) == ("mit", False, False)
    assert (model.config["model_type"], model.kind) == ("bert", "encoder")
    from safetensors import safe_open

    with safe_open(tiny_model / "model.safetensors", "np") as weights:
        assert model.parameters == sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118
    assert stocked.unhandled == []


def test_a_renamed_model_is_followed(stocked: FakeHub, tmp_path: Path) -> None:
    stocked.aliases["tiny-bert"] = "team/tiny-bert"
    assert fetching.look_up("tiny-bert", settings(tmp_path, stocked)).id == "team/tiny-bert"


def config_of(hub: FakeHub, **changes: object) -> dict[str, bytes]:
    config = json.loads(hub.repo("team/tiny-bert").files["config.json"]) | changes
    return {"config.json": json.dumps(config).encode(), "model.safetensors": b"x" * 9}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "model_needs_code"),
        ({"attn_implementation": "somebody/kernel"}, "model_needs_code"),
        ({"model_type": "vit"}, "model_architecture_unsupported"),
        ({"model_type": None}, "model_architecture_unsupported"),
        ({"model_type": ["bert"]}, "model_architecture_unsupported"),
        ({"is_decoder": True}, "model_architecture_unsupported"),
        ({"quantization_config": {"load_in_4bit": True}}, "model_needs_code"),
    ],
)
def test_models_that_cannot_be_used_are_named(
    changes: dict[str, object], code: str, stocked: FakeHub, tmp_path: Path
) -> None:
    stocked.add("team/odd", config_of(stocked, **changes))
    with pytest.raises(UserError) as wrong:
        fetching.look_up("team/odd", settings(tmp_path, stocked))
    assert code_of(wrong) == code
    assert wrong.value.facts["name"] == "team/odd"


@pytest.mark.parametrize(
    ("family", "kinds", "labels", "kind"),
    [
        ("qwen2", None, False, "decoder"),
        ("gpt2", ("decoder", "seq2seq"), False, "decoder"),
        ("marian", ("seq2seq",), False, "seq2seq"),
        ("t5", ("encoder", "seq2seq"), True, "seq2seq"),
        ("bert", ("decoder", "seq2seq"), False, None),
        ("granite", ("encoder", "decoder"), True, None),
        ("m2m_100", None, True, None),
    ],
)
def test_a_model_of_the_wrong_kind_is_refused_before_it_is_fetched(
    family: str, kinds: tuple[str, ...] | None, labels: bool, kind: str | None, stocked: FakeHub, tmp_path: Path
) -> None:
    stocked.add("team/odd", config_of(stocked, model_type=family))
    here = settings(tmp_path, stocked)
    if kind:
        assert fetching.look_up("team/odd", here, None, kinds, labels=labels).kind == kind
        return
    with pytest.raises(UserError) as wrong:
        fetching.look_up("team/odd", here, None, kinds, labels=labels)
    assert code_of(wrong) == "model_wrong_kind"
    assert wrong.value.facts["kind"] == family
    assert wrong.value.facts["wanted"]


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, "model_is_adapter"),
        ({"config.json": b'{"model_type": "llama"}', "model.Q4_K_M.gguf": b"GGUF"}, "model_is_gguf"),
        ({"model.Q4_K_M.gguf": b"GGUF"}, "model_is_gguf"),
        ({"config.json": b'{"model_type": "bert"}', "model.fp16.safetensors": b"x"}, "model_not_safetensors"),
        ({"README.md": b"# Nothing yet"}, "model_not_safetensors"),
    ],
)
def test_repositories_that_hold_no_whole_model_are_named(
    files: dict[str, bytes], code: str, stocked: FakeHub, tmp_path: Path
) -> None:
    stocked.add("team/odd", files)
    with pytest.raises(UserError) as wrong:
        fetching.look_up("team/odd", settings(tmp_path, stocked))
    assert code_of(wrong) == code


def test_shards_are_parts_and_the_same_weights_come_once(stocked: FakeHub, tmp_path: Path) -> None:
    shards = {f"model-0000{n}-of-00002.safetensors": b"x" * 9 for n in (1, 2)}
    shards |= {"model.safetensors.index.json": b"{}"}
    config = {"config.json": b'{"model_type": "llama"}', "chat_template.jinja": b"", "source.spm": b"x"}
    twice = {"model.fp16.safetensors": b"x", "consolidated.safetensors": b"x", "original/model.safetensors": b"x"}
    stocked.add("team/shards", config | shards | twice)
    stocked.add("team/both", config | shards | twice | {"model.safetensors": b"x" * 18})
    here = settings(tmp_path, stocked)
    assert set(dict(fetching.look_up("team/shards", here).files)) == set(config | shards)
    assert set(dict(fetching.look_up("team/both", here).files)) == set(config) | {"model.safetensors"}


def test_pickled_weights_are_refused(stocked: FakeHub, tmp_path: Path) -> None:
    pickled = config_of(stocked)
    pickled["pytorch_model.bin"] = pickled.pop("model.safetensors")
    stocked.add("team/pickled", pickled)
    with pytest.raises(UserError) as wrong:
        fetching.look_up("team/pickled", settings(tmp_path, stocked))
    assert code_of(wrong) == "model_not_safetensors"


def test_who_may_see_what(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    stocked.accounts["hf_other"] = Account("other")
    stocked.accounts["hf_let_in"] = Account("guest", accepted={"team/gated"})
    stocked.add("team/gated", stocked.repo("team/tiny-bert").files, gated=True)
    stocked.add("team/private", stocked.repo("team/tiny-bert").files, private=True)
    expected = {
        ("team/none", None): "model_not_found",
        ("team/none", "hf_other"): "model_not_found",
        ("team/private", None): "model_not_found",
        ("team/private", "hf_other"): "model_not_found",
        ("team/private", TOKEN): "private",
        ("team/gated", None): "model_gated",
        ("team/gated", "hf_other"): "model_gated",
        ("team/gated", "hf_let_in"): "gated",
        ("team/tiny-bert", "hf_expired"): "token_invalid",
        ("team/tiny-bert", "hf_\nX-Evil: 1"): "token_invalid",
    }
    seen = {}
    for name, token in expected:
        try:
            model = fetching.look_up(name, here, token)
            seen[name, token] = "gated" if model.gated else "private" if model.private else "open"
        except UserError as error:
            seen[name, token] = error.code
    assert seen == expected


# -- a Hub in trouble


@pytest.fixture
def silent() -> str:
    """The address of somebody who takes calls and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return address


def trouble(hub: FakeHub, kind: str) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b'{"id": "'
        for _ in range(100):
            await asyncio.sleep(0.1)
            yield b"x"

    async def fault(_: Request) -> Response:
        if kind == "drip":
            return StreamingResponse(drip())
        if kind == "loop":
            return Response(status_code=302, headers={"location": "/again"})
        if kind == "page":
            return Response("<html>Welcome to our hotel's network</html>")
        if kind == "wrong":
            return Response('{"id": 5, "sha": null}')
        return Response(status_code=int(kind))

    hub.fault = fault


@pytest.mark.parametrize("kind", ["500", "503", "429", "drip", "loop", "page", "wrong"])
def test_a_hub_in_trouble_is_one_error_soon(kind: str, stocked: FakeHub, tmp_path: Path) -> None:
    trouble(stocked, kind)
    start = time.monotonic()
    with pytest.raises(UserError) as wrong:
        fetching.look_up("team/tiny-bert", settings(tmp_path, stocked, hub_timeout=1.0), TOKEN)
    assert code_of(wrong) == "hub_unreachable"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("address", ["silent", "nobody"])
def test_no_hub_is_one_error_soon(address: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    here = settings(tmp_path, request.getfixturevalue(address), hub_timeout=1.0)
    start = time.monotonic()
    assert not fetching.hub_reachable(here)
    assert time.monotonic() - start < 1.5
    with pytest.raises(UserError) as wrong:
        fetching.look_up("a/b", here)
    assert code_of(wrong) == "hub_unreachable"
    assert time.monotonic() - start < 5


def test_a_hub_that_never_answers_is_noticed_within_two_seconds(silent: str, tmp_path: Path) -> None:
    start = time.monotonic()
    assert not fetching.hub_reachable(settings(tmp_path, silent, hub_timeout=4.0))
    assert 1.5 < time.monotonic() - start < 2.5


def test_a_hub_that_answers_is_reachable(fake_hub: FakeHub, tmp_path: Path) -> None:
    assert fetching.hub_reachable(settings(tmp_path, fake_hub))


# -- fetching


def test_what_arrives_is_the_model_and_loads(stocked: FakeHub, tmp_path: Path, tiny_model: Path) -> None:
    here, news = settings(tmp_path, stocked), []
    model = fetching.look_up("team/tiny-bert", here)
    folder = fetching.fetch(model, here, None, "local", lambda done, total: news.append((done, total)))
    assert contents(folder) == contents(tiny_model)
    assert folder.is_relative_to(tmp_path / "models")
    assert not any(f.is_symlink() for f in tmp_path.rglob("*"))
    assert logits(folder, ["where is my order"]) == logits(tiny_model, ["where is my order"])
    assert news[-1] == (model.bytes, model.bytes)
    assert [done for done, _ in news] == sorted(done for done, _ in news)
    assert not list(tmp_path.rglob(".part-*"))
    assert fetching.installed("team/tiny-bert", here, "local") == [model.revision]
    assert fetching.installed_folder("team/tiny-bert", None, here, "local") == folder
    assert fetching.license_of("team/tiny-bert", model.revision, here, "local") == "mit"


def test_the_second_time_needs_no_network(stocked: FakeHub, tmp_path: Path, nobody: str) -> None:
    here = settings(tmp_path, stocked)
    model = fetching.look_up("team/tiny-bert", here)
    folder = fetching.fetch(model, here, None, "local")
    assert fetching.fetch(model, settings(tmp_path, nobody), None, "local") == folder


def test_another_owner_does_not_find_it(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    model = fetching.look_up("team/tiny-bert", here)
    fetching.fetch(model, here, None, "hf:1")
    assert fetching.installed("team/tiny-bert", here, "hf:2") == []
    with pytest.raises(UserError) as wrong:
        fetching.installed_folder("team/tiny-bert", model.revision, here, "hf:2")
    assert code_of(wrong) == "model_not_downloaded"


def test_the_revision_looked_up_is_the_one_fetched(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    model = fetching.look_up("team/tiny-bert", here)
    repo = stocked.repo("team/tiny-bert")
    old = repo.files["model.safetensors"]
    repo.commit(repo.files | {"model.safetensors": old[:-1] + b"\1"})
    folder = fetching.fetch(model, here, None, "local")
    assert (folder / "model.safetensors").read_bytes() == old


def test_a_broken_connection_is_taken_up_again(stocked: FakeHub, tmp_path: Path, tiny_model: Path) -> None:
    here = settings(tmp_path, stocked)
    model = fetching.look_up("team/tiny-bert", here)
    stocked.cut = 2
    folder = fetching.fetch(model, here, None, "local")
    assert stocked.cut == 0
    assert [bool(r.headers.get("range")) for r in stocked.asked("GET", "/lfs/")] == [False, True, True]
    assert contents(folder) == contents(tiny_model)


@pytest.mark.parametrize("how", ["cut", "changed", "gone", "other_file"])
def test_a_failed_download_leaves_nothing(how: str, stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    model = fetching.look_up("team/tiny-bert", here)
    if how == "cut":
        stocked.cut = 99
    elif how == "changed":  # another content of the same size, for a large and for a small file
        model = replace(model, digests=model.digests | {"config.json": "git:" + "0" * 40})
    elif how == "gone":
        del stocked.repos["model", "team/tiny-bert"]
    else:
        model = replace(model, files=(("evil.py", 3), *model.files))  # a file that is there, and is no part of a model
    with pytest.raises(UserError) as wrong:
        fetching.fetch(model, here, None, "local")
    assert code_of(wrong) == "download_failed"
    assert fetching.installed("team/tiny-bert", here, "local") == []
    assert [f.name for f in (tmp_path / "models").rglob("*") if f.is_file()] == [".lock"]


def test_giving_up_midway_leaves_nothing_and_no_child(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    model = fetching.look_up("team/tiny-bert", here)

    def stop(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetching.fetch(model, here, None, "local", stop)
    assert fetching.installed("team/tiny-bert", here, "local") == []
    assert not list(tmp_path.rglob(".part-*"))


def test_a_full_disk_is_said_before_the_first_byte(stocked: FakeHub, tmp_path: Path) -> None:
    model = fetching.look_up("team/tiny-bert", settings(tmp_path, stocked))
    with pytest.raises(UserError) as wrong:
        fetching.fetch(model, settings(tmp_path, stocked, free_disk=2**62), None, "local")
    assert code_of(wrong) == "disk_full"
    assert stocked.asked("GET", "model.safetensors") == []


def test_strangers_share_the_disk_of_a_space(stocked: FakeHub, tmp_path: Path) -> None:
    model = fetching.look_up("team/tiny-bert", settings(tmp_path, stocked))
    here = replace(settings(tmp_path, stocked, owner_bytes=2**20 + 5), place="space")
    fetching.fetch(model, here, None, "hf:1")
    bigger = replace(model, revision="a" * 40, files=(("model.safetensors", 2**20),))
    with pytest.raises(UserError) as wrong:
        fetching.fetch(bigger, here, None, "hf:1")
    assert code_of(wrong) == "quota_full"
    assert wrong.value.facts["limit_mb"] == 1


# -- the token


def test_the_token_goes_to_the_hub_alone(stocked: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not into arguments, environment or files; nor to the other host that large files lie on."""
    canary = "hf_canary0123456789"
    stocked.accounts[canary] = Account("tester", ("team",))
    stocked.add("team/private", stocked.repo("team/tiny-bert").files, private=True)
    seen: list[bytes] = []
    start = subprocess.Popen

    def watched(arguments: list[str], **options: object) -> "subprocess.Popen[bytes]":
        seen.append(repr((arguments, options["env"])).encode())
        child = start(arguments, **options)
        if sys.platform == "linux":
            seen.extend(Path(f"/proc/{child.pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
        return child

    monkeypatch.setattr(processes.subprocess, "Popen", watched)
    here = settings(tmp_path, stocked)
    model = fetching.look_up("team/private", here, canary)
    fetching.fetch(model, here, canary, "local")
    assert seen
    assert not any(canary.encode() in said for said in seen)
    assert not any(canary.encode() in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    elsewhere = stocked.asked("GET", "/lfs/")
    assert elsewhere
    assert not any(canary in str(r) for r in elsewhere)
    assert all(r.headers["authorization"] == f"Bearer {canary}" for r in stocked.asked("GET", "/resolve/"))


# -- facts that live elsewhere too


def test_only_parts_are_parts() -> None:
    yes = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json", "vocab.txt"]
    no = [
        "training_args.bin", "optimizer.pt", "pytorch_model.bin", "adapter_model.safetensors", "x/config.json",
        "evil.py", ".env", "report.json", "model.safetensors.part", "config.json\n", "model.safetensors\n",
        "model-1-of-2.safetensors",
    ]  # fmt: skip
    assert [name for name in yes + no if parts.is_part(name)] == yes


def test_fetching_imports_no_heavy_library() -> None:
    program = (
        "import sys, core.models.fetching, core.publishing.hub, core.publishing.card, core.publishing.archive;"
        "print(sorted({'torch', 'transformers', 'datasets', 'sklearn', 'huggingface_hub'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=processes.ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


def test_a_silent_child_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = settings(tmp_path, "http://127.0.0.1:9")
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    files.write_bytes(tmp_path / "mute.py", b"import time; time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        processes.converse(here, "mute", {}, lambda _: None, silence=1.0)
    assert time.monotonic() - start < 10
