"""Opening model folders: every family, with what is missing mended or named."""

import json
import shutil

import pytest

from core.errors import UserError
from core.models.opening import limit_length, open_model, open_tokenizer, positions
from tests import tiny

AUTO = {
    "encoder": "AutoModel",
    "language_model": "AutoModelForCausalLM",
    "encoder_decoder": "AutoModelForSeq2SeqLM",
}
FAMILIES = [
    *(("encoder", family) for family in tiny.ENCODERS),
    *(("language_model", family) for family in tiny.LANGUAGE_MODELS),
    *(("encoder_decoder", family) for family in tiny.ENCODER_DECODERS),
]
LABELS = "AutoModelForSequenceClassification"


def change(file, **entries):
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def code_of(folder, auto, **options):
    with pytest.raises(UserError) as wrong:
        open_model(folder, auto, **options)
    assert wrong.value.facts["name"] == folder.name
    return wrong.value.code


@pytest.mark.parametrize(("kind", "family"), FAMILIES)
def test_every_family_opens_and_reads(kind, family, tmp_path):
    import torch

    folder = getattr(tiny, kind)(tmp_path / "model", family)
    model, words = open_model(folder, AUTO[kind])
    assert words.pad_token_id == model.config.pad_token_id is not None
    assert model.config._attn_implementation == "sdpa"
    assert {part.dtype for part in model.parameters()} == {torch.float32}
    limits = {"encoder": 64, "language_model": 128, "encoder_decoder": 64} | {"roberta": 62, "t5": 0}
    most = limits.get(family, limits[kind])
    assert positions(model.config) == most
    assert limit_length(words, model, 1000) == words.model_max_length == (most or 1000)
    text = " ".join(["the red box is cold"] * 40)
    read = words([text, "the sun"], truncation=True, max_length=min(words.model_max_length, 100), padding=True)
    tokens = {name: torch.tensor(read[name]) for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        if kind == "encoder_decoder":
            tokens["labels"] = tokens["input_ids"]
        assert model(**tokens)[0].isfinite().all()
        if kind != "encoder":
            words.padding_side = "left" if kind == "language_model" else "right"
            short = words(["the sun", "the red box is cold"], padding=True, return_tensors="pt").to("cpu")
            written = model.generate(
                input_ids=short["input_ids"], attention_mask=short["attention_mask"], max_new_tokens=3
            )
            assert len(written) == 2


@pytest.mark.parametrize(
    ("kind", "family"), [f for f in FAMILIES if f[1] not in ("marian", "m2m_100", "nllb", "pegasus")]
)
def test_a_new_head_is_kept_once_it_is_saved(kind, family, tmp_path):
    import torch

    folder = getattr(tiny, kind)(tmp_path / "model", family)
    assert code_of(folder, LABELS) == "model_head_missing"
    model, words = open_model(folder, LABELS, overrides={"num_labels": 3}, new_head=True)
    model.save_pretrained(tmp_path / "result")
    words.save_pretrained(tmp_path / "result")
    again, _ = open_model(tmp_path / "result", LABELS)
    same, first = again.state_dict(), model.state_dict()
    assert all(torch.equal(same[name], part) for name, part in first.items())
    other, _ = open_model(tmp_path / "result", LABELS, overrides={"num_labels": 3}, new_head=True)
    changed = {name for name, part in other.state_dict().items() if not torch.equal(part, first[name])}
    assert changed
    assert all(name.startswith(("classifier", "score", "classification_head")) for name in changed)
    wider, _ = open_model(tmp_path / "result", LABELS, overrides={"num_labels": 5}, new_head=True)
    assert wider.config.num_labels == 5


def test_a_number_of_positions_means_nothing_where_distance_counts(tmp_path):
    folder = tiny.encoder_decoder(tmp_path / "model", "t5")
    change(folder / "config.json", n_positions=512)
    model, _ = open_model(folder, AUTO["encoder_decoder"])
    assert positions(model.config) == 0


@pytest.mark.parametrize(("dtype"), ["bfloat16", "float16"])
def test_the_dtype_is_the_one_asked_for(dtype, tmp_path):
    model, _ = open_model(tiny.language_model(tmp_path / "model"), AUTO["language_model"], dtype=dtype)
    assert {str(part.dtype) for part in model.parameters()} == {f"torch.{dtype}"}


# -- padding


def test_the_end_token_pads_where_there_is_no_other(tmp_path):
    _, words = open_model(tiny.language_model(tmp_path / "model", "gpt2"), AUTO["language_model"])
    assert words.pad_token == words.eos_token == "<|endoftext|>"


@pytest.mark.parametrize(("vocabulary", "pad"), [({"[PAD]": 1}, "[PAD]"), ({}, "<pad>")])
def test_without_an_end_token_a_usual_or_a_new_one_pads(vocabulary, pad, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tiny.language_model(tmp_path / "model", "llama")
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    filled = {"the": 0, **vocabulary} | {f"w{n}": n for n in range(2, rows)}
    inner = Tokenizer(models.WordLevel(filled, unk_token="the"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    for old in folder.glob("*token*"):
        old.unlink()
    PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(folder)
    model, words = open_model(folder, AUTO["language_model"])
    assert words.pad_token == pad
    batch = words(["the w3", "the"], padding=True, return_tensors="pt")
    assert model(batch["input_ids"], attention_mask=batch["attention_mask"])[0].isfinite().all()
    model.save_pretrained(tmp_path / "result")
    words.save_pretrained(tmp_path / "result")
    again, words_again = open_model(tmp_path / "result", AUTO["language_model"])
    assert words_again.pad_token_id == words.pad_token_id == again.config.pad_token_id
    assert again.get_input_embeddings().num_embeddings == model.get_input_embeddings().num_embeddings


# -- what does not belong together


def test_a_config_of_other_weights_is_named(tmp_path):
    small, other = tiny.encoder(tmp_path / "small", "bert"), tiny.encoder(tmp_path / "other", "roberta")
    shutil.copy(other / "model.safetensors", small / "model.safetensors")
    assert code_of(small, LABELS, new_head=True) == "model_config_mismatch"


def test_weights_that_lack_a_part_of_the_body_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny.language_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: part for name, part in weights.items() if "layers.1" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    assert code_of(folder, AUTO["language_model"]) == "model_config_mismatch"


def test_a_body_without_a_head_writes_nothing(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny.language_model(tmp_path / "model")
    change(folder / "config.json", tie_word_embeddings=False)
    assert code_of(folder, AUTO["language_model"]) == "model_head_missing"
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert open_model(folder, AUTO["language_model"])


@pytest.mark.parametrize(
    "entries",
    [
        {"hidden_size": "many"},
        {"num_attention_heads": 0},
        {"num_attention_heads": 5},
        {"hidden_act": "no such function"},
        {"model_type": "no such family"},
        {"model_type": ["bert"]},
        {"vocab_size": -1},
        {"rope_parameters": {"rope_type": "none such"}},
    ],
)
def test_a_config_that_makes_no_sense_is_one_error(entries, tmp_path):
    folder = tiny.language_model(tmp_path / "model")
    change(folder / "config.json", **entries)
    assert code_of(folder, AUTO["language_model"]) == "model_not_loadable"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"\xff" * 100),
        ("model.safetensors", b""),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\0\1"),
        ("config.json", b"[" * 100_000),
        ("config.json", b"[]"),
        ("tokenizer_config.json", b'"words"'),
        ("generation_config.json", b"{"),
    ],
)
def test_damaged_files_are_one_error(file, content, tmp_path):
    folder = tiny.language_model(tmp_path / "model")
    (folder / file).write_bytes(content)
    assert code_of(folder, AUTO["language_model"]) == "model_not_loadable"


def test_a_tokenizer_alone_opens_as_it_is(tmp_path):
    folder = tiny.language_model(tmp_path / "model", "gpt2")
    assert open_tokenizer(folder).pad_token is None
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="tokenizer_missing"):
        open_tokenizer(folder)


def test_a_tokenizer_of_bytes_needs_no_file(tmp_path):
    from transformers import ByT5Tokenizer

    folder = tiny.encoder_decoder(tmp_path / "model", "t5")
    for old in folder.glob("*token*"):
        old.unlink()
    ByT5Tokenizer().save_pretrained(folder)
    assert open_tokenizer(folder)("hi")["input_ids"] == [107, 108, 1]


def test_memory_that_runs_out_is_not_the_fault_of_the_model(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    folder = tiny.language_model(tmp_path / "model")
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", full)
    with pytest.raises(MemoryError):
        open_model(folder, AUTO["language_model"])
