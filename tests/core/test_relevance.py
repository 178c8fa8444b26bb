"""Which settings matter to a task under a method: what does not matter is not shown, and not searched."""

import pytest

from core.spec import Method, Writing, knobs, switches
from core.tasks.base import all_tasks, find

WAYS = [(task.id, method) for task in all_tasks().values() for method in task.methods]
STEPS = {"learning_rate", "batch_size", "epochs", "weight_decay", "warmup_ratio"}
LORA = {*(name for name in (*knobs(), *switches()) if name.startswith("lora_")), "quantization", "keep_adapter"}


def test_every_setting_matters_somewhere_and_nothing_else_does():
    named = {name for task, method in WAYS for name in find(task).relevant(method)}
    assert named == {*knobs(), *switches()}


def test_every_method_is_one_of_some_task():
    assert {method for _, method in WAYS} == set(Method.__args__)


@pytest.mark.parametrize(("task", "method"), WAYS)
def test_what_belongs_to_a_method_matters_under_it_alone(task, method):
    named = find(task).relevant(method)
    assert {"method", "seed", "max_length", "validation_fraction", "test_fraction"} <= named
    assert named & LORA == (LORA if method == "lora" else set())
    assert named & STEPS == (STEPS if method in ("full", "lora", "head") else set())
    assert ("freeze_embeddings" in named) == (method == "full")
    assert ("freeze_layers" in named) == (method in ("full", "lora"))
    assert ("dropout" in named) == (method != "quick")


@pytest.mark.parametrize(("task", "method"), WAYS)
def test_what_belongs_to_a_task_matters_to_it_alone(task, method):
    asked, named = find(task), find(task).relevant(method)
    writing = {name for name in named if name in Writing.model_fields}
    beams = {"beams", "no_repeat_ngram", "length_penalty"}
    if not asked.writes:
        assert not writing
    elif asked.answers == "text":
        assert writing == set(Writing.model_fields)
    else:
        assert writing == set(Writing.model_fields) - beams
    assert {"head_layers", "pooling"} <= named if not asked.writes else not {"head_layers", "pooling"} & named
    pairs = {"source_language", "target_language", "max_target_length"}
    assert named & pairs == (pairs if asked.answers == "text" else set())
    assert ("truncation" in named) == (asked.answers not in ("chat", "continuation"))
    assert ("packing" in named) == (asked.answers in ("chat", "continuation"))
    assert ("instruction" in named) == (asked.answers in ("chat", "text"))
