"""The card of every kind of result, and its lines of Python: run by a stranger, they answer as the task does."""

import ast
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformers
import yaml

from core import files
from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.evaluation.answers import Answers
from core.evaluation.scales import SCALES
from core.models import notes
from core.models.adapting import adapt
from core.publishing import adapter, archive, card_markup, card_use
from core.publishing.card import model_card
from core.runs.store import RunRecord, RunStore
from core.spec import DataChoice, ModelChoice, TrainSpec
from core.tasks.base import find
from core.training import checkpoints
from tests import tiny

DEVICE = Device("cpu", "float32", 1, "test")
TEXT = "A text like those that it was trained on."
QUESTION = "A question like those that it was trained on."
BEGINNING = "The beginning of a text"
LABELS = ("cold", "warm 😀 \u202eevil")


def m2m(folder: Path) -> Path:
    """An M2M100 with its own tokenizer, which lies in other files than the rest, and shows codes of languages."""
    import sentencepiece

    pieces_of = io.BytesIO()  # trained from files, it would hold their names
    texts = [" ".join(tiny.WORDS)] * 50 + [TEXT] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=pieces_of, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    (folder / "words").mkdir(parents=True)
    files.write_bytes(folder / "words" / "m.model", pieces_of.getvalue())
    inner = sentencepiece.SentencePieceProcessor(model_file=str(folder / "words" / "m.model"))
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [piece for piece in map(inner.id_to_piece, range(inner.get_piece_size())) if piece not in special]
    numbers = {piece: number for number, piece in enumerate([*special, *pieces])}
    files.write_json(folder / "words" / "vocab.json", numbers)
    words = transformers.M2M100Tokenizer(
        vocab_file=str(folder / "words" / "vocab.json"), spm_file=str(folder / "words" / "m.model"), model_max_length=64
    )
    shape = transformers.M2M100Config(
        vocab_size=len(words) + 120, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    transformers.AutoModelForSeq2SeqLM.from_config(shape).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


KINDS = {
    "classification-bert": ("classification", partial(tiny.encoder, family="bert"), {"truncation": "tail"}),
    "classification-llama": ("classification", partial(tiny.language_model, family="llama"), {}),
    "multi_label-bert": ("multi_label", partial(tiny.encoder, family="bert"), {}),
    "summarization-t5": ("summarization", partial(tiny.encoder_decoder, family="t5"), {"no_repeat_ngram": 2}),
    "summarization-bart": ("summarization", partial(tiny.encoder_decoder, family="bart"), {"beams": 2}),
    "translation-marian": ("translation", partial(tiny.encoder_decoder, family="marian"), {}),
    "translation-mbart": ("translation", partial(tiny.encoder_decoder, family="mbart"), {}),
    "translation-nllb": ("translation", partial(tiny.encoder_decoder, family="nllb"), {}),
    "translation-m2m": ("translation", m2m, {}),
    "translation-gpt2": (
        "translation",
        partial(tiny.language_model, family="gpt2"),
        {"instruction": 'Say "`it`"\n```'},
    ),
    "translation-plain": ("translation", partial(tiny.language_model, family="qwen2", chat_template=False), {}),
    "chat-qwen2": ("chat", partial(tiny.language_model, family="qwen2"), {"instruction": "Be 😀 kind."}),
    "chat-plain": ("chat", partial(tiny.language_model, family="llama", chat_template=False), {"stop": "e"}),
    "text_generation-llama": ("text_generation", partial(tiny.language_model, family="llama"), {}),
}
COLUMNS = {
    "classification": {"text": [TEXT, "snow"] * 6, "label": list(LABELS) * 6},
    "multi_label": {"text": [TEXT, "snow", "rain"] * 4, "labels": [LABELS, LABELS[:1], ()] * 4},
    "translation": {"source": ["red sun", "blue snow"] * 6, "target": ["rote Sonne", "blauer Schnee"] * 6},
    "summarization": {"text": ["red sun on the box. It was late.", "snow"] * 6, "summary": ["sun", "snow"] * 6},
    "chat": {"prompt": ["where is my order", "login broken"] * 6, "answer": ["it never came", "again please"] * 6},
    "text_generation": {"text": ["red sun and blue snow again", "the box was cracked twice"] * 6},
}


class Made:
    """A finished run of a tiny model, as `core.training.run` leaves it: trained by nothing, judged for real."""

    def __init__(self, place: Path, kind: str, **changes: Any) -> None:
        task_id, base, choices = KINDS[kind]
        self.task = find(task_id)
        table = pd.DataFrame({"row": range(2, 14), **COLUMNS[task_id]})
        self.split = Split(table, table, table, tuple(sorted(LABELS)) if not self.task.writes else (), ())
        usual: dict[str, Any] = {
            "max_length": 120,
            "max_target_length": 16,
            "max_new_tokens": 12,
            "dropout": 0.0,
            "seed": 1,
        }
        if task_id == "translation":
            usual |= {"source_language": "en", "target_language": "de"}
        data = DataChoice(table="0" * 64, columns={"text": "text"}, name="rows.csv")
        self.spec = TrainSpec(task=task_id, data=data, **(usual | choices | changes))
        self.store = RunStore(place / "home")
        self.record = self.store.create(self.spec, "local", "My rows")
        self.folder = self.store.folder(self.record.id) / "model"
        torch.manual_seed(3)
        self.base = base(place / "base")
        self.model, self.tokenizer = self.task.load(self.base, self.split, self.spec)
        self._shake()
        self.task.finish(self.model, self.tokenizer, self.split, self.spec, DEVICE)
        checkpoints.save(self.model, self.tokenizer, self.folder)
        self.report = self._report()
        files.write_json(self.folder.parent / "report.json", self.report)

    def _shake(self) -> None:
        """Other weights, until answers to different texts differ, as they do after a training."""
        weights = [
            w for n, w in self.model.named_parameters() if w.dim() > 1 and "embed" not in n and "shared" not in n
        ]
        with torch.no_grad():
            for seed in range(50):
                torch.manual_seed(seed)
                for weight in weights:
                    weight.normal_(std=0.4)
                said = {self.answers(text) for text in (TEXT, QUESTION, BEGINNING, "snow")}
                if not self.task.writes or (len(said) > 2 and all(len(text) > 3 for text in said)):
                    return
        raise AssertionError("no weights found")

    def _report(self) -> dict[str, Any]:
        rows = self.split.test
        ours = self.task.answer(self.model, self.tokenizer, rows, self.spec, DEVICE)
        others: dict[str, Answers] = self.task.simple_answers(self.split, rows, self.spec)
        others |= {"untouched": ours} if "untouched" in self.task.baselines else {}
        has_template = bool(getattr(self.tokenizer, "chat_template", None))
        return {
            "data": {"name": "rows.csv", "label_counts": {}, "findings": [{"code": "chat_roles", "rows": 1}]},
            "rows": {**self.split.sizes(), "judged": 5},
            "use": {**notes.notes(self.model), "chat_template": has_template},
            "model": {"trainable": 7, "parameters": 1000},
            **self.task.judge(rows, self.split.labels, ours, others),
        }

    def card(self, repo_id: str | None = None) -> str:
        return model_card(self.spec, self.report, self.record, repo_id)

    def answers(self, asked: Any) -> str:
        return self.task.predict(self.model, self.tokenizer, [asked], DEVICE)[0].answer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    found: dict[str, Made] = {}

    def of(kind: str) -> Made:
        if kind not in found:
            found[kind] = Made(tmp_path_factory.mktemp(kind), kind)
        return found[kind]

    return of


# -- the lines of Python


def program_of(text: str) -> str:
    """The lines as a Markdown reader shows them, whose fence may be longer than three backticks."""
    fence, lines = re.search(r"(`{3,})python\n(.*?)\n\1\n", text, re.DOTALL).groups()  # type: ignore[union-attr]
    assert fence.count("`") == len(fence)
    return str(lines)


STRANGER = textwrap.dedent("""
    import contextlib, io, json, os, sys, traceback
    said = {}
    for folder in sys.argv[1:]:
        os.chdir(folder)
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(open("program.py", encoding="utf-8").read(), folder, "exec"), {"__name__": "__main__"})
            said[folder] = out.getvalue()
        except Exception:
            said[folder] = traceback.format_exc()
        assert not any(name.split(".")[0] in ("core", "tests") for name in sys.modules)
    json.dump(said, open(os.environ["SAID"], "w"))
""")


def run_as_a_stranger(folders: list[Path], out: Path) -> dict[Path, str]:
    """What `program.py` of each folder prints, in a process that knows nothing of this project."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(out), "HF_HUB_OFFLINE": "1", "SAID": str(out / "said.json")}
    bare |= {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, *folders], env=bare, cwd=out, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {Path(folder): said for folder, said in files.read_json(out / "said.json").items()}


@pytest.fixture(scope="module")
def said(made: Callable[[str], Made], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the lines of each card print, run in the folder of its unpacked zip. One process, for the imports' sake."""
    place = tmp_path_factory.mktemp("strangers")
    for kind in KINDS:
        one = made(kind)
        archive.write_zip(one.folder, place / f"{kind}.zip", one.card())
        with zipfile.ZipFile(place / f"{kind}.zip") as opened:
            opened.extractall(place / kind)
        (place / kind / "program.py").write_text(
            program_of((place / kind / "README.md").read_text("utf-8")), encoding="utf-8"
        )
    told = run_as_a_stranger([place / kind for kind in KINDS], place)
    return {folder.name: text for folder, text in told.items()}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if find(KINDS[kind][0]).writes])
