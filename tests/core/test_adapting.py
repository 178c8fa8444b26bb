import json

import pytest
import torch
import transformers

from core.device import Device
from core.errors import UserError
from core.files import sha256
from core.models.adapting import adapt, has_adapter, head_modules, merged, quantization, reopen, trainable
from core.models.opening import open_model
from core.models.parts import adapter_files, is_part, model_files
from core.spec import DataChoice, ModelChoice, TrainSpec
from core.training import checkpoints
from tests import tiny

CPU = Device("cpu", "float32", 1, "test")
CUDA = Device("cuda", "bfloat16", 1, "test")
CLASSIFIERS = ["bert", "distilbert", "roberta", "modernbert", "gpt2", "llama", "t5", "bart"]
WRITERS = ["llama", "qwen2", "gpt2", "t5", "bart", "marian"]


def spec(method, **choices):
    return TrainSpec(data=DataChoice(table="0" * 64, columns={}), method=method, **choices)


def folder_of(path, family):
    if family in tiny.ENCODERS:
        return tiny.encoder(path, family)
    return (tiny.language_model if family in tiny.LANGUAGE_MODELS else tiny.encoder_decoder)(path, family)


def opened(folder, labels):
    if labels:
        return open_model(folder, "AutoModelForSequenceClassification", overrides={"num_labels": labels}, new_head=True)
    seq2seq = json.loads((folder / "config.json").read_text()).get("is_encoder_decoder")
    return open_model(folder, "AutoModelForSeq2SeqLM" if seq2seq else "AutoModelForCausalLM")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("families")
    return {family: folder_of(place / family, family) for family in {*CLASSIFIERS, *WRITERS}}


def batch(model):
    ids = torch.randint(4, 40, (2, 9), generator=torch.Generator().manual_seed(1))
    ids[:, -1] = model.config.eos_token_id or 4
    writes = model.config.is_encoder_decoder and model.get_output_embeddings() is not None
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)} | ({"decoder_input_ids": ids} if writes else {})


