"""Starter models: unpacked once by a child, whole or absent, and the same model afterwards."""

import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from core import files, processes
from core.errors import UserError
from core.models import starters
from core.models.catalogue import STARTERS, Starter
from core.models.loading import resolve
from core.models.opening import open_model
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import ModelChoice
from tests import tiny


def place(home: Path, free_disk: int = 0) -> Settings:
    return Settings(home=home, limits=Limits(free_disk=free_disk))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return tiny.packed(tmp_path_factory.mktemp("packed") / "tiny.gguf")


@pytest.fixture
def stand_in(packed, monkeypatch):
    """The catalogue with a tiny packed starter."""
    return offer(packed, monkeypatch)


def offer(file, monkeypatch, key="tiny"):
    starter = replace(STARTERS["smollm2"], key=key, sha256=files.sha256(file), parameters=30_944, hub_id="team/tiny")
    monkeypatch.setitem(STARTERS, key, starter)
    inside = Starter.source
    monkeypatch.setattr(Starter, "source", lambda self: file if self.key == key else inside(self))
    return starter


@pytest.fixture(scope="module")
def unpacked(packed, tmp_path_factory):
    """(settings, what two callers at once got, how many children they started)."""
    settings, begun, found = place(tmp_path_factory.mktemp("home")), [], []
    spawn = processes.spawn
    with pytest.MonkeyPatch.context() as patch:
        offer(packed, patch)
        patch.setattr(processes, "spawn", lambda *a, **k: begun.append(a) or spawn(*a, **k))
        both = [threading.Thread(target=lambda: found.append(starters.prepare("tiny", settings))) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    return settings, found, len(begun)


def test_two_callers_unpack_once(unpacked, stand_in):
    settings, found, children = unpacked
    assert children == 1
    assert found == [settings.home / "starters" / f"tiny-{stand_in.sha256[:12]}"] * 2
    assert starters.prepared("tiny", settings) == found[0]
    assert sorted(f.name for f in found[0].parent.iterdir()) == sorted([found[0].name, "tiny.lock"])


def test_it_is_the_same_model_with_its_tokenizer(unpacked, packed):
    import torch

    (_, (folder, _), _), plain = unpacked, packed.parent / "plain"
    model, words = open_model(folder, "AutoModelForCausalLM")
    before, words_before = open_model(plain, "AutoModelForCausalLM")
    asked = torch.tensor([[1, 20, 30, 40, 50]])
    assert torch.allclose(model(asked).logits, before(asked).logits, atol=2e-3)
    assert (words.bos_token, words.eos_token, words.pad_token) == ("<s>", "</s>", "</s>")
    assert words.chat_template == words_before.chat_template
    assert words("the  red box")["input_ids"] == words_before("the  red box", add_special_tokens=False)["input_ids"]
    pieces = words.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12")
    assert [piece for piece, _ in pieces] == ["a", "ĠĠ", "1", "2"]
    assert words.model_max_length == model.config.max_position_embeddings == 128
    assert model.generation_config.eos_token_id == 2
    assert {str(part.dtype) for part in model.parameters()} == {"torch.float32"}
    on_disk = (folder / "model.safetensors").stat().st_size
    assert on_disk < 0.6 * (plain / "model.safetensors").stat().st_size


def test_a_choice_of_it_waits_until_it_is_unpacked(unpacked, stand_in, tmp_path):
    settings, (folder, _), _ = unpacked
    choice = ModelChoice(name="tiny")
    assert resolve(choice, settings, RunStore(settings.home), "local") == folder
    assert resolve(choice, settings, RunStore(settings.home), "local", prepare=True) == folder
    fresh = place(tmp_path)
    assert starters.prepared("tiny", fresh) is None
    with pytest.raises(UserError) as wrong:
        resolve(choice, fresh, RunStore(fresh.home), "local")
    assert (wrong.value.code, wrong.value.facts) == ("starter_not_prepared", {"name": "team/tiny"})


def test_one_that_lies_open_in_its_package_is_ready(tmp_path):
    settings = place(tmp_path)
    assert starters.prepared("minilm", settings) == starters.prepare("minilm", settings)
    assert list(tmp_path.iterdir()) == []


def test_changed_files_are_noticed_and_unpacked_anew(unpacked, stand_in, monkeypatch):
    settings, (folder, _), _ = unpacked
    starters.verify(folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UserError, match="starter_changed"):
            starters.verify(folder)
        monkeypatch.setattr(processes, "spawn", stubborn("false"))
        with pytest.raises(UserError, match="starter_not_converted"):
            starters.prepare("tiny", settings)
    finally:
        weights.write_bytes(whole)
    starters.verify(folder)


def test_another_file_than_the_known_one_is_refused(packed, monkeypatch, tmp_path):
    offer(packed, monkeypatch)
    monkeypatch.setitem(STARTERS, "tiny", replace(STARTERS["tiny"], sha256="0" * 64))
    with pytest.raises(UserError, match="starter_changed"):
        starters.prepare("tiny", place(tmp_path))
    assert [f.name for f in (tmp_path / "starters").iterdir()] == ["tiny.lock"]


def stubborn(*command):
    """A stand-in for the child."""
    return lambda *a, **k: subprocess.Popen(command, stdin=k["stdin"], stderr=k["stderr"])


def test_a_failed_child_leaves_its_log_and_no_model(stand_in, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "spawn", stubborn("sh", "-c", "echo trouble >&2; exit 3"))
    with pytest.raises(UserError) as wrong:
        starters.prepare("tiny", place(tmp_path))
    assert (wrong.value.code, wrong.value.facts) == ("starter_not_converted", {"name": "team/tiny"})
    name = f"tiny-{stand_in.sha256[:12]}"
    assert sorted(f.name for f in (tmp_path / "starters").iterdir()) == [f"{name}.log", "tiny.lock"]
    assert (tmp_path / "starters" / f"{name}.log").read_text() == "trouble\n"
    assert starters.prepared("tiny", place(tmp_path)) is None


def test_giving_up_ends_the_child_and_leaves_nothing(stand_in, monkeypatch, tmp_path):
    begun = []

    def spawn(*a, **k):
        begun.append(stubborn("sleep", "60")(*a, **k))
        return begun[0]

    def give_up(done, wanted):
        assert (done, wanted) == (0, 2 * 30_944)
        raise InterruptedError

    monkeypatch.setattr(processes, "spawn", spawn)
    with pytest.raises(InterruptedError):
        starters.prepare("tiny", place(tmp_path), give_up)
    assert begun[0].returncode is not None
    assert not [f for f in (tmp_path / "starters").iterdir() if f.is_dir()]


def test_a_child_that_takes_too_long_is_ended(stand_in, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "spawn", stubborn("sleep", "60"))
    monkeypatch.setattr(starters, "_LONGEST", 0.3)
    with pytest.raises(UserError, match="starter_not_converted"):
        starters.prepare("tiny", place(tmp_path))


def test_the_child_ends_with_its_parent(packed, tmp_path):
    child = processes.spawn(
        place(tmp_path), "core.models.converting", [str(packed), str(tmp_path / "out")], stdin=subprocess.PIPE
    )
    child.stdin.close()
    assert child.wait(timeout=60) == 1
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_full_disk_is_said_before_the_child_starts(stand_in, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "spawn", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(UserError, match="disk_full"):
        starters.prepare("tiny", place(tmp_path, free_disk=2**60))


@pytest.mark.parametrize("ask", [starters.prepared, starters.prepare])
def test_an_unknown_starter_is_named(ask, tmp_path):
    with pytest.raises(UserError, match="starter_unknown"):
        ask("other", place(tmp_path))


@pytest.mark.real
def test_smollm2_is_unpacked_and_knows_a_capital(tmp_path):
    """The real packed model: it answers, ends by itself, and splits digits as it was trained to."""
    from core.models.chat_templates import render

    seen = []
    folder = starters.prepare("smollm2", place(tmp_path), lambda done, wanted: seen.append(done / wanted))
    starters.verify(folder)
    assert files.folder_bytes(folder) < 280_000_000
    assert seen
    assert seen[-1] <= 1
    model, words = open_model(folder, "AutoModelForCausalLM")
    assert sum(p.numel() for p in model.parameters()) == STARTERS["smollm2"].parameters
    assert words.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
    text = render(words, [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True)
    asked = words(text, return_tensors="pt", add_special_tokens=False)
    written = model.generate(**asked, max_new_tokens=30, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert "Paris" in words.decode(written)
    assert written[-1] == words.eos_token_id == words.convert_tokens_to_ids("<|im_end|>")


def test_a_starter_whose_package_is_missing_comes_from_the_hub(fake_hub, tmp_path, monkeypatch):
    folder = tiny.language_model(tmp_path / "tiny")
    missing = replace(STARTERS["smollm2"], package="no-such-package", hub_id="tester/small")
    monkeypatch.setitem(STARTERS, "smollm2", missing)
    files = {f.name: f.read_bytes() for f in folder.iterdir()}
    fake_hub.add("tester/small", files)
    settings = Settings(home=tmp_path / "home", hub_endpoint=fake_hub.url)
    assert starters.prepared("smollm2", settings) is None
    place = starters.prepare("smollm2", settings)
    assert starters.prepared("smollm2", settings) == place
    assert (place / "model.safetensors").read_bytes() == files["model.safetensors"]
    alone = replace(settings, home=tmp_path / "other", hub_endpoint="http://127.0.0.1:9")
    with pytest.raises(UserError, match="starter_missing"):
        starters.prepare("smollm2", alone)