def test_the_lines_write_what_the_task_writes(kind: str, made: Callable[[str], Made], said: dict[str, str]) -> None:
    one = made(kind)
    asked = {"chat": QUESTION, "continuation": BEGINNING}.get(one.task.answers, TEXT)
    expected = one.answers(asked)
    assert expected.strip()
    if one.task.answers == "continuation":
        expected = BEGINNING + expected
    # The task takes off what is left of a character whose bytes are not all there.
    assert said[kind].strip().rstrip("\ufffd") == expected.strip()


@pytest.mark.parametrize("kind", ["classification-bert", "classification-llama"])
def test_the_lines_give_the_label_that_the_task_gives(
    kind: str, made: Callable[[str], Made], said: dict[str, str]
) -> None:
    one = made(kind)
    (found,) = ast.literal_eval(said[kind].strip())
    (expected,) = one.task.predict(one.model, one.tokenizer, [TEXT], DEVICE)
    assert found["label"] == expected.answer
    assert found["score"] == pytest.approx(expected.confidence, abs=1e-4)


def test_the_lines_say_which_labels_are_given(made: Callable[[str], Made], said: dict[str, str]) -> None:
    one = made("multi_label-bert")
    (scores,) = ast.literal_eval(said["multi_label-bert"].strip())
    (expected,) = one.task.predict(one.model, one.tokenizer, [TEXT], DEVICE)
    assert {s["label"]: pytest.approx(s["score"], abs=1e-4) for s in scores} == dict(expected.probabilities)
    lines = re.findall(r"^#   (\".*\"): (\d\.\d{3})$", program_of(one.card()), re.MULTILINE)
    told = {ast.literal_eval(label): float(value) for label, value in lines}
    assert told == {label: pytest.approx(value, abs=1e-3) for label, value in one.report["use"]["thresholds"].items()}
    assert {s["label"] for s in scores if s["score"] >= told[s["label"]]} == set(expected.labels)