def train_a_little(model, steps=3):
    torch.manual_seed(3)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(steps):
        logits = model(**batch(model)).logits
        torch.nn.functional.cross_entropy(
            logits.flatten(0, -2), torch.ones(logits.flatten(0, -2).shape[0]).long()
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def logits_of(model):
    with torch.no_grad():
        return model(**batch(model)).logits


@pytest.mark.parametrize("choices", [{}, {"lora_dora": True}, {"lora_rslora": True}], ids=["plain", "dora", "rslora"])
@pytest.mark.parametrize(
    ("family", "labels"), [*((f, 3) for f in CLASSIFIERS), *((f, 0) for f in WRITERS)], ids=lambda v: str(v)
)
def test_merged_and_reloaded_logits_equal_the_trained_ones(folders, tmp_path, family, labels, choices):
    chosen = spec("lora", lora_rank=4, lora_alpha=16, **choices)
    torch.manual_seed(2)
    base, tokenizer = opened(folders[family], labels)
    untouched = logits_of(base.eval())
    model = adapt(base, chosen)
    train_a_little(model)
    trained = logits_of(model)
    assert (trained - untouched).abs().max() > 0.01

    checkpoints.save(model, tokenizer, tmp_path / "step-1")
    assert has_adapter(tmp_path / "step-1")
    assert checkpoints.verify(tmp_path / "step-1")
    whole, words = reopen(lambda: opened(folders[family], labels), tmp_path / "step-1")
    assert type(whole) is type(base)
    checkpoints.save(whole, words, tmp_path / "model")
    alone = getattr(transformers, type(base).__name__).from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    assert torch.allclose(logits_of(alone), trained, atol=1e-4, rtol=1e-4)
    assert torch.allclose(logits_of(merged(model).eval()), trained, atol=1e-4, rtol=1e-4)


def test_a_whole_model_is_merged_already(folders):
    model, _ = opened(folders["bert"], 2)
    assert merged(model) is model


def test_an_adapter_names_its_base_but_no_place_on_this_machine(folders, tmp_path):
    for number, (choice, name) in enumerate(
        [
            (ModelChoice(), "sentence-transformers/all-MiniLM-L6-v2"),
            (ModelChoice(source="hub", name="a/b", revision="0" * 40), "a/b"),
            (ModelChoice(source="directory", name=str(folders["bert"])), ""),
        ]
    ):
        model, tokenizer = opened(folders["bert"], 2)
        place = tmp_path / f"step-{number}"
        checkpoints.save(adapt(model, spec("lora", model=choice)), tokenizer, place)
        assert {f.name for f in place.iterdir()} == {
            "adapter_config.json", "adapter_model.safetensors", checkpoints.MANIFEST,
        }  # fmt: skip
        config = json.loads((place / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (name, choice.revision)
        assert str(tmp_path.parent) not in (place / "adapter_config.json").read_text()


def test_the_adapter_alone_is_copied_whole(folders, tmp_path):
    model, tokenizer = opened(folders["llama"], 0)
    checkpoints.save(adapt(model, spec("lora")), tokenizer, tmp_path / "step-1")
    checkpoints.save_adapter(tmp_path / "step-1", tmp_path / "adapter")
    assert checkpoints.verify(tmp_path / "adapter")
    digests = [{f.name: sha256(f) for f in adapter_files(tmp_path / place)} for place in ("step-1", "adapter")]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2
    assert not any(is_part(name) for name in digests[0])


@pytest.mark.parametrize("family", WRITERS)
def test_every_file_of_a_saved_model_belongs_to_it(folders, family):
    written = {f.name for f in folders[family].iterdir()}
    assert written == {f.name for f in model_files(folders[family])}


def test_targets_of_matrices(folders):
    def matrices(**choices):
        model = adapt(opened(folders["qwen2"], 0)[0], spec("lora", **choices))
        names = {n for n, p in model.named_parameters() if p.requires_grad and "lora_A" in n}
        return {n.split("model.model.layers.")[1].split(".lora_A")[0] for n in names}

    attention = {f"{layer}.self_attn.{m}_proj" for layer in (0, 1) for m in "qkvo"}
    assert matrices(lora_targets="attention") == attention
    assert matrices() == attention | {f"{layer}.mlp.{m}_proj" for layer in (0, 1) for m in ("gate", "up", "down")}
    assert matrices(lora_targets="attention", freeze_layers=1) == {n for n in attention if n.startswith("1.")}


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_first_layers_of_both_halves_get_no_matrices(folders, family):
    model = adapt(opened(folders[family], 0)[0], spec("lora", freeze_layers=1))
    changed = [n for n, p in model.named_parameters() if p.requires_grad]
    assert changed
    assert not [n for n in changed if ".block.0." in n or ".layers.0." in n]
    assert {side for side in ("encoder", "decoder") for n in changed if f".{side}." in n} == {"encoder", "decoder"}


def test_a_classifiers_head_is_trained_beside_the_matrices(folders):
    model = adapt(opened(folders["distilbert"], 3)[0], spec("lora"))
    changed = {
        n.split(".modules_to_save")[0].split("model.")[-1]
        for n, p in model.named_parameters()
        if p.requires_grad and "lora" not in n
    }
    assert changed == {"pre_classifier", "classifier"}


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_matrices_need_a_layer(folders, family):
    with pytest.raises(UserError, match="layers_all_frozen") as wrong:
        adapt(opened(folders[family], 0)[0], spec("lora", freeze_layers=2))
    assert wrong.value.facts == {"layers": 2}


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", {"classifier", "bert.pooler"}), ("distilbert", {"pre_classifier", "classifier"}),
        ("roberta", {"classifier"}), ("modernbert", {"head", "classifier"}), ("gpt2", {"score"}),
        ("t5", {"classification_head"}), ("bart", {"classification_head"}),
    ],
)  # fmt: skip
def test_the_head_alone_trains(folders, family, head):
    model, _ = opened(folders[family], 3)
    assert set(head_modules(model)) == head
    adapt(model, spec("head"))
    changed = {n for n, p in model.named_parameters() if p.requires_grad}
    assert changed
    assert all(any(n.startswith(f"{part}.") for part in head) for n in changed)
    before = {n: p.clone() for n, p in model.named_parameters()}
    train_a_little(model)
    assert {n for n, p in model.named_parameters() if not torch.equal(p, before[n])} == changed


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_model_that_writes_has_no_head_to_train(folders, family):
    with pytest.raises(UserError, match="method_unsupported"):
        adapt(opened(folders[family], 0)[0], spec("head"))


@pytest.mark.parametrize("method", ["quick", "few"])
def test_what_chooses_for_itself_begins_frozen(folders, method):
    model, _ = opened(folders["bert"], 3)
    assert adapt(model, spec(method)) is model
    assert trainable(model) == (0, sum(p.numel() for p in model.parameters()))


def test_frozen_layers_and_embeddings_stay_as_they_are(folders):
    model, _ = opened(folders["bert"], 3)
    adapt(model, spec("full", freeze_embeddings=True, freeze_layers=1))
    still = {n for n, p in model.named_parameters() if not p.requires_grad}
    tables = {f"bert.embeddings.{n}_embeddings.weight" for n in ("word", "position", "token_type")}
    between = {f"bert.embeddings.LayerNorm.{n}" for n in ("weight", "bias")}
    assert tables | between <= still
    assert still - tables - between == {n for n, _ in model.named_parameters() if n.startswith("bert.encoder.layer.0.")}


def test_freezing_tied_embeddings_freezes_the_output_too(folders):
    model, _ = opened(folders["gpt2"], 0)
    adapt(model, spec("full", freeze_embeddings=True))
    assert not model.get_output_embeddings().weight.requires_grad
    assert trainable(model)[0] == sum(p.numel() for p in model.transformer.h.parameters()) + 2 * 32


@pytest.mark.parametrize(
    ("method", "bits", "device", "code"),
    [
        ("full", "4", CUDA, "quantization_needs_lora"),
        ("lora", "4", CPU, "quantization_needs_cuda"),
        ("lora", "8", Device("mps", "float32", 1, "test"), "quantization_needs_cuda"),
        ("lora", "8", CUDA, "quantization_missing"),
    ],
)
def test_rounded_weights_are_refused_where_they_cannot_be(monkeypatch, method, bits, device, code):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError) as wrong:
        quantization(spec(method, quantization=bits), device)
    assert (wrong.value.code, wrong.value.facts) == (code, {"bits": bits})


def test_rounded_weights_on_cuda(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert quantization(spec("lora"), CUDA) is None
    four, eight = (quantization(spec("lora", quantization=bits), CUDA) for bits in ("4", "8"))
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_compute_dtype) == (True, "nf4", torch.bfloat16)
    assert eight.load_in_8bit
    assert not eight.load_in_4bit
    assert {"classifier", "score", "lm_head"} <= set(eight.llm_int8_skip_modules)
