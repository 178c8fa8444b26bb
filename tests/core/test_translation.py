"""Translation, and with it all tasks that write a text for a text, with a tiny model of each family."""

import io
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import sentencepiece
import torch
import transformers
from transformers import AutoTokenizer, GenerationConfig

from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.models.notes import notes
from core.models.opening import open_model
from core.spec import DataChoice, TrainSpec, Writing
from core.tasks import _language_codes
from core.tasks._batches import IGNORED
from core.tasks._language_codes import Codes, codes_of, english_name
from core.tasks._prompts import end_token, prompt_ids, source_ids
from core.tasks._reading import reading_of
from core.tasks.translation import TASK
from tests import tiny

DEVICE = Device("cpu", "float32", 1, "test")
MEANS = {"red": "snow", "green": "rain", "blue": "wind", "warm": "cold", "sun": "box", "late": "early"}
FAMILIES = [*tiny.ENCODER_DECODERS, *tiny.LANGUAGE_MODELS, "gpt2-plain"]


def table(count: int = 60) -> pd.DataFrame:
    drawn = random.Random(1)
    texts = [" ".join(drawn.choices(list(MEANS), k=drawn.choice((2, 3)))) for _ in range(count)]
    answers = [" ".join(MEANS[word] for word in text.split()) for text in texts]
    return pd.DataFrame({"row": range(count), "source": texts, "target": answers})


def parts(rows: pd.DataFrame) -> Split:
    return Split(rows, rows[:10], rows[:10], (), ())