def test_what_the_lines_do_otherwise_is_said(made: Callable[[str], Made]) -> None:
    one = made("translation-plain")
    assert card_use.differences(one.task, one.report["use"]) == ""
    used = one.report["use"] | {"writing": {"no_repeat_ngram": 3}}
    assert "no 3 tokens in a row" in card_use.differences(one.task, used)
    assert "the beginning" in card_use.differences(find("classification"), {"truncation": "both"})
    assert 'truncation_side = "left"' in program_of(made("classification-bert").card())


def test_a_template_without_a_system_turn_is_asked_without_one(made: Callable[[str], Made]) -> None:
    one = made("chat-qwen2")
    lines = card_use.snippet(one.task, one.report["use"] | {"system_turn": False}, None)
    assert '"role": "system"' not in lines
    assert f'"role": "user", "content": "Be 😀 kind.\\n\\n{QUESTION}"' in lines


@pytest.mark.parametrize(
    "words", ['"quoted" \\ back', "line\nbreak\r\u2028\x85", "😀 \u202egnp.exe", "\ud800", "'''", "{x}", "\x00\x7f"]
)
def test_words_of_strangers_are_one_string_of_python(words: str) -> None:
    shown = card_markup.quoted(words)
    assert ast.literal_eval(shown) == words
    assert len(shown.splitlines()) == 1
    assert not re.search("[\u202a-\u202e]", shown)
    shown.encode()


