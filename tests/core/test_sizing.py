import json

import pytest

from core.errors import UserError
from core.models import sizing, starters
from core.models.catalogue import STARTERS
from core.models.fetching import HubModel
from core.models.sizing import describe, training_memory
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import ModelChoice
from tests import tiny

MB = 2**20
LENGTHS = {"max_length": 64, "batch_size": 4}


@pytest.fixture
def place(tmp_path):
    settings = Settings(home=tmp_path / "home", hub_endpoint="http://127.0.0.1:9")
    return settings, RunStore(settings.home)


def facts_of(place, folder, **choices):
    return describe(ModelChoice(source="directory", name=str(folder)), *place, "local", **(LENGTHS | choices))


def test_the_facts_of_each_kind(place, tmp_path):
    bert = facts_of(place, tiny.encoder(tmp_path / "bert", "bert"))
    llama = facts_of(place, tiny.language_model(tmp_path / "llama", "llama"))
    plain = facts_of(place, tiny.language_model(tmp_path / "plain", "gpt2", chat_template=False))
    t5 = facts_of(place, tiny.encoder_decoder(tmp_path / "t5", "t5"))
    found = [(f.kind, f.family, f.layers, f.chat_template, f.downloaded) for f in (bert, llama, plain, t5)]
    assert found == [
        ("encoder", "bert", 2, False, True), ("decoder", "llama", 2, True, True),
        ("decoder", "gpt2", 2, False, True), ("seq2seq", "t5", 2, False, True),
    ]  # fmt: skip
    assert bert.config["model_type"] == "bert"
    assert (llama.trainable, llama.total) == (llama.parameters, llama.parameters)


def test_a_chat_template_is_found_where_older_tokenizers_keep_it(place, tmp_path):
    folder = tiny.language_model(tmp_path / "llama", "llama", chat_template=False)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert not facts_of(place, folder).chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": tiny.CHAT_TEMPLATE}))
    assert facts_of(place, folder).chat_template


def test_the_method_says_what_is_changed(place, tmp_path):
    folder = tiny.language_model(tmp_path / "llama", "llama")
    full, lora = facts_of(place, folder), facts_of(place, folder, method="lora", lora_rank=2)
    larger = facts_of(place, folder, method="lora", lora_rank=4)
    assert lora.trainable < full.trainable
    assert (larger.trainable, larger.total - full.total) == (2 * lora.trainable, larger.trainable)
    unsuited = facts_of(place, folder, method="head")
    assert (unsuited.trainable, unsuited.total) == (0, full.parameters)
    assert facts_of(place, folder, method="head", labels=3).trainable == 3 * 32
    with pytest.raises(TypeError):
        facts_of(place, folder, lora_size=2)


def test_a_packed_starter_is_known_from_the_catalogue(place):
    assert starters.prepared("smollm2", place[0]) is None
    starter = STARTERS["smollm2"]
    facts = describe(ModelChoice(name="smollm2"), *place, "local", **LENGTHS, method="lora")
    assert (facts.name, facts.parameters, facts.kind) == (starter.hub_id, starter.parameters, "decoder")
    assert (facts.downloaded, facts.tokenizer, facts.chat_template) == (True, None, True)
    assert 0 < facts.trainable < 0.1 * facts.parameters


def test_a_model_on_the_hub_is_sketched(place, tmp_path, monkeypatch):
    folder = tiny.language_model(tmp_path / "llama", "llama")
    here = facts_of(place, folder, method="lora")
    listed = (("model.safetensors", here.disk_bytes), ("chat_template.jinja", 100))
    found = HubModel("a/b", "0" * 40, listed, False, False, here.parameters, None, here.config)
    monkeypatch.setattr("core.models.fetching.look_up", lambda *asked: found)
    there = describe(ModelChoice(source="hub", name="a/b"), *place, "local", **LENGTHS, method="lora")
    assert (there.kind, there.downloaded, there.chat_template) == ("decoder", False, True)
    assert there.trainable == here.trainable
    assert there.memory_bytes == here.memory_bytes


def test_what_cannot_be_found_is_said(place):
    with pytest.raises(UserError, match="starter_unknown"):
        describe(ModelChoice(name="other"), *place, "local", **LENGTHS)


@pytest.mark.parametrize(
    ("estimate", "measured"),
    [
        # Peaks of real processes in 32 bits (ru_maxrss), in MB: MiniLM, SmolLM2-135M, T5-small.
        (training_memory(22_716_296, 6, 384, 128, 16), 1277),
        (training_memory(22_716_296, 6, 384, 32, 4), 1001),
        (training_memory(22_716_296, 6, 384, 256, 32), 1363),
        (training_memory(23_379_848, 6, 384, 256, 32, trainable=814_472, method="lora"), 1303),
        (training_memory(134_515_008, 30, 576, 128, 2, vocabulary=49_152), 3204),
        (training_memory(60_506_624, 6, 512, 128, 8, target_length=64, vocabulary=32_128), 2565),
        (training_memory(23_379_848, 6, 384, 128, 16, trainable=814_472, method="lora"), 1216),
        (training_memory(22_716_296, 6, 384, 128, 16, trainable=150_920, method="head"), 711),
        (
            training_memory(
                139_399_488, 30, 576, 128, 4, trainable=4_884_480, method="lora", vocabulary=49_152
            ),
            3361,
        ),
        (training_memory(139_399_488, 30, 576, 32, 1, trainable=4_884_480, method="lora", vocabulary=49_152), 1286),
    ],
)  # fmt: skip
def test_estimates_lie_near_measured_peaks(estimate, measured):
    assert estimate / MB == pytest.approx(measured, rel=0.25)


def test_memory_falls_with_what_stays_as_it_is():
    def needed(**choices):
        return training_memory(7_000_000_000, 32, 4096, 128, 1, vocabulary=32_000, **choices)

    full, lora = needed(), needed(trainable=40_000_000, method="lora")
    eight, four = (needed(trainable=40_000_000, method="lora", quantization=bits) for bits in ("8", "4"))
    assert full > 3 * lora
    assert lora > 2 * eight > 2 * four
    assert needed(trainable=0, method="quick") < lora


def test_memory_counts_what_is_written():
    read = training_memory(60_000_000, 6, 512, 128, 8, target_length=64, vocabulary=32_000)
    assert training_memory(60_000_000, 6, 512, 128, 8, target_length=128, vocabulary=32_000) > read
    assert training_memory(60_000_000, 6, 512, 128, 8, target_length=64, vocabulary=64_000) > read


def test_available_memory_is_some(monkeypatch):
    assert sizing.available_memory() > 0
