"""The tabs for every task: what is offered, what a report shows, how a model is asked."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.samples import TASKS
from core.errors import UserError
from core.runs.store import RunRecord
from core.spec import DataChoice, ModelChoice, TrainSpec, Writing
from tests.fakehub import FakeHub
from ui import cards, choices, knobs, pictures
from ui.page import Visit
from ui.tabs import hyperparameters, model, results, tryit
from ui.tabs.data import handing_in
from ui.tabs.model import adapting, hub
from ui.text import Text

SAMPLE_OF = {task: sample for sample, task in TASKS.items()}
TEXT_REPORT: dict[str, Any] = {
    "main_metric": "chrf",
    "labels": [],
    "rows": {"train": 200, "validation": 40, "test": 300, "judged": 200},
    "metrics": {"chrf": 41.25, "bleu": 12.0, "loss": 1.5, "intervals": {"chrf": [38.0, 44.4], "bleu": [9.0, 15.1]}},
    "baselines": {"copied": {"chrf": 20.0, "bleu": 1.0}, "untouched": {"chrf": 30.0, "bleu": 6.0, "loss": 2.5}},
    "verdict": {"code": "beats_both", "strongest": "untouched", "ours": 41.25, "theirs": 30.0, "rows": 200},
    "samples": [{"row": 7, "text": "<b>Off</b>", "reference": "Aus", "answer": "Ab", "before": "Off"}],
    "examples": ["On", "Off"],
    "signatures": {"chrf": "nrefs:1|case:mixed"},
}


@pytest.fixture
def written(finished: Callable[..., RunRecord], visit: Visit) -> Callable[..., RunRecord]:
    """A finished run of a task that writes, with the report above."""

    def make(task: str = "translation", **more: Any) -> RunRecord:
        record = finished()
        runs = visit.house.runs
        folder = runs.folder(record.id)
        spec = TrainSpec(task=task, data=DataChoice(table="0" * 64, columns={}), instruction="Be kind.", beams=4)
        (folder / "spec.json").write_text(spec.model_dump_json())
        (folder / "report.json").write_text(json.dumps(TEXT_REPORT | more))
        stored = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(stored | {"task": task}))
        visit.change(run=record.id)
        return runs.get(record.id)

    return make


@pytest.mark.parametrize("task", list(SAMPLE_OF))
def test_each_task_offers_its_own_starter_methods_and_settings(visit: Visit, task: str) -> None:
    handing_in.take_sample(visit, SAMPLE_OF[task])
    kind = choices.task_of(visit)
    shown = model.view(visit)
    assert visit.text(f"models.starter.{kind.starters[0]}") in pictures.html.unescape(shown["starter"])
    assert [value for _, value in shown["method"].choices] == list(kind.methods)
    assert choices.chosen_model(visit).name == kind.starters[0]
    settings = hyperparameters.view(visit)
    assert settings["max_target_length_box"].visible == (task in ("translation", "summarization"))
    assert settings["group_writing"].visible == kind.writes
    assert settings["packing_box"].visible == (task == "chat")
    assert choices.model(visit).error is None


def test_a_starter_that_cannot_do_the_task_gives_way(visit: Visit) -> None:
    visit.change(task="chat", model=ModelChoice(source="starter", name="minilm"))
    assert choices.chosen_model(visit).name == "smollm2"
    visit.change(task="classification")
    assert choices.chosen_model(visit).name == "minilm"


def test_the_share_that_is_changed_follows_the_method(visit: Visit) -> None:
    handing_in.take_sample(visit)
    told = {}
    for method in ("full", "lora", "head", "quick"):
        knobs.remember(visit, "method", method)
        facts = choices.model(visit).facts
        assert facts
        told[method] = facts.trainable
        shown = adapting.view(visit)
        assert shown["lora_rank_box"].visible == (method == "lora")
        assert "Changes" in shown["method_facts"]
    assert told["full"] > told["lora"] > told["head"] >= told["quick"] > 0
    before = told["lora"]
    knobs.remember(visit, "method", "lora")
    knobs.remember(visit, "lora_rank", 6)  # the position of 128
    after = choices.model(visit).facts
    assert after
    assert after.trainable > 4 * before / 2


def test_languages_are_guessed_and_said(visit: Visit) -> None:
    handing_in.take_sample(visit, "appliance_phrases")
    assert choices.languages_of(visit) == ("en", "de")
    settled = choices.settled(visit)
    assert (settled.values["source_language"], settled.values["target_language"]) == ("en", "de")
    assert settled.advice["target_language"].reason == "language_guessed"
    knobs.remember(visit, "target_language", "nl")
    assert choices.train_spec(visit).target_language == "nl"


def test_suggestions_suit_the_task(visit: Visit) -> None:
    handing_in.take_sample(visit, "appliance_phrases")
    for_translation = [name for _, name in hub.suggestions(visit)]
    visit.change(task="classification")
    for_labels = [name for _, name in hub.suggestions(visit)]
    assert for_translation
    assert for_labels
    assert for_translation[:5] != for_labels[:5]
    assert not any("bert" in name.lower() for name in for_translation)


def test_the_hub_is_searched(visit: Visit, fake_hub: FakeHub) -> None:
    config = json.dumps({"model_type": "bert"}).encode()
    fake_hub.add("team/weather-bert", {"config.json": config, "model.safetensors": b"x" * 9})
    settings = dataclasses.replace(visit.house.settings, hub_endpoint=fake_hub.url)
    there = dataclasses.replace(visit, house=dataclasses.replace(visit.house, settings=settings))
    shown = hub.search(there, "no-such-words", "")
    assert visit.text("models.found_none") in shown["found"]
    assert hub.search(there, "  ", "")["found"] == ""
    assert model.finish(there) == {"offline": ""}


def test_a_silent_hub_is_said(visit: Visit) -> None:
    settings = dataclasses.replace(visit.house.settings, hub_endpoint="http://127.0.0.1:9")
    there = dataclasses.replace(visit, house=dataclasses.replace(visit.house, settings=settings))
    assert visit.text("models.offline") in model.finish(there)["offline"]
    with pytest.raises(UserError, match="hub_unreachable"):
        hub.search(there, "bert", "")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_results_of_written_answers(visit: Visit, written: Callable[..., RunRecord], language: Any) -> None:
    written()
    shown = results.view(dataclasses.replace(visit, text=Text(language)))
    assert "41.2" in shown["verdict"]
    assert "30.0" in shown["verdict"]
    assert not shown["section_confusion"].visible
    assert shown["section_samples"].visible
    assert "&lt;b&gt;Off" in shown["samples"]
    assert "<b>Off" not in shown["samples"]
    assert "nrefs:1" in shown["signatures"]
    assert shown["scores"].count("<article") == 3
    assert "% %" not in shown["scores"]


def test_a_score_without_an_upper_end_has_bars_too() -> None:
    drawn = cards.scores(Text("en"), TEXT_REPORT)
    loss = drawn[drawn.index(Text("en")("results.loss.name")) :]
    assert "width:60.0%" in loss  # 1.5 beside the largest, 2.5
    assert "width:100.0%" in loss


def test_asking_begins_as_the_model_was_judged(visit: Visit, written: Callable[..., RunRecord]) -> None:
    written("chat", examples=[[{"role": "user", "content": "Hello"}]])
    shown = tryit.view(visit)
    assert shown["talking"].visible
    assert not shown["asking"].visible
    assert shown["system"] == "Be kind."
    assert shown["beams"] == 4
    assert shown["examples"].raw_samples == [["Hello"]]
    written("text_generation")
    shown = tryit.view(visit)
    assert shown["asking"].visible
    assert shown["words"].label == visit.text("tryit.words_continuation")


def test_sliders_become_a_way_of_writing() -> None:
    shown = dict.fromkeys(tryit.WRITING, 0) | {"beams": 4, "max_new_tokens": 0, "top_p": 0.9, "stop": "END" * 99}
    made = tryit.chosen_writing(tuple(shown[name] for name in tryit.WRITING))
    assert made == Writing(
        beams=4,
        max_new_tokens=16,
        no_repeat_ngram=0,
        length_penalty=0,
        temperature=0,
        top_p=0.9,
        stop=("END" * 99)[:100],
    )


@pytest.mark.parametrize("words", ["a < b && c", "<img src=x>", "&lt;", "2 > 1\nline"])
def test_a_turn_is_shown_as_words_and_comes_back_as_it_was(words: str) -> None:
    shown = tryit.turn("user", words)["content"]
    assert "<" not in shown
    assert tryit.flat(shown) == words
    assert tryit.flat([{"text": shown, "type": "text"}]) == words


@pytest.mark.real
def test_a_conversation_streams(visit: Visit, written: Callable[..., RunRecord], tmp_path: Path) -> None:
    from core.models.notes import KEY
    from tests import tiny

    record = written("chat")
    folder = visit.house.runs.folder(record.id) / "model"
    for file in folder.iterdir():
        file.unlink()
    tiny.language_model(folder)
    config = json.loads((folder / "config.json").read_text())
    noted = {KEY: {"task": "chat", "instruction": "", "writing": Writing().model_dump()}}
    (folder / "config.json").write_text(json.dumps(config | noted))
    sliders = [getattr(Writing(max_new_tokens=16), name) for name in tryit.WRITING]
    sliders[tryit.WRITING.index("max_new_tokens")] = 0
    steps = list(tryit.talk(visit, "sun <b>", [], "", *sliders))
    assert steps[0]["chat"][0]["content"] == "sun &lt;b&gt;"
    assert steps[0]["said"] == ""
    assert steps[-1]["chat"][-1]["role"] == "assistant"
    assert steps[-1]["chat"][-1]["content"]
    with pytest.raises(UserError, match="text_empty"):
        list(tryit.talk(visit, "  ", [], "", *sliders))


def test_several_labels_or_none_are_told() -> None:
    text = Text("en")
    rows = [("a<b", 0.9), ("c", 0.2)]
    some = pictures.several(text, ("a<b",), rows)
    assert some.count("answer-label") >= 1
    assert "a&lt;b" in some
    assert pictures.esc(text("tryit.labels_none")) in pictures.several(text, (), rows)