# -- the files


@pytest.mark.parametrize("kind", list(KINDS))
def test_no_file_tells_where_it_was_made(kind: str, made: Callable[[str], Made]) -> None:
    one = made(kind)
    found = archive.entries(one.folder, one.card())
    names = [entry.name for entry in found]
    assert len(names) == len(set(names))
    assert {"README.md", "config.json", "model.safetensors"} <= set(names)
    assert "tokenizer.json" in names or {"vocab.json", "sentencepiece.bpe.model"} <= set(names)
    assert ("generation_config.json" in names) == one.task.writes
    assert ("chat_template.jinja" in names) == bool(one.report["use"]["chat_template"])
    content = b"".join(chunk for entry in found for chunk in entry.chunks())
    for place in (one.folder.parents[3], Path.cwd(), Path.home()):
        assert str(place).encode() not in content


def test_places_are_taken_out_of_every_config(tmp_path: Path) -> None:
    files.write_bytes(tmp_path / "model.safetensors", b"x")
    kept = {"pad_token": "/", "chat_template_path": "inside", "model_type": "bert"}
    told = {
        "_name_or_path": "/home/me",
        "local_files_only": True,
        "is_local": True,
        "vocab_file": "/home/me/v.txt",
        "base_model_name_or_path": "/home/me/b",
    }
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "adapter_config.json"):
        files.write_json(tmp_path / name, kept | told)
    found = {e.name: e for e in archive.described(sorted(tmp_path.glob("*.json")), "card")}
    assert len(found) == 5
    for name, entry in found.items():
        assert name == "README.md" or json.loads(b"".join(entry.chunks())) == kept


# -- the words


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


FIRST = {
    "classification-bert": "Puts a text into one of 2 classes",
    "multi_label-bert": "Gives a text any of 2 labels",
    "summarization-t5": "Summarizes texts",
    "translation-nllb": "Translates texts from English into German",
    "chat-qwen2": "Answers in conversations",
    "text_generation-llama": "Goes on writing",
}


@pytest.mark.parametrize("kind", list(FIRST))
def test_the_hub_is_told_every_score(kind: str, made: Callable[[str], Made]) -> None:
    one = made(kind)
    text = one.card("org/name")
    told = front(text)
    assert told["pipeline_tag"] == one.task.pipeline_tag
    assert told.get("language") == (["en", "de"] if one.task.id == "translation" else None)
    (result,) = told["model-index"][0]["results"]
    found = {m["name"]: m for m in result["metrics"]}
    expected = {SCALES[n].card_name: one.report["metrics"][n] for n in one.task.metrics if n in one.report["metrics"]}
    assert {name: m["value"] for name, m in found.items()} == expected
    assert set(told["metrics"]) == {m["type"] for m in found.values()} - {"loss"}
    assert FIRST[kind] in text


