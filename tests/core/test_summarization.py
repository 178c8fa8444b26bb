"""Summarization: what is its own beside what all tasks share that write a text for a text."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from core.data.preparing import Split
from core.device import Device
from core.models.notes import notes
from core.spec import DataChoice, TrainSpec
from core.tasks._batches import reads_prefixes
from core.tasks._reading import reading_of
from core.tasks.summarization import TASK
from tests import tiny

DEVICE = Device("cpu", "float32", 1, "test")
TEXTS = [
    "My order came late. The box was broken and I was not happy about it.",
    "I never got the bill. How much does it come to?",
    "The login is broken again. What is my password?",
    "It was cold and the rain never came to an end. Snow is on the way.",
]
SUMMARIES = ["late and broken", "no bill", "login broken", "cold rain"]


def rows(count: int = 24) -> pd.DataFrame:
    texts = [f"{TEXTS[i % 4]} {i}" for i in range(count)]
    return pd.DataFrame({"row": range(count), "text": texts, "summary": [SUMMARIES[i % 4] for i in range(count)]})


def parts(frame: pd.DataFrame) -> Split:
    return Split(frame, frame[:4], frame[:4], (), ())


def spec(**changes: Any) -> TrainSpec:
    columns = DataChoice(table="0" * 64, columns={"text": "text", "summary": "summary"})
    return TrainSpec(task="summarization", data=columns, **({"max_length": 120, "max_new_tokens": 8} | changes))


@pytest.mark.parametrize(
    ("instruction", "begins"), [("", "summarize: My order"), ("In a few words:", "In a few words: My order")]
)
def test_t5_reads_the_words_it_was_pretrained_with(instruction: str, begins: str, tmp_path: Path) -> None:
    model, tokenizer = TASK.load(tiny.encoder_decoder(tmp_path, "t5"), parts(rows()), spec(instruction=instruction))
    row = TASK.encode(rows(), (), model, tokenizer, spec())[0]
    assert tokenizer.decode(row["input_ids"]).startswith(begins)


def test_other_encoder_decoders_read_the_text_alone(tmp_path: Path) -> None:
    model, tokenizer = TASK.load(tiny.encoder_decoder(tmp_path, "bart"), parts(rows()), spec(instruction="to"))
    row = TASK.encode(rows(), (), model, tokenizer, spec())[0]
    assert tokenizer.decode(row["input_ids"], skip_special_tokens=True) == rows()["text"][0]


def test_mt5_and_the_t5_of_bytes_know_no_prefixes() -> None:
    class ByT5Tokenizer: ...

    t5, mt5 = (SimpleNamespace(config=SimpleNamespace(model_type=name)) for name in ("t5", "mt5"))
    assert reads_prefixes(t5, object())
    assert not reads_prefixes(t5, ByT5Tokenizer())
    assert not reads_prefixes(mt5, object())


def test_models_of_many_languages_are_told_the_texts_language(tmp_path: Path) -> None:
    model, tokenizer = TASK.load(tiny.encoder_decoder(tmp_path, "mbart"), parts(rows()), spec(target_language="en"))
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == ("en_XX", "en_XX")
    assert notes(model)["source_language"] == "en"


def test_a_decoder_is_told_the_language_unless_it_is_english(tmp_path: Path) -> None:
    model, _ = TASK.load(tiny.language_model(tmp_path), parts(rows()), spec(target_language="de"))
    assert reading_of(model).instruction == "Summarize this text in German. Answer with the summary alone."
    assert (
        TASK.instruction("en", "en")
        == TASK.instruction("", "")
        == "Summarize this text. Answer with the summary alone."
    )


def test_the_report_compares_with_first_sentences_and_neighbours(tmp_path: Path) -> None:
    frame = rows()
    model, tokenizer = TASK.load(tiny.encoder_decoder(tmp_path, "bart"), parts(frame), spec())
    ours = TASK.answer(model, tokenizer, frame[:4], spec(), DEVICE)
    others = TASK.simple_answers(parts(frame), frame[:4], spec()) | {"untouched": ours}
    assert others["first_sentence"].predictions[0].answer == "My order came late."
    report = TASK.judge(frame[:4], (), ours, others)
    assert report["main_metric"] == "rougeL"
    assert set(report["baselines"]) == set(TASK.baselines)
    assert report["baselines"]["nearest"]["rougeL"] == 100
    assert set(report["metrics"]) == {*TASK.metrics, "intervals"}
    assert {sample["before"] for sample in report["samples"]} == {p.answer for p in ours.predictions}