def spec(**changes: Any) -> TrainSpec:
    columns = DataChoice(table="0" * 64, columns={"source": "source", "target": "target"})
    usual: dict[str, Any] = {
        "source_language": "en", "target_language": "de", "instruction": "to", "max_length": 120,
        "max_target_length": 32, "max_new_tokens": 24, "dropout": 0.0,
    }  # fmt: skip
    return TrainSpec(task="translation", data=columns, **(usual | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(family: str) -> Path:
        if family not in made:
            place = tmp_path_factory.mktemp(family)
            if family in tiny.ENCODER_DECODERS:
                made[family] = tiny.encoder_decoder(place, family)
            else:
                name, _, plain = family.partition("-")
                made[family] = tiny.language_model(place, name, chat_template=not plain)
        return made[family]

    return of


def learn(model: Any, tokenizer: Any, rows: pd.DataFrame, steps: int, rate: float = 1e-2) -> list[float]:
    """Losses of so many steps of a plain loop."""
    torch.manual_seed(1)
    encoded = list(TASK.encode(rows, (), model, tokenizer, spec()))
    collate, loss_of = TASK.collate(model, tokenizer), TASK.loss(parts(rows))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    drawn, losses = random.Random(1), []
    model.train()
    for _ in range(steps):
        batch = collate(drawn.sample(encoded, 16))
        labels = batch.pop("labels")
        loss = loss_of(model(**batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_learns_and_writes_the_same_once_saved(
    family: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = table()
    model, tokenizer = TASK.load(folder(family), parts(rows), spec())
    losses = learn(model, tokenizer, rows, 12)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert losses[0] == pytest.approx(_uniform(folder(family)), rel=0.3)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = TASK.reload(tmp_path)
    asked = TASK.asked(rows)[:6]
    before = [prediction.answer for prediction in TASK.predict(model, tokenizer, asked, DEVICE)]
    assert [prediction.answer for prediction in TASK.predict(*again, asked, DEVICE)] == before
    assert [TASK.predict(*again, [one], DEVICE)[0].answer for one in asked] == before
    assert "".join(TASK.stream(*again, asked[0], DEVICE)) == before[0]
    assert GenerationConfig.from_pretrained(tmp_path).max_new_tokens == 24


def _uniform(folder: Path) -> float:
    """The loss of a guess that holds every token for equally likely, as an untrained model about does."""
    return math.log(json.loads((folder / "config.json").read_text())["vocab_size"])


@pytest.mark.parametrize("family", FAMILIES)
def test_how_likely_answers_are_is_what_the_library_computes(family: str, folder: Callable[[str], Path]) -> None:
    rows = table(4)
    model, tokenizer = TASK.load(folder(family), parts(rows), spec())
    found = TASK.answer(model, tokenizer, rows, spec(), DEVICE).token_losses
    for row, (loss, tokens, _) in zip(TASK.encode(rows, (), model, tokenizer, spec()), found, strict=True):
        with torch.no_grad():
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
            assert loss / tokens == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), rel=1e-4)


def test_it_learns_a_toy_language(folder: Callable[[str], Path]) -> None:
    rows = table(100)
    model, tokenizer = TASK.load(folder("bart"), parts(rows), spec())
    before = TASK.answer(model, tokenizer, rows[:20], spec(), DEVICE)
    learn(model, tokenizer, rows, 150)
    after = TASK.answer(model, tokenizer, rows[:20], spec(), DEVICE)
    right = [p.answer == wanted for p, wanted in zip(after.predictions, TASK.references(rows), strict=False)]
    assert sum(right) >= 8
    assert sum(loss for loss, _, _ in after.token_losses) < 0.3 * sum(loss for loss, _, _ in before.token_losses)


def test_answers_alone_are_learned(folder: Callable[[str], Path]) -> None:
    rows = table()
    model, tokenizer = TASK.load(folder("llama"), parts(rows), spec())
    row = TASK.encode(rows, (), model, tokenizer, spec())[0]
    learned = [label for label in row["labels"] if label != IGNORED]
    assert tokenizer.decode(learned) == rows["target"][0] + "</s>"
    asked = row["input_ids"][: len(row["input_ids"]) - len(learned)]
    assert asked == prompt_ids(tokenizer, "to", rows["source"][0])
    assert tokenizer.decode(asked).endswith("<|im_start|>assistant\n")
    assert row["length"] == len(row["input_ids"]) == len(row["labels"]) == len(row["attention_mask"])


def test_labels_stand_where_they_are_predicted(folder: Callable[[str], Path]) -> None:
    rows = table()
    for family in ("llama", "t5"):
        model, tokenizer = TASK.load(folder(family), parts(rows), spec())
        encoded = TASK.encode(rows, (), model, tokenizer, spec())
        batch = TASK.collate(model, tokenizer)([encoded[i] for i in range(4)])
        outputs = model(**{name: part for name, part in batch.items() if name != "labels"})
        guesses = TASK.reduce_logits(outputs.logits, batch["labels"])
        assert guesses.shape == batch["labels"].shape
        assert TASK.evaluation_scores(batch["labels"].numpy(), batch["labels"].numpy()) == {"token_accuracy": 1.0}
        if family == "llama":
            place = int((batch["labels"][0] != IGNORED).nonzero()[0])
            left_out = batch["input_ids"].shape[1] - batch["labels"].shape[1]
            assert left_out > 0
            assert batch["labels"][0, place] == batch["input_ids"][0, left_out + place + 1]
        else:
            assert batch["decoder_input_ids"][0, 1:4].tolist() == batch["labels"][0, :3].tolist()


@pytest.mark.parametrize("family", ["llama", "gpt2-plain"])
@pytest.mark.parametrize("how", ["head", "tail", "both"])
def test_of_a_long_example_the_text_is_cut(family: str, how: Any, folder: Callable[[str], Path]) -> None:
    text = "red " * 50 + "green " * 50 + "blue " * 50
    rows = pd.DataFrame({"row": [0], "source": [text], "target": ["cold cold"]})
    model, tokenizer = TASK.load(folder(family), parts(table()), spec(max_length=60, truncation=how))
    row = TASK.encode(rows, (), model, tokenizer, spec())[0]
    whole = tokenizer.decode(row["input_ids"])
    assert 50 < len(row["input_ids"]) <= 60
    assert whole.replace("<s>", "").lstrip().startswith("<|im_start|>user\nto\n\n" if family == "llama" else "to\n\n")
    assert tokenizer.decode([label for label in row["labels"] if label != IGNORED]).startswith("cold cold")
    assert ("red" in whole, "blue" in whole) == (how != "tail", how != "head")


def test_of_a_long_source_neither_prefix_nor_end_is_cut(folder: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder("t5"))
    ids = source_ids(tokenizer, "the box: ", "red " * 50 + "blue", 20, "tail")
    text = tokenizer.decode(ids)
    assert len(ids) <= 20
    assert text.startswith("the box: ")
    assert text.endswith("blue</s>")


def test_positions_bound_what_is_read(folder: Callable[[str], Path]) -> None:
    model, tokenizer = TASK.load(folder("bart"), parts(table()), spec(max_length=512, max_target_length=512))
    assert (reading_of(model).max_length, reading_of(model).max_target_length) == (64, 64)
    long = "sun " * 500
    assert TASK.predict(model, tokenizer, [long], DEVICE, Writing(max_new_tokens=512)) is not None
    model, _ = TASK.load(folder("gpt2"), parts(table()), spec(max_length=512, max_target_length=512))
    assert (reading_of(model).max_length, reading_of(model).room) == (128, 64)


def test_a_prompt_leaves_room_for_its_answer(folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = TASK.load(folder("gpt2"), parts(table()), spec(max_length=100))
    asked: list[list[int]] = []

    def write(model: Any, tokenizer: Any, prompts: list[list[int]], *rest: Any, **more: Any) -> list[str]:
        asked.extend(prompts)
        return [""] * len(prompts)

    monkeypatch.setattr("core.tasks._generation.write", write)
    TASK.predict(model, tokenizer, ["sun " * 500, "sun"], DEVICE)
    assert 60 <= len(asked[0]) <= 100 - 32
    assert len(asked[1]) < 60


def test_an_answer_that_is_cut_has_no_end_to_learn(folder: Callable[[str], Path]) -> None:
    rows = pd.DataFrame({"row": range(2), "source": ["red", "red"], "target": ["cold " * 30, "cold"]})
    model, tokenizer = TASK.load(folder("llama"), parts(table()), spec(max_target_length=8))
    long, short = TASK.encode(rows, (), model, tokenizer, spec())
    assert sum(label != IGNORED for label in long["labels"]) == 8
    assert long["labels"][-1] != tokenizer.eos_token_id
    assert short["labels"][-1] == tokenizer.eos_token_id


def test_where_no_answer_fits_training_is_refused(folder: Callable[[str], Path]) -> None:
    rows = table()
    rows["target"] = "cold " * 30
    model, tokenizer = TASK.load(folder("llama"), parts(table()), spec(max_target_length=8))
    with pytest.raises(UserError) as error:
        TASK.encode(rows, (), model, tokenizer, spec())
    assert error.value.code == "target_longer_than_limit"
    assert error.value.facts["most"] == 8
    assert int(error.value.facts["usual"]) > 8


def test_an_instruction_without_room_for_a_text_is_refused(folder: Callable[[str], Path]) -> None:
    long = spec(instruction="please " * 200)
    model, tokenizer = TASK.load(folder("llama"), parts(table()), long)
    with pytest.raises(UserError) as error:
        TASK.encode(table(), (), model, tokenizer, long)
    assert error.value.code == "instruction_too_long"


def test_an_encoder_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        TASK.load(tiny.encoder(tmp_path), parts(table()), spec())
    assert error.value.code == "model_wrong_kind"


def test_a_model_that_was_not_made_here_is_no_result(folder: Callable[[str], Path]) -> None:
    with pytest.raises(UserError) as error:
        TASK.reload(folder("t5"))
    assert error.value.code == "model_not_loadable"


# -- languages

LAYOUTS = {
    "nllb": ("eng_Latn red</s>", "deu_Latn snow</s>"),
    "mbart": ("red</s>en_XX", "snow</s>de_DE"),
    "marian": (">>de<< red</s>", "snow</s>"),
    "t5": ("the box: red</s>", "snow</s>"),
    "bart": ("<s>red</s>", "<s>snow</s>"),
}


@pytest.mark.parametrize("family", LAYOUTS)
def test_each_family_is_told_the_languages_in_its_own_way(
    family: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(TASK), "prefix", lambda self, source, target: "the box: ")
    rows = pd.DataFrame({"row": [0], "source": ["red"], "target": ["snow"]})
    model, tokenizer = TASK.load(folder(family), parts(table()), spec(instruction=""))
    row = TASK.encode(rows, (), model, tokenizer, spec())[0]
    source, target = (tokenizer.decode(row[name]).replace("</s> ", "</s>") for name in ("input_ids", "labels"))
    assert (source.replace("  ", " "), target) == LAYOUTS[family]


def test_the_target_language_is_where_writing_begins(folder: Callable[[str], Path], tmp_path: Path) -> None:
    model, tokenizer = TASK.load(folder("nllb"), parts(table()), spec())
    assert model.generation_config.forced_bos_token_id == tokenizer.convert_tokens_to_ids("deu_Latn")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    assert (saved.src_lang, saved.tgt_lang) == ("eng_Latn", "deu_Latn")
    assert GenerationConfig.from_pretrained(tmp_path).forced_bos_token_id == model.generation_config.forced_bos_token_id
    model, tokenizer = TASK.load(folder("mbart"), parts(table()), spec())
    assert model.generation_config.decoder_start_token_id == tokenizer.convert_tokens_to_ids("de_DE")
    assert model.generation_config.forced_bos_token_id is None


@pytest.mark.parametrize(
    ("style", "tokens", "language", "code"),
    [
        ("flores", ["deu_Latn", "zho_Hans", "zho_Hant"], "zh", "zho_Hans"),
        ("flores", ["deu_Latn", "zho_Hans", "zho_Hant"], "zho_Hant", "zho_Hant"),
        ("flores", ["ceb_Latn", "deu_Latn"], "ceb", "ceb_Latn"),
        ("mbart", ["de_DE", "zh_CN"], "zh-TW", "zh_CN"),
        ("m2m", ["__de__", "__zh__"], "de", "__de__"),
        ("marian", [">>cmn_Hans<<", ">>deu<<"], "zh", ">>cmn_Hans<<"),
        ("marian", [">>ara<<", ">>deu<<"], "ar", ">>ara<<"),
        ("marian", [">>fr<<", ">>de<<"], "de", ">>de<<"),
        ("marian", [">>pt_BR<<", ">>pt<<"], "pt_BR", ">>pt_BR<<"),
    ],
)
def test_iso_codes_become_the_codes_of_the_family(style: str, tokens: list[str], language: str, code: str) -> None:
    assert Codes(style, {token: number for number, token in enumerate(tokens)}).token(language) == code


def test_every_language_of_the_table_is_one_that_nllb_knows() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    named = {code: flores for code, (_, flores) in _language_codes._LANGUAGES.items()}
    assert set(named.values()) <= set(FAIRSEQ_LANGUAGE_CODES)
    assert len(set(named.values())) == len(named) > 100
    assert (english_name("de"), english_name("zh-CN"), english_name("xx")) == ("German", "Chinese", "xx")


@pytest.mark.parametrize(("family", "language"), [("nllb", "xx"), ("mbart", "sv"), ("marian", "ja")])
def test_a_language_that_a_model_does_not_know_is_refused(
    family: str, language: str, folder: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError) as error:
        TASK.load(folder(family), parts(table()), spec(target_language=language))
    assert error.value.code == "language_pair_unknown"
    assert error.value.facts["language"] == language
    assert "<" not in str(error.value.facts["known"])


def test_languages_that_are_not_told_are_guessed_from_the_rows(folder: Callable[[str], Path]) -> None:
    english = ["The parcel came two days late and the box was broken.", "Where can I see how much I have to pay?"]
    german = ["Das Paket kam zwei Tage zu spät und war beschädigt.", "Wo sehe ich, wie viel ich bezahlen muss?"]
    rows = pd.DataFrame({"row": range(20), "source": english * 10, "target": german * 10})
    model, tokenizer = TASK.load(folder("nllb"), parts(rows), spec(source_language="", target_language=""))
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == ("eng_Latn", "deu_Latn")
    assert notes(model)["target_language"] == "de"
    untold = spec(source_language="", target_language="", instruction="")
    model, _ = TASK.load(folder("llama"), parts(rows), untold)
    assert notes(model)["instruction"] == TASK.instruction("en", "de")
    assert "from English into German" in TASK.instruction("en", "de")


def test_languages_that_cannot_be_guessed_are_asked_for(folder: Callable[[str], Path]) -> None:
    rows = pd.DataFrame({"row": range(9), "source": ["12"] * 9, "target": ["34"] * 9})
    untold = spec(source_language="", target_language="", instruction="")
    with pytest.raises(UserError) as error:
        TASK.load(folder("nllb"), parts(rows), untold)
    assert error.value.code == "languages_not_told"
    for family in ("bart", "t5", "llama"):
        assert TASK.load(folder(family), parts(rows), untold)
    assert TASK.instruction("", "") == "Translate this text. Answer with the translation alone."


def test_a_tokenizer_without_places_for_codes_is_told_nothing() -> None:
    words = SimpleNamespace(get_vocab=lambda: {"__de__": 1})
    assert codes_of(SimpleNamespace(config=SimpleNamespace(model_type="m2m_100")), words) is None
    words.src_lang = "en"
    found = codes_of(SimpleNamespace(config=SimpleNamespace(model_type="m2m_100")), words)
    assert found == Codes("m2m", {"__de__": 1})


def sentence_pieces(file: Path) -> list[str]:
    """A small SentencePiece model, saved to `file`; its pieces without the special ones."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(tiny.WORDS)] * 20),
        model_writer=model,
        vocab_size=60,
        model_type="bpe",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    file.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    return [piece for piece in pieces if piece not in ("<unk>", "<s>", "</s>")]


def real_tokenizer(folder: Path, family: str) -> Path:
    """A tiny model of the two families whose own tokenizers need SentencePiece, with such a tokenizer."""
    if family == "marian":
        pieces = sentence_pieces(folder / "source.spm")
        shutil.copy(folder / "source.spm", folder / "target.spm")
        words = [">>deu<<", ">>fra<<", "</s>", "<unk>", *pieces, "<pad>"]
        ids = {"vocab_size": len(words), "pad_token_id": len(words) - 1, "decoder_start_token_id": len(words) - 1}
    else:
        words = ["<s>", "<pad>", "</s>", "<unk>", *sentence_pieces(folder / "sentencepiece.bpe.model")]
        # Behind the words are a hundred languages and eight tokens that fill up.
        ids = {"vocab_size": len(words) + 108, "pad_token_id": 1, "decoder_start_token_id": 2}
    name = {"marian": "Marian", "m2m_100": "M2M100"}[family]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": f"{name}Tokenizer"}))
    config = json.loads((tiny.encoder_decoder(folder / "other", family) / "config.json").read_text())
    shape = getattr(transformers, f"{name}Config")(**(config | ids | {"eos_token_id": 2, "forced_eos_token_id": 2}))
    transformers.AutoModelForSeq2SeqLM.from_config(shape).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "source", "target"),
    [("marian", [">>deu<<", "▁red", "</s>"], "snow</s>"), ("m2m_100", ["__en__", "▁red", "</s>"], "__de__ snow</s>")],
)
def test_tokenizers_of_sentencepiece_tell_the_languages_too(
    family: str, source: list[str], target: str, tmp_path: Path
) -> None:
    model, tokenizer = TASK.load(real_tokenizer(tmp_path, family), parts(table()), spec())
    assert type(tokenizer).__name__ in ("MarianTokenizer", "M2M100Tokenizer")
    rows = pd.DataFrame({"row": [0], "source": ["red"], "target": ["snow"]})
    row = TASK.encode(rows, (), model, tokenizer, spec())[0]
    read = tokenizer.convert_ids_to_tokens(row["input_ids"])
    assert read[0] == source[0]
    assert "".join(read[1:]) == "".join(source[1:])
    assert tokenizer.decode(row["labels"]) == target
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again = TASK.reload(tmp_path / "saved")
    asked = TASK.asked(table())[:3]
    written = [prediction.answer for prediction in TASK.predict(model, tokenizer, asked, DEVICE)]
    assert [prediction.answer for prediction in TASK.predict(*again, asked, DEVICE)] == written
    assert not any(text.startswith("__de__") for text in written)
    with pytest.raises(UserError) as error:
        TASK.load(tmp_path, parts(table()), spec(target_language="xx"))
    assert error.value.code == "language_pair_unknown"


# -- prompts and reports


def test_the_end_of_an_answer_is_what_the_template_says(folder: Callable[[str], Path]) -> None:
    _, tokenizer = open_model(folder("qwen2"), "AutoModelForCausalLM")
    assert end_token(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    _, tokenizer = open_model(folder("llama"), "AutoModelForCausalLM")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<end>{% endfor %}"
    assert end_token(tokenizer) == tokenizer.convert_tokens_to_ids("<end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}, {% endfor %}"
    assert end_token(tokenizer) == tokenizer.eos_token_id


def test_writing_ends_where_the_template_ends_a_turn(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.language_model(tmp_path))
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.save_pretrained(tmp_path)
    model, tokenizer = TASK.load(tmp_path, parts(table()), spec())
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert model.generation_config.eos_token_id == ends
    assert TASK.encode(table(), (), model, tokenizer, spec())[0]["labels"][-1] == ends[1]


def test_what_the_model_writes_is_told_as_it_goes(folder: Callable[[str], Path]) -> None:
    rows = table(40)
    model, tokenizer = TASK.load(folder("bart"), parts(rows), spec(max_new_tokens=4))
    told: list[tuple[int, int]] = []
    TASK.answer(model, tokenizer, rows, spec(), DEVICE, lambda done, of: told.append((done, of)))
    assert told == [(32, 40), (40, 40)]


def test_the_report_compares_with_copies_and_neighbours(folder: Callable[[str], Path]) -> None:
    rows = table(40)
    model, tokenizer = TASK.load(folder("bart"), parts(rows), spec(max_new_tokens=4))
    ours = TASK.answer(model, tokenizer, rows[:10], spec(), DEVICE)
    others = TASK.simple_answers(parts(rows), rows[:10], spec()) | {"untouched": ours}
    assert [prediction.answer for prediction in others["copied"].predictions] == rows["source"][:10].tolist()
    report = TASK.judge(rows[:10], (), ours, others)
    assert set(report["baselines"]) == set(TASK.baselines)
    assert report["baselines"]["nearest"]["chrf"] == 100
    assert set(report["metrics"]) == {*TASK.metrics, "intervals"}
    assert {"chrf", "bleu"} <= set(report["signatures"])