@pytest.mark.parametrize("kind", list(FIRST))
def test_no_card_speaks_of_what_its_kind_does_not_have(kind: str, made: Callable[[str], Made]) -> None:
    one = made(kind)
    body = re.sub(r"`[^`]*`", "", one.card().split("---\n", 2)[2])
    for word in ("label", "confidence is not"):
        assert (word in body.lower()) != one.task.writes
    assert not (one.task.writes and "class" in body.lower())
    lines = body.splitlines()
    settings = {
        line.split(" | ")[0].strip("| ") for line in lines[lines.index("| Setting | Value |") + 2 :] if "|" in line
    }
    assert settings <= {name.replace("_", " ") for name in one.task.relevant(one.spec.method)}
    assert ("max new tokens" in settings) == one.task.writes
    assert "length penalty" not in settings
    assert "of 12 test rows, evenly chosen" in body
    assert "Of 1,000 numbers of the model 7 were open" in body


def test_every_score_has_a_cell_also_where_a_method_has_none(made: Callable[[str], Made]) -> None:
    text = made("translation-nllb").card()
    head, _, ours, *others = text.split("## Scores")[1].split("\n\n")[2].splitlines()
    assert [cell.strip() for cell in head.split("|")[2:-1]] == ["chrF", "BLEU", "Loss (nats per token) ↓"]
    assert "↓: the lower, the better." in text
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in others}
    assert cells["The text itself, untranslated"][2] == "-"
    assert all(len(row) == 3 for row in cells.values())
    assert cells["The same model before it was trained"][2] != "-"
    assert "**This model**" in ours
    assert "(by chrF)" in text


def test_how_a_score_was_computed_is_whole(made: Callable[[str], Made]) -> None:
    one = made("summarization-t5")
    for signature in one.report["signatures"].values():
        assert f"`{signature}`" in one.card()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("beats_both", "better than everything below"),
        ("not_better", "worse than something simpler"),
        ("unclear", "too few, or the scores too close"),
        ("uncompared", "compared with nothing else"),
    ],
)
def test_the_verdict_is_said(code: str, words: str, made: Callable[[str], Made]) -> None:
    one = made("chat-qwen2")
    one.report["verdict"]["code"] = code
    assert words in one.card()
    assert ("It is not shown to do better" in one.card()) == (code in ("unclear", "not_better"))


def test_rows_stay_at_home(made: Callable[[str], Made]) -> None:
    for kind, words in {
        "summarization-t5": "It was late",
        "chat-qwen2": "never came",
        "translation-nllb": "Schnee",
    }.items():
        assert words not in made(kind).card()


# -- the adapter alone


ADAPTED = ("classification-bert", "multi_label-bert", "summarization-t5", "chat-qwen2")


def outputs(model: Any) -> list[float]:
    ids = torch.tensor([[5, 6, 7, 8]])
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        found: list[float] = model(input_ids=ids, **more).logits.flatten().tolist()[:200]
    return found


def with_adapter(place: Path, kind: str) -> tuple[Made, list[float]]:
    """A run whose adapter was kept beside the model, and what the model answers with the adapter on it."""
    choice = ModelChoice(source="directory", name=str(place / "base"))
    one = Made(place, kind, method="lora", lora_rank=2, keep_adapter=True, model=choice)
    torch.manual_seed(5)
    model = adapt(one.task.load(one.base, one.split, one.spec)[0], one.spec)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.5)
    checkpoints.save(model, one.tokenizer, place / "checkpoint")
    checkpoints.save_adapter(place / "checkpoint", one.folder.parent / "adapter")
    return one, outputs(model.eval())


