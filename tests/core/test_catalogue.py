"""The catalogue: what it promises of each model, and what it refuses to load."""

import json
import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from core import files
from core.data.shapes import SHAPES
from core.errors import UserError
from core.hub.repos import check_id, word
from core.models.catalogue import STARTERS, SUGGESTIONS, load


def test_there_are_models_for_every_task_and_of_every_kind():
    assert len(SUGGESTIONS) >= 45
    assert {s.kind for s in SUGGESTIONS} == {"encoder", "decoder", "seq2seq"}
    for task in SHAPES:
        assert sum(task in s.tasks for s in SUGGESTIONS) >= 5, task


def test_a_model_is_named_once():
    names = [s.hub_id.lower() for s in SUGGESTIONS] + [s.hub_id.lower() for s in STARTERS.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("suggestion", SUGGESTIONS, ids=lambda s: s.hub_id)
def test_an_entry_is_plausible(suggestion):
    assert check_id(suggestion.hub_id) == suggestion.hub_id
    assert "/" in suggestion.hub_id
    assert suggestion.license is None or word(suggestion.license) == suggestion.license
    assert set(suggestion.tasks) <= set(SHAPES)
    assert len(set(suggestion.tasks)) == len(suggestion.tasks) > 0
    assert suggestion.languages == ("multilingual",) or all(re.fullmatch("[a-z]{2}", c) for c in suggestion.languages)
    assert suggestion.positions in range(512, 200_000)
    # What the layers alone hold, 12 * width^2 each in a plain transformer, and at most as much again, or embeddings.
    inside = suggestion.layers * suggestion.hidden**2 * (2 if suggestion.kind == "seq2seq" else 1)
    assert 4 * inside < suggestion.parameters < 25 * inside + 400_000 * suggestion.hidden


def test_what_writes_chooses_among_words():
    for model in [*SUGGESTIONS, *STARTERS.values()]:
        assert (model.vocabulary > 10_000) == (model.kind != "encoder"), model.hub_id


def test_what_reads_only_does_not_write():
    for suggestion in SUGGESTIONS:
        if suggestion.kind == "encoder":
            assert set(suggestion.tasks) == {"classification", "multi_label"}
        if suggestion.pair:
            assert suggestion.tasks == ("translation",)
            assert set(suggestion.pair) == set(suggestion.languages)
            assert len(set(suggestion.pair)) == 2


def test_terms_are_told():
    gated = {s.hub_id.split("/")[0] for s in SUGGESTIONS if s.gated}
    assert gated == {"meta-llama", "google"}
    assert all(s.gated for s in SUGGESTIONS if s.license in ("gemma", "llama3.2"))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "other"}, {"parameters": "many"}, {"gated": "no way"}, {"languages": "en"}, {"license": 5},
        {"pair": ["en"]}, {"domain": "cooking"}, {"surprise": 1}, {"hub_id": None},
    ],
)  # fmt: skip
def test_a_wrong_entry_is_refused(changes):
    fine = {
        "hub_id": "team/fine", "kind": "encoder", "family": "bert", "tasks": ["classification"], "languages": ["en"],
        "parameters": 10, "layers": 1, "hidden": 2, "positions": 512, "license": "mit", "gated": False, "why": "x",
    }  # fmt: skip
    assert load(json.dumps([fine]).encode())[0].hub_id == "team/fine"
    with pytest.raises(ValidationError):
        load(json.dumps([fine | changes]).encode())
    with pytest.raises(ValidationError):
        load(json.dumps([{k: v for k, v in fine.items() if k != "why"}]).encode())


# -- what comes with packages


def test_starters_are_what_the_catalogue_says():
    minilm, smollm2 = STARTERS["minilm"], STARTERS["smollm2"]
    assert (minilm.format, minilm.source()) == ("folder", minilm.folder())
    assert files.sha256(minilm.source() / "model.safetensors") == minilm.sha256
    assert (smollm2.format, smollm2.source().parent) == ("gguf", smollm2.folder())
    assert smollm2.source().suffix == ".gguf"
    assert files.sha256(smollm2.source()) == smollm2.sha256
    assert all(key == starter.key for key, starter in STARTERS.items())


@pytest.mark.parametrize("key", list(STARTERS))
@pytest.mark.parametrize("change", [{"package": "no-such-package-here"}, {"path": "elsewhere/x.gguf"}])
def test_a_starter_that_is_not_installed_says_so(key, change):
    absent = replace(STARTERS[key], **change)
    for find in (absent.source, absent.folder):
        with pytest.raises(UserError) as wrong:
            find()
        assert (wrong.value.code, wrong.value.facts) == ("starter_missing", {"package": absent.package})
