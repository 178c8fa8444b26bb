"""Of frozen lower layers, what they give is computed once; what is learned above them stays the same."""

import itertools
import random
from collections import namedtuple
from contextlib import closing

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, DebertaV2Config
from transformers.models.bert.modeling_bert import BertSelfAttention

from core import events
from core.device import Device
from core.models.adapting import adapt
from core.quiet import quiet_libraries
from core.runs.progress import fold
from core.tasks._batches import training_batch
from core.training import checkpoints, frozen
from core.training.hidden_states import HiddenStates
from core.training.loop import InterruptedRunError
from core.training.precision import Way, prepared
from tests.core.test_adapting import opened, spec
from tests.ways import DEVICE, LANGUAGES, House, Models
from tests.ways import Way as Work

BOTH = {"freeze_embeddings": True, "freeze_layers": 1}
PLAIN = Way("float32", "plain")
WORKS = [
    (Work("classification", "bert", "full", BOTH), 1),
    (Work("multi_label", "distilbert", "head"), 2),
    (Work("chat", "llama", "lora", {"freeze_layers": 1}), 1),
    (Work("translation", "bart", "full", BOTH | LANGUAGES), 1),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Models(tmp_path_factory.mktemp)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Everything in this process, and also a little that is spared is worth it."""
    quiet_libraries()
    monkeypatch.setattr(frozen, "_LEAST_SPARED", 0)
    monkeypatch.setattr("core.training.run.detect", lambda: DEVICE)
    monkeypatch.setattr("core.training.pace.Pace.due", lambda self: True)
    return House(tmp_path / "home", seconds_between_saves=0.0)


def last(folder):
    """The weights that training ended with."""
    return load_file(checkpoints.state(folder)[0] / "changed.safetensors")


@pytest.mark.parametrize(("work", "layers"), WORKS, ids=lambda value: getattr(value, "name", ""))
def test_epochs_over_what_was_kept_teach_what_whole_epochs_teach(work, layers, house, model, monkeypatch):
    monkeypatch.setattr(checkpoints, "forget", lambda *given, **more: None)
    chosen = house.spec(work, model(work.family), rows=40, dropout=0.0, lora_dropout=0.0, learning_rate=1e-3)
    report, folder = house.train(chosen)
    losses, house.events[:] = fold(house.events).losses, []
    monkeypatch.setattr(frozen, "_pays", lambda passes: False)
    usual, other = house.train(chosen)
    assert (report["training_way"]["kept_layers"], usual["training_way"]["kept_layers"]) == (layers, 0)
    assert len(losses) == 8
    assert [loss for _, loss in losses] == pytest.approx([loss for _, loss in fold(house.events).losses], rel=1e-3)
    torch.testing.assert_close(last(folder), last(other), rtol=1e-2, atol=1e-3)
    assert report["validation"] == usual["validation"]


def test_the_layers_compute_each_text_once_and_what_is_saved_is_the_whole_model(house, model, monkeypatch):
    computed, honest = {0: 0, 1: 0}, BertSelfAttention.forward

    def counted(self, *given, **more):
        computed[self.layer_idx] += house.in_phase("training")
        return honest(self, *given, **more)

    monkeypatch.setattr(BertSelfAttention, "forward", counted)
    base = model("bert")
    _, folder = house.train(house.spec(WORKS[0][0], base, rows=40, epochs=6))
    assert computed[0] < 20 < computed[1]
    assert not (folder / frozen.FOLDER).exists()
    kept, before = load_file(folder / "model" / "model.safetensors"), load_file(base / "model.safetensors")
    whole = AutoModelForSequenceClassification.from_pretrained(folder / "model")
    assert kept.keys() == whole.state_dict().keys()
    same = {name for name in before if torch.equal(kept[f"bert.{name}"], before[name])}
    assert same == {name for name in before if name.startswith(("embeddings.", "encoder.layer.0."))}


def test_interrupted_again_and_again_it_ends_the_same_and_computes_nothing_twice(house, model, monkeypatch):
    monkeypatch.setattr("core.training.run.detect", lambda: Device("cpu", "bfloat16", 1, "test"))
    monkeypatch.setattr(checkpoints, "forget", lambda *given, **more: None)
    monkeypatch.setattr(frozen, "_TOKENS", 32)
    added, honest = [], HiddenStates.add
    monkeypatch.setattr(HiddenStates, "add", lambda self, states: added.append(len(states)) or honest(self, states))
    chosen = house.spec(WORKS[0][0], model("bert"), rows=40)
    report, folder = house.train(chosen)
    batches, added[:], house.events[:] = len(added) - frozen._ROWS_TRIED, [], []
    other, attempts = house.folder(chosen), (2, batches - 2, batches + 4)
    assert attempts[1] > 2
    for most in attempts:
        asked = itertools.count()
        house.interrupted = lambda asked=asked, most=most: house.in_phase("training") and next(asked) >= most
        with pytest.raises(InterruptedRunError):
            house.go_on(chosen, other)
        house.events.append(events.Phase(name="between"))
    assert fold(house.events).step > 0
    house.interrupted = lambda: False
    again = house.go_on(chosen, other)
    assert len(added) == batches + (len(attempts) + 1) * frozen._ROWS_TRIED
    assert again["training_way"] == report["training_way"]
    assert (report["training_way"]["kept_layers"], report["training_way"]["weights"]) == (1, "bfloat16")
    wanted, found = last(folder), last(other)
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


# -- without a run


CHANCE = random.Random(3)
TEXTS = [[CHANCE.randrange(5, 40) for _ in range(3 + 2 * number)] for number in range(6)]


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def reading(together=None, times=2, **more):
    """Six texts."""
    columns = {"input_ids": TEXTS, "labels": [1] * 6, "length": [len(text) for text in TEXTS]}
    given = {"parts": 1, "seconds": 60.0, "tell": lambda done, total: None, "stop": lambda: False}
    return frozen.Reading(passes=((Dataset.from_dict(columns), times),), collate=together or collate, **(given | more))


def layers_kept(model, folder, once=None, way=PLAIN, device=DEVICE, **more):
    with prepared(model, way, device), frozen.replayed(model, way, device, folder, once or reading(), **more) as kept:
        assert (folder / frozen.FOLDER).exists() == (kept > 0)
    assert not [layer for layer in model.modules() if "forward" in vars(layer)]
    return kept


@pytest.fixture
def bert(model, monkeypatch):
    """A small model with a frozen lower half, and also a little that is spared is worth it."""
    monkeypatch.setattr(frozen, "_LEAST_SPARED", 0)
    return adapt(opened(model("bert"), 3)[0], spec("full", **BOTH))


@pytest.mark.parametrize("way", [PLAIN, Way("autocast"), Way("bfloat16", "plain")], ids=lambda way: way.weights)
def test_what_is_kept_gives_the_models_own_logits(way, bert, tmp_path):
    batch = collate([{"input_ids": text, "labels": 1} for text in TEXTS])
    lower = frozen._Lower(bert, way)
    bert.eval()
    with prepared(bert, way, DEVICE):
        (wanted,) = lower.results(batch)
        with frozen.replayed(bert, way, DEVICE, tmp_path, reading()) as kept:
            (found,) = lower.results(batch)
            bert.train()
            assert bert(**{name: values for name, values in batch.items() if name != "labels"}).logits.requires_grad
    assert kept == 1
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3 if way.weights == "float32" else 1e-2)


def test_what_does_not_pay_is_not_tried(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_tried", lambda *given: pytest.fail("tried"))
    assert layers_kept(bert, tmp_path, reading(times=1)) == 0
    assert layers_kept(bert, tmp_path, wanted=False) == 0
    monkeypatch.setattr(bert, "to", lambda kind: bert)
    assert layers_kept(bert, tmp_path, device=Device("mps", "float32", 1, "test")) == 0
    monkeypatch.setattr(frozen, "_LEAST_SPARED", sum(map(len, TEXTS)) + 1)
    assert layers_kept(bert, tmp_path) == 0


@pytest.mark.parametrize(
    "choices", [{"freeze_layers": 1}, {"freeze_embeddings": True}, {"method": "lora"}], ids=lambda c: next(iter(c))
)
def test_nothing_is_kept_where_something_is_learned_below(choices, model, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_LEAST_SPARED", 0)
    changed = adapt(opened(model("bert"), 3)[0], spec(**({"method": "full"} | choices)))
    assert layers_kept(changed, tmp_path) == 0


FAMILIES = [
    *((family, 3) for family in ("electra", "roberta", "modernbert", "deberta", "qwen2")),
    *((family, 0) for family in ("llama", "gpt2", "bart", "marian", "pegasus")),
]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("family", "labels"), FAMILIES, ids=str)
def test_families_whose_lower_layers_are_computed_once(family, labels, layers, model, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_LEAST_SPARED", 0)
    changed = adapt(deberta() if family == "deberta" else opened(model(family), labels)[0], frozen_to(layers))
    once = reading(None if labels else writing(changed))
    assert layers_kept(changed, tmp_path, once, way=Way("float32")) == layers


def test_layers_that_hand_on_more_or_are_left_out_at_random_compute_as_ever(model, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_LEAST_SPARED", 0)
    t5, bart = (adapt(opened(model(family), 0)[0], frozen_to(1)) for family in ("t5", "bart"))
    assert layers_kept(t5, tmp_path, reading(writing(t5))) == 0
    bart.config.encoder_layerdrop = 0.1
    assert layers_kept(bart, tmp_path, reading(writing(bart))) == 0


def frozen_to(layers):
    return spec("full", freeze_embeddings=True, freeze_layers=layers)


def writing(changed):
    class Words:
        pad_token_id = 0

    return lambda rows: training_batch(changed, Words(), [row | {"labels": row["input_ids"]} for row in rows])


def deberta():
    """Its layers hand on states with an empty place beside them, and share a table of distances with a norm."""
    return AutoModelForSequenceClassification.from_config(
        DebertaV2Config(
            vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
            relative_attention=True, position_buckets=8, norm_rel_ebd="layer_norm", pos_att_type=["p2c", "c2p"],
            position_biased_input=False, num_labels=3,
        )
    )  # fmt: skip


def test_another_result_than_the_models_own_is_not_taken(bert, tmp_path, monkeypatch):
    honest = HiddenStates.of
    monkeypatch.setattr(HiddenStates, "of", lambda self, ids, mask: honest(self, ids, mask).roll(1, dims=1))
    assert layers_kept(bert, tmp_path) == 0


def test_texts_that_share_a_row_compute_as_ever(bert, tmp_path):
    once = reading(lambda rows: {name: v for name, v in collate(rows).items() if name != "attention_mask"})
    assert layers_kept(bert, tmp_path, once) == 0


def test_without_enough_room_on_disk_it_computes_as_ever(bert, tmp_path, monkeypatch):
    needed = sum(map(len, TEXTS)) * 32 * 4
    for spare, kept in ((2 * needed - 1, 0), (2 * needed, 1)):
        monkeypatch.setattr(checkpoints, "spare", lambda folder, model, spare=spare: spare)
        assert layers_kept(bert, tmp_path, way=PLAIN) == kept


def test_a_disk_that_fills_while_it_computes_is_left_as_it_was(bert, tmp_path, monkeypatch):
    def full(self, states):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frozen, "_tried", lambda *given: (32, torch.float32))
    monkeypatch.setattr(HiddenStates, "add", full)
    assert layers_kept(bert, tmp_path) == 0


def test_asked_to_end_it_computes_no_further(bert, tmp_path):
    told = []
    assert layers_kept(bert, tmp_path, reading(tell=lambda *done: told.append(done), stop=lambda: True)) == 0
    assert told == []


def test_the_room_for_what_training_keeps_is_counted_first(bert, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 0, 10**9))
    spare = checkpoints.spare(tmp_path, bert)
    assert 0 < spare < 10**9 - 3 * 4 * sum(weight.numel() for weight in bert.parameters())
    with prepared(bert, Way("bfloat16", "plain"), DEVICE):
        assert checkpoints.spare(tmp_path, bert) == spare
    (tmp_path / frozen.FOLDER).mkdir()
    (tmp_path / frozen.FOLDER / "states.bin").write_bytes(bytes(1000))
    assert checkpoints.spare(tmp_path, bert) == spare + 1000


# -- on disk


@pytest.fixture
def batch():
    given = collate([{"input_ids": text, "labels": 1} for text in TEXTS[:3]])
    return given["input_ids"], given["attention_mask"]


def filled(folder, batch, origin="a"):
    """States in which each number tells its place, and whether they were there already."""
    ids, mask = batch
    with closing(HiddenStates(folder, origin, 4, torch.bfloat16)) as states:
        there = states.place(ids, mask)
        if not there:
            states.add(torch.arange(float(mask.sum()))[:, None].expand(-1, 4))
    return states, there


def test_a_texts_states_are_found_in_any_batch(tmp_path, batch):
    (ids, mask), (states, _) = batch, filled(tmp_path, batch)
    order = torch.tensor([2, 0])
    found = states.of(ids[order], mask[order])
    lengths = mask.sum(1).tolist()
    assert found.dtype == torch.bfloat16
    assert found[0, :, 0].tolist() == list(range(sum(lengths[:2]), sum(lengths)))
    assert found[1, :, 0].tolist() == [*range(lengths[0]), *[0] * (lengths[2] - lengths[0])]
    with pytest.raises(KeyError):
        states.of(ids + 1, mask)


DAMAGES = {
    "none": lambda file, note: None,
    "a flipped bit": lambda file, note: file.write_bytes(bytes([1]) + file.read_bytes()[1:]),
    "a cut file": lambda file, note: file.write_bytes(file.read_bytes()[:-1]),
    "a note of garbage": lambda file, note: note.write_bytes(b"\xff{"),
    "no file": lambda file, note: file.unlink(),
    "more than was noted": lambda file, note: file.write_bytes(file.read_bytes() + b"torn"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_an_earlier_attempt_left_is_used_if_it_is_whole(damage, tmp_path, batch):
    filled(tmp_path, batch)
    size = (tmp_path / "states.bin").stat().st_size
    DAMAGES[damage](tmp_path / "states.bin", tmp_path / "states.json")
    states, there = filled(tmp_path, batch)
    assert there == (damage in ("none", "more than was noted"))
    assert (tmp_path / "states.bin").stat().st_size == size
    assert states.of(*batch)[0, 1, 0] == 1


def test_states_of_another_origin_are_computed_anew(tmp_path, batch):
    filled(tmp_path, batch)
    assert not filled(tmp_path, batch, "b")[1]
    assert filled(tmp_path, batch, "b")[1]


def test_the_origin_follows_from_weights_texts_and_way(bert):
    def origin(way=PLAIN, most=2048, once=None):
        return frozen._origin(frozen._Lower(bert, way), most, once or reading())

    found = [origin(), origin(Way("bfloat16", "plain")), origin(Way("float32")), origin(most=1024)]
    rows = Dataset.from_dict({"input_ids": [*TEXTS[:-1], [7]], "labels": [1] * 6, "length": [1] * 6})
    found.append(origin(once=frozen.Reading(((rows, 2),), collate, 1, 60.0, lambda *done: None, lambda: False)))
    with torch.no_grad():
        bert.bert.encoder.layer[0].output.dense.weight[0, 0] += 1
    found.append(origin())
    with torch.no_grad():
        bert.bert.encoder.layer[1].output.dense.weight[0, 0] += 1
    assert len(set(found)) == 6
    assert origin() == found[-1]
