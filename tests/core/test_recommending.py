from dataclasses import replace
from pathlib import Path

import pytest

from core.models.sizing import ModelFacts
from core.spec import DataChoice, build, knobs
from core.tasks.base import all_tasks, find
from core.training.recommending import recommend

MINILM = ModelFacts(
    "minilm", 22_713_216, 0, 0, 0, "yes", 6, "BertModel", 512, Path("tokenizer.json"), True, "encoder", "bert"
)
SMOLLM = replace(MINILM, name="smollm2", parameters=134_515_008, max_positions=8192, kind="decoder", family="llama")
QWEN = replace(SMOLLM, parameters=3_000_000_000, family="qwen2")
T5 = replace(MINILM, parameters=60_506_624, max_positions=0, kind="seq2seq", family="t5")
MARIAN = replace(T5, parameters=74_000_000, max_positions=512, family="marian")
BERT = replace(MINILM, parameters=110_000_000)


def advice_for(task, facts=MINILM, **changes):
    given = {"rows": 640, "classes": 4, "tokens_p95": 60, "answer_tokens_p95": 0, "rows_per_class": (120, 200)}
    return recommend(facts=facts, task=find(task), **(given | changes))


def values(advice, *names):
    return tuple(advice[name].value for name in names)


@pytest.mark.parametrize("facts", [None, MINILM, SMOLLM, QWEN, T5, MARIAN], ids=lambda f: f.name if f else "none")
@pytest.mark.parametrize("task", list(all_tasks()))
def test_advice_is_always_within_bounds_and_has_a_reason(task, facts):
    for rows in (3, 640, 200_000):
        for tokens in (3, 5_000):
            for method in ("", *find(task).methods):
                advice = advice_for(task, facts, rows=rows, tokens_p95=tokens, answer_tokens_p95=tokens, method=method)
                assert advice.keys() >= {*knobs("training"), *knobs("adapting"), "method"}
                assert advice["method"].value in find(task).methods
                assert all(a.reason for a in advice.values())
                chosen = {name: a.value for name, a in advice.items()}
                assert build(task=task, data=DataChoice(table="0" * 64, columns={}), **chosen)


def test_without_a_task_only_the_training_knobs_are_told():
    assert recommend(rows=100, classes=2, tokens_p95=30, facts=None).keys() == knobs("training").keys()


@pytest.mark.parametrize(
    ("task", "facts", "rows_per_class", "method", "reason"),
    [
        ("classification", None, None, "full", "method_small_model"),
        ("classification", MINILM, (120, 200), "full", "method_small_model"),
        ("classification", MINILM, (8, 50), "few", "method_few_rows"),
        ("classification", MINILM, (7, 50), "full", "method_small_model"),
        ("classification", MINILM, (8, 51), "full", "method_small_model"),
        ("classification", SMOLLM, (8, 50), "lora", "method_large_writer"),
        ("classification", replace(BERT, fits="no"), None, "lora", "method_saves_memory"),
        ("chat", SMOLLM, None, "lora", "method_large_writer"),
        ("chat", replace(SMOLLM, parameters=80_000_000), None, "full", "method_small_model"),
        ("translation", MARIAN, None, "full", "method_small_model"),
        ("translation", replace(T5, parameters=3_000_000_000), None, "lora", "method_saves_memory"),
    ],
)
def test_how_much_is_changed(task, facts, rows_per_class, method, reason):
    found = advice_for(task, facts, rows_per_class=rows_per_class)["method"]
    assert (found.value, found.reason) == (method, reason)


@pytest.mark.parametrize(
    ("task", "facts", "method", "rate"),
    [
        ("classification", MINILM, "full", 2e-4),
        ("classification", BERT, "full", 2e-5),
        ("chat", SMOLLM, "full", 2e-5),
        ("translation", T5, "full", 1e-4),
        ("translation", MARIAN, "full", 5e-5),
        ("chat", QWEN, "lora", 2e-4),
    ],
)
def test_the_steps_follow_method_and_kind(task, facts, method, rate):
    assert advice_for(task, facts, method=method)["learning_rate"].value == rate


def test_matrices_and_heads_bear_larger_steps():
    for task, facts in (
        ("classification", MINILM),
        ("classification", BERT),
        ("chat", SMOLLM),
        ("translation", MARIAN),
    ):
        full, lora = (advice_for(task, facts, method=m)["learning_rate"].value for m in ("full", "lora"))
        assert full < lora <= 1e-3
    assert advice_for("classification", method="head")["learning_rate"].value > 2e-4


def test_writers_are_taught_in_few_passes():
    assert [advice_for("chat", SMOLLM, rows=n)["epochs"].value for n in (100, 640, 5_000)] == [3, 2, 1]
    assert advice_for("chat", SMOLLM)["batch_size"].value == 4
    few, many = (advice_for("translation", MARIAN, rows=n)["epochs"].value for n in (200, 20_000))
    assert (few, many) == (6, 1)


def test_methods_without_steps_to_choose_say_so():
    found = advice_for("classification", rows_per_class=(8, 20))
    assert found["method"].value == "few"
    for name in ("learning_rate", "batch_size", "epochs", "weight_decay", "warmup_ratio"):
        assert found[name].reason == "unused_by_few"
    assert found["max_length"].reason == "length_for_texts"


def test_a_decoder_has_room_for_question_and_answer():
    together = advice_for("chat", SMOLLM, tokens_p95=100, answer_tokens_p95=100)
    assert values(together, "max_length", "max_target_length", "max_new_tokens") == (256, 128, 128)
    assert together["max_length"].facts == {"tokens": 232}
    apart = advice_for("translation", MARIAN, tokens_p95=100, answer_tokens_p95=30)
    assert values(apart, "max_length", "max_target_length", "max_new_tokens") == (128, 32, 32)
    assert apart["max_new_tokens"].reason == "length_for_answers"
    assert advice_for("translation", MARIAN)["max_new_tokens"].reason == "usual_value"


def test_no_text_is_longer_than_the_positions_where_there_are_any():
    assert advice_for("classification", replace(MINILM, max_positions=100), tokens_p95=300)["max_length"].value == 100
    assert advice_for("translation", T5, tokens_p95=300)["max_length"].value == 512


def test_the_quick_way_has_no_steps():
    advice = advice_for("classification", method="quick")
    assert {advice[name].reason for name in ("learning_rate", "batch_size", "epochs")} == {"unused_by_quick"}


def test_larger_batches_are_tried_where_steps_are_chosen():
    advice = recommend(rows=900, classes=2, tokens_p95=30, facts=None, task=find("classification"))
    assert (advice["larger_batches"].value, advice["larger_batches"].facts) == (True, {"rows": 900})