def put_on_its_base(one: Made, out: Path) -> None:
    """The files of the adapter in a folder, and its card's lines with a question at their end."""
    out.mkdir()
    for entry in adapter.entries(one.store, one.record.id, "local"):
        (out / entry.name).write_bytes(b"".join(entry.chunks()))
    lines = program_of((out / "README.md").read_text("utf-8"))
    lines = lines.replace("folder of the model that the training began with", str(one.base))
    ids = "torch.tensor([[5, 6, 7, 8]])"
    asked = f"input_ids={ids}" + (f", decoder_input_ids={ids}" if one.model.config.is_encoder_decoder else "")
    lines += f"\nimport torch\nprint(model.eval()({asked}).logits.flatten().tolist()[:200])"
    lines += "" if one.task.writes else "\nprint(model.config.id2label)"
    (out / "program.py").write_text(lines, encoding="utf-8")


def test_the_adapter_goes_onto_its_base(tmp_path: Path) -> None:
    made_with = {kind: with_adapter(tmp_path / kind, kind) for kind in ADAPTED}
    for kind, (one, _) in made_with.items():
        put_on_its_base(one, tmp_path / f"{kind}-out")
    said = run_as_a_stranger([tmp_path / f"{kind}-out" for kind in ADAPTED], tmp_path)
    for kind, (one, expected) in made_with.items():
        out = tmp_path / f"{kind}-out"
        content = {file.name: file.read_bytes() for file in out.iterdir() if file.name != "program.py"}
        assert content.keys() == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
        assert all(str(tmp_path).encode() not in part for part in content.values())
        assert front(content["README.md"].decode())["library_name"] == "peft"
        answers = said[out].strip().splitlines()
        assert ast.literal_eval(answers[0]) == pytest.approx(expected, abs=1e-4)
        if not one.task.writes:
            assert ast.literal_eval(answers[1]) == dict(enumerate(sorted(LABELS)))


def run_with_adapter(place: Path, **choices: Any) -> tuple[RunStore, RunRecord]:
    store = RunStore(place)
    data = DataChoice(table="0" * 64, columns={"text": "t", "label": "l"})
    record = store.create(TrainSpec(data=data, method="lora", keep_adapter=True, **choices), "local", "name")
    folder = store.folder(record.id) / "adapter"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "manifest.json"):
        files.write_bytes(folder / name, b"{}")
    files.write_json(folder.parent / "report.json", {"labels": ["a"], "rows": {"train": 9}})
    return store, record


def test_the_base_of_an_adapter_is_named(tmp_path: Path) -> None:
    store, record = run_with_adapter(tmp_path)
    text = adapter.adapter_card(store.spec(record.id), {"labels": ["a"], "rows": {"train": 9}}, record)
    assert front(text)["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert 'from_pretrained("sentence-transformers/all-MiniLM-L6-v2", num_labels' in text
    fixed = store.spec(record.id).model_copy(update={"model": ModelChoice(source="hub", name="a/b", revision="c" * 40)})
    assert f'from_pretrained("a/b", revision="{"c" * 40}"' in adapter.adapter_card(
        fixed, {"labels": [], "rows": {"train": 9}}, record
    )


def test_an_adapter_is_its_owners_and_only_where_one_fits(tmp_path: Path) -> None:
    store, record = run_with_adapter(tmp_path)
    assert [e.name for e in adapter.entries(store, record.id, "local")][1:] == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    with pytest.raises(UserError, match="run_unknown"):
        adapter.entries(store, record.id, "hf:2")
    tied, other = run_with_adapter(tmp_path / "tied", pooling="mean")
    (store.folder(record.id) / "adapter" / "adapter_model.safetensors").unlink()
    for runs, run in ((store, record), (tied, other)):
        with pytest.raises(UserError, match="run_has_no_model"):
            adapter.entries(runs, run.id, "local")
