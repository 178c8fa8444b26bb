"""Families of models: the lists agree with the installed library, and strange configs are nothing."""

import pytest

from core.models.architectures import DECODERS, ENCODERS, SEQ2SEQ, examples, kind_of, labels_possible, suits
from core.models.catalogue import STARTERS, SUGGESTIONS


@pytest.fixture(scope="module")
def library():
    from transformers.models.auto import modeling_auto as auto

    return {
        "labels": set(auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
        "masked": set(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
        "causal": set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        "seq2seq": set(auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
    }


def test_the_families_are_those_of_the_library(library):
    assert ENCODERS - (library["labels"] & library["masked"]) == set()
    assert DECODERS - library["causal"] == set()
    assert SEQ2SEQ - library["seq2seq"] == set()
    assert DECODERS & library["masked"] == set()


def test_a_family_is_of_one_kind():
    assert len(ENCODERS | DECODERS | SEQ2SEQ) == len(ENCODERS) + len(DECODERS) + len(SEQ2SEQ)


def test_labels_are_possible_where_the_library_has_a_head(library):
    known = ENCODERS | DECODERS | SEQ2SEQ
    assert {family for family in known if labels_possible(family)} == known & library["labels"]
    assert not labels_possible("vit")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "bert"}, "encoder"),
        ({"model_type": "modernbert", "architectures": ["ModernBertForSequenceClassification"]}, "encoder"),
        ({"model_type": "bert", "is_decoder": True}, None),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, "decoder"),
        ({"model_type": "gpt2"}, "decoder"),
        ({"model_type": "qwen3", "is_decoder": True}, "decoder"),
        ({"model_type": "bart", "architectures": ["BartForSequenceClassification"]}, "seq2seq"),
        ({"model_type": "m2m_100"}, "seq2seq"),
        ({"model_type": "marian", "is_decoder": False}, "seq2seq"),
        ({"model_type": "vit"}, None),
        ({"model_type": "whisper"}, None),
        ({"model_type": "gemma3"}, None),  # reads pictures too; its texts alone are gemma3_text
        ({"model_type": ["bert"]}, None),
        ({"model_type": {"bert": 1}}, None),
        ({"model_type": None}, None),
        ({}, None),
    ],
)
def test_the_kind_follows_from_the_family(config, kind):
    assert kind_of(config) == kind


@pytest.mark.parametrize(
    ("family", "kinds", "labels", "fits"),
    [
        ("bert", ("encoder",), True, True),
        ("bert", ("decoder", "seq2seq"), False, False),
        ("llama", ("encoder", "decoder"), True, True),
        ("granite", ("encoder", "decoder"), True, False),
        ("granite", ("encoder", "decoder"), False, True),
        ("marian", ("encoder", "decoder", "seq2seq"), True, False),
        ("vit", ("encoder",), False, False),
    ],
)
def test_a_model_suits_by_kind_and_head(family, kinds, labels, fits):
    assert suits({"model_type": family}, kinds, labels=labels) is fits


def test_examples_are_of_the_kinds_asked_for():
    assert examples(("seq2seq",)).startswith("T5")
    assert examples(("encoder", "decoder")).split(", ")[0] == "BERT"
    assert "Qwen" in examples(("encoder", "decoder"))
    assert examples(("unknown",)) == ""


def test_everything_offered_is_of_a_known_family():
    for suggestion in SUGGESTIONS:
        assert kind_of({"model_type": suggestion.family}) == suggestion.kind, suggestion.hub_id
    assert {starter.kind for starter in STARTERS.values()} == {"encoder", "decoder"}
