import json

import pytest

from core.errors import UserError
from core.models.adapting import adapt, trainable
from core.models.loading import parameter_count, tensor_shapes
from core.models.shares import Adapting, Share, head_size, share, sketch
from core.spec import DataChoice, TrainSpec
from tests import tiny
from tests.core.test_adapting import folder_of, opened

FAMILIES = ["bert", "distilbert", "roberta", "modernbert", "electra", "gpt2", "llama", "qwen2", "t5", "bart"]
WRITERS = ["gpt2", "llama", "qwen2", "t5", "bart", "marian", "pegasus", "nllb"]
CHOICES = [
    {"method": "full"},
    {"method": "full", "freeze_layers": 1},
    {"method": "full", "freeze_embeddings": True, "freeze_layers": 2},
    {"method": "lora", "lora_rank": 4},
    {"method": "lora", "lora_rank": 8, "lora_dora": True, "freeze_layers": 1},
    {"method": "lora", "lora_rank": 2, "lora_targets": "attention", "lora_dora": True},
    {"method": "head"},
]


def spec(choices):
    return TrainSpec(data=DataChoice(table="0" * 64, columns={}), **choices)


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("families")
    return {family: folder_of(place / family, family) for family in {*FAMILIES, *WRITERS}}


@pytest.mark.parametrize("choices", CHOICES, ids=lambda c: "-".join(str(v) for v in c.values()))
@pytest.mark.parametrize(("family", "labels"), [*((f, 5) for f in FAMILIES), *((f, 0) for f in WRITERS)], ids=str)
def test_the_share_is_what_the_loaded_model_has(folders, family, labels, choices):
    folder, chosen = folders[family], spec(choices)
    if choices["method"] == "head" and not labels:
        with pytest.raises(UserError, match="method_unsupported"):
            share(folder, config_of(folder), chosen)
        return
    found = trainable(adapt(opened(folder, labels)[0], chosen))
    assert share(folder, config_of(folder), chosen, labels) == Share(*found)
    assert share(tensor_shapes(folder), config_of(folder), Adapting(**choices), labels) == Share(*found)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_no_layer_is_left_for_matrices(folders, family):
    with pytest.raises(UserError, match="layers_all_frozen") as wrong:
        share(folders[family], config_of(folders[family]), spec({"method": "lora", "freeze_layers": 2}), 2)
    assert wrong.value.facts == {"layers": 2}


def test_an_earlier_head_is_not_counted_beside_the_new_one(tmp_path):
    body, old = tiny.body(tmp_path / "body"), tiny.classifier(tmp_path / "old", ("a", "b", "c"))
    for method in ("full", "head"):
        same = [share(f, config_of(f), Adapting(method), 7) for f in (body, old)]
        assert same[0] == same[1]


def test_what_old_files_hold_beside_their_weights_is_passed_over():
    weights = {"wte.weight": (50, 8), "h.0.attn.c_attn.weight": (8, 24), "h.0.attn.c_attn.bias": (24,)}
    more = {"h.0.attn.bias": (1, 1, 64, 64), "h.0.attn.masked_bias": (), "lm_head.weight": (50, 8)}
    config = {"model_type": "gpt2", "n_embd": 8}
    assert share(weights | more, config, Adapting()) == share(weights, config, Adapting()) == Share(616, 616)
    untied = share(weights | more, config | {"tie_word_embeddings": False}, Adapting())
    assert untied.total == 616 + 400
    masked = {"bert.encoder.layer.0.output.dense.weight": (8, 8)}
    other = {"cls.predictions.transform.dense.weight": (8, 8), "bert.pooler.dense.weight": (8, 8)}
    bert = {"model_type": "bert", "hidden_size": 8}
    assert share(masked | other, bert, Adapting(), 3).total == 64 + head_size(bert, 3)


def test_quick_fits_one_layer_and_few_all(folders):
    folder = folders["bert"]
    whole = share(folder, config_of(folder), Adapting(), 5).total
    assert share(folder, config_of(folder), Adapting("quick"), 5) == Share(5 * 33, whole)
    assert share(folder, config_of(folder), Adapting("few"), 5) == Share(whole, whole)


@pytest.mark.parametrize("choices", [c for c in CHOICES if c["method"] != "head" and not c.get("freeze_embeddings")])
@pytest.mark.parametrize("family", ["bert", "distilbert", "llama", "qwen2", "gpt2", "t5", "bart"])
def test_a_sketch_comes_near_where_the_files_cannot_be_asked(folders, family, choices):
    folder = folders[family]
    labels = 5 if family in tiny.ENCODERS else 0
    real = share(folder, config_of(folder), Adapting(**choices), labels)
    drawn = share(sketch(config_of(folder), parameter_count(folder)), config_of(folder), Adapting(**choices), labels)
    assert drawn.total == pytest.approx(real.total, rel=0.1)
    assert drawn.trainable == pytest.approx(real.trainable, rel=0.1)


@pytest.mark.parametrize("method", ["full", "lora", "head"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra"])
def test_a_head_of_one_layer_learns_in_one_layer(folders, family, method):
    from core.models.heads import reshape

    folder, chosen = folders[family], spec({"method": method, "lora_rank": 4, "head_layers": "one"})
    model = opened(folder, 5)[0]
    reshaped = reshape(model, "one", "own") or model
    found = trainable(adapt(reshaped, chosen))
    assert share(folder, config_of(folder), chosen, 5) == Share(*found)
    both = share(folder, config_of(folder), spec({"method": method, "lora_rank": 4}), 5)
    assert both.trainable > found[0]
