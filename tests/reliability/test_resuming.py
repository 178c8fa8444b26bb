"""A run that was interrupted, however often and wherever, ends with the very weights of one that was not."""

import contextlib
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file

from core import events, files
from core.device import Device
from core.errors import UserError
from core.runs.progress import fold
from core.spec import ModelChoice
from core.tasks.base import find
from core.training import checkpoints, features
from core.training.loop import InterruptedRunError
from core.training.precision import Way as Computing
from core.training.ways import way_of
from tests.ways import LANGUAGES, House, Way

pytestmark = pytest.mark.real

WAYS = [
    Way("classification", "bert", "full"),
    Way("classification", "bert", "full", {"freeze_embeddings": True, "batch_size": 7}),
    Way("multi_label", "distilbert", "head"),
    Way("classification", "bert", "few"),
    Way("translation", "t5", "full", LANGUAGES),
    Way("summarization", "qwen2", "lora"),
    Way("chat", "gpt2", "lora", {"packing": True}),
]


def weights(folder):
    return files.sha256(folder / "model" / "model.safetensors")


def last(folder):
    """Number and digest of what training ended with, whether or not it was the best."""
    state, _ = checkpoints.state(folder)
    return checkpoints.step_of(state), files.sha256(state / "changed.safetensors")


def scores(report):
    return report["metrics"], report["baselines"], report["best_epoch"], report["validation"]


class Disturbance:
    """Interrupts training when it is asked for the first, second, … time in an attempt: between steps, and while rows
    are judged. Which of them changes with each attempt."""

    def __init__(self, house: House, cycle: int) -> None:
        self._house, self._cycle, self.attempt, self._asked = house, cycle, 0, 0

    def __call__(self) -> bool:
        self._asked += self._house.in_phase("training")
        return self._asked > self.attempt % self._cycle

    def next(self) -> None:
        self.attempt, self._asked = self.attempt + 1, 0
        self._house.events.append(events.Phase(name="between"))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_interrupted_again_and_again_it_ends_with_the_same_weights_scores_and_curves(way, house, model, monkeypatch):
    monkeypatch.setattr(checkpoints, "forget", lambda *given, **more: None)
    spec = house.spec(way, model(way.family), rows=44, learning_rate=1e-2)
    undisturbed, folder = house.train(spec)
    told, house.events[:] = fold(house.events), []
    house.interrupted, other, report = Disturbance(house, 12 if way.method == "few" else 3), house.folder(spec), None
    while report is None:
        assert house.interrupted.attempt < 100
        try:
            report = house.go_on(spec, other)
        except InterruptedRunError:
            assert len(list((other / "checkpoints").glob("*"))) <= checkpoints.KEPT
            house.interrupted.next()
    assert house.interrupted.attempt >= 5
    assert weights(other) == weights(folder)
    assert last(other) == last(folder)
    assert scores(report) == scores(undisturbed)
    again = fold(house.events)
    assert [(step, value) for step, _, value, _ in again.evaluations] == [
        (step, value) for step, _, value, _ in told.evaluations
    ]
    assert again.resumed > 0


def test_quick_mode_reads_no_text_twice_and_ends_with_the_same_weights(house, model, monkeypatch):
    monkeypatch.setattr("core.training.features._ROWS_PER_BATCH", 8)
    spec = house.spec(Way("classification", "bert", "quick"), model("bert"), rows=80)
    undisturbed, folder = house.train(spec)
    honest, read = features.of_batch, []
    monkeypatch.setattr(features, "of_batch", lambda *given: read.append(1) or honest(*given))
    house.events.clear()
    other, report, attempts = house.folder(spec), None, 0
    while report is None:
        attempts += 1
        house.interrupted = lambda most=attempts: house.in_phase("training") and len(read) == most
        with contextlib.suppress(InterruptedRunError):
            report = house.go_on(spec, other)
        house.events.append(events.Phase(name="between"))
    assert attempts > 5
    assert len(read) == attempts - 1
    assert weights(other) == weights(folder)
    assert scores(report) == scores(undisturbed)
    assert not (other / "features").exists()


@pytest.mark.parametrize("phase", ["untouched", "testing"])
def test_answers_that_were_written_are_not_written_again(phase, house, model, monkeypatch):
    monkeypatch.setattr("core.training.answering._WRITTEN_ROWS", 3)
    spec = house.spec(Way("translation", "t5", "lora", LANGUAGES), model("t5"), epochs=1)
    undisturbed, _ = house.train(spec)
    folder, asked, honest = house.folder(spec), [], type(find("translation")).answer

    def answered(task, *given):
        asked.append(len(given[2]))
        return honest(task, *given)

    monkeypatch.setattr(type(find("translation")), "answer", answered)
    house.events.clear()
    house.interrupted = lambda: house.in_phase(phase) and any((folder / "answers").glob(f"{place}/*.json"))
    place = "untouched" if phase == "untouched" else "[!u]*"
    with pytest.raises(InterruptedRunError):
        house.go_on(spec, folder)
    house.interrupted = lambda: False
    report = house.go_on(spec, folder)
    assert sum(asked) == 2 * report["rows"]["judged"]
    assert scores(report) == scores(undisturbed)
    assert not (folder / "answers").exists()


def interrupted_at(house, spec, steps):
    """The folder of a run that was interrupted after so many steps."""
    folder = house.folder(spec)
    house.interrupted = lambda: fold(house.events).step >= steps
    with pytest.raises(InterruptedRunError):
        house.go_on(spec, folder)
    house.interrupted = lambda: False
    house.events.clear()
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGES = {
    "a flipped bit in the weights": lambda state: flip(state / "changed.safetensors"),
    "a flipped bit in the optimizer": lambda state: flip(state / "optimizer.pt"),
    "a cut file": lambda state: (state / "changed.safetensors").write_bytes(b"x"),
    "a missing optimizer": lambda state: (state / "optimizer.pt").unlink(),
    "a missing manifest": lambda state: (state / checkpoints.MANIFEST).unlink(),
    "a manifest of garbage": lambda state: (state / checkpoints.MANIFEST).write_bytes(b"\xff{"),
    "nothing left of it": lambda state: shutil.rmtree(state),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_state_the_one_before_is_used_and_it_is_said(damage, house, model):
    way = Way("classification", "bert", "full")
    spec = house.spec(way, model("bert"), rows=40)
    undisturbed, folder = house.train(spec)
    other = interrupted_at(house, spec, 4)
    newest, _ = checkpoints.state(other)
    DAMAGES[damage](newest)
    report = house.go_on(spec, other)
    progress = fold(house.events)
    assert progress.resumed == checkpoints.step_of(newest) - 1
    assert progress.damaged == (0 if damage == "nothing left of it" else 1)
    assert (weights(other), scores(report)) == (weights(folder), scores(undisturbed))


def test_where_no_state_is_whole_it_begins_anew_and_ends_the_same(house, model):
    spec = house.spec(Way("classification", "bert", "full"), model("bert"), rows=40)
    _, folder = house.train(spec)
    other = interrupted_at(house, spec, 4)
    for state in (other / "checkpoints").iterdir():
        flip(state / "changed.safetensors")
    shutil.rmtree(other / "best")
    house.go_on(spec, other)
    assert (fold(house.events).resumed, fold(house.events).damaged) == (0, 2)
    assert weights(other) == weights(folder)


def test_a_damaged_best_model_is_found_again_or_replaced(house, model):
    spec = house.spec(Way("classification", "bert", "full"), model("bert"), rows=40)
    other = interrupted_at(house, spec, 6)
    flip(checkpoints.best(other) / "model.safetensors")
    report = house.go_on(spec, other)
    assert checkpoints.verify(other / "model")
    assert 0 < report["metrics"]["accuracy"] <= 1


def test_stopped_it_can_go_on_later_and_ends_where_it_would_have_ended(house, model, monkeypatch):
    honest = checkpoints.forget
    monkeypatch.setattr(checkpoints, "forget", lambda folder, resumable=False: honest(folder, resumable=True))
    spec = house.spec(Way("classification", "bert", "full"), model("bert"), rows=40, epochs=4)
    _, folder = house.train(spec)
    house.events.clear()
    other = house.folder(spec)
    house.stop = lambda: True  # heard after the first step
    report = house.go_on(spec, other)
    assert report["stopped"]
    assert report["epochs_done"] < 4
    assert checkpoints.verify(other / "model")
    assert len(list((other / "checkpoints").iterdir())) == 1
    house.stop = lambda: False
    house.events.clear()
    report = house.go_on(spec, other)
    assert (report["stopped"], report["epochs_done"]) == (False, 4)
    assert fold(house.events).resumed > 0
    assert last(other) == last(folder)


@pytest.mark.parametrize(
    "way",
    [Way("classification", "bert", "full"), Way("multi_label", "bert", "full"), Way("chat", "llama", "full")],
    ids=lambda way: way.name,
)
def test_a_batch_in_parts_learns_the_same_but_for_rounding(way, house, model, monkeypatch):
    monkeypatch.setattr("tests.tiny.config", lambda **changes: None)
    monkeypatch.setattr("core.training.pace.Pace.due", lambda self: True)  # each step is told, however fast they are
    whole, parts = (
        _losses(house, house.spec(way, model(way.family), rows=40, warmup_ratio=0.0), cut) for cut in (1, 4)
    )
    assert parts == pytest.approx(whole, rel=2e-2)


def _losses(house, spec, parts):
    house.events.clear()
    house.go_on(spec, house.folder(spec), parts)
    return [loss for _, loss in fold(house.events).losses]


@pytest.mark.parametrize("bad_step", [1, 7])
def test_a_loss_that_is_no_number_ends_training_and_the_best_before_is_kept(bad_step, house, model, monkeypatch):
    task, seen = find("classification"), []
    honest = type(task).loss

    def loss(self, split):
        def broken(outputs, labels, num_items_in_batch=None):
            if not torch.is_grad_enabled():
                return honest(self, split)(outputs, labels)
            seen.append(1)
            return honest(self, split)(outputs, labels) * (float("nan") if len(seen) >= bad_step else 1)

        return broken

    monkeypatch.setattr(type(task), "loss", loss)
    spec = house.spec(Way("classification", "bert", "full"), model("bert"), rows=60)
    folder = house.folder(spec)
    if bad_step == 1:
        with pytest.raises(UserError, match="loss_not_finite"):
            house.go_on(spec, folder)
        return
    report = house.go_on(spec, folder)
    assert len(seen) == bad_step
    assert (report["diverged"], report["stopped"]) == (True, True)
    assert 0 < report["best_epoch"] * 6 < bad_step
    kept = load_file(folder / "model" / "model.safetensors")
    assert all(bool(values.isfinite().all()) for values in kept.values())
    assert not (folder / "checkpoints").exists()


def test_a_result_that_is_taught_further_is_never_worse_on_the_rows_it_is_chosen_by(house, model):
    spec = house.spec(Way("classification", "bert", "full"), model("bert"), rows=80, epochs=6)
    before, folder = house.train(spec)
    record = house.runs.get(folder.name)
    record = house.runs.transition(record.id, ("QUEUED",), "STARTING", 0)
    house.runs.transition(record.id, ("STARTING",), "RUNNING", 1)
    house.runs.transition(record.id, ("RUNNING",), "FINISHED", 1, has_result=True)
    house.events.clear()
    ruined = spec.model_copy(update={"model": ModelChoice(source="run", name=record.id), "learning_rate": 1e-2})
    after, _ = house.train(ruined)
    assert fold(house.events).evaluations[0][0] == 0
    assert after["validation"]["value"] >= before["validation"]["value"]
    assert after["rows"] == before["rows"]


def test_without_room_for_what_training_keeps_it_does_not_begin(house, model, monkeypatch):
    spec = house.spec(Way("classification", "bert", "full"), model("bert"), rows=40)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**30, 2**30, 64 * 2**20 + 100_000))
    with pytest.raises(UserError, match="disk_too_small") as told:
        house.train(spec)
    assert told.value.facts["needed"] >= told.value.facts["free"] == 64
    assert house.phases()[-1] == "loading"


def test_a_run_goes_on_in_the_way_to_compute_in_which_it_began_and_the_report_says_which(house, model, monkeypatch):
    spec = house.spec(Way("classification", "bert", "full"), model("bert"), epochs=2)
    folder = interrupted_at(house, spec, 3)
    began = checkpoints.facts_of(checkpoints.state(folder)[0])["way"]
    monkeypatch.setattr("core.training.ways.choose", lambda *given: pytest.fail("chosen anew"))
    assert house.go_on(spec, folder)["training_way"] == began
    assert began["tried"] >= 1


def test_memory_that_runs_out_while_ways_are_tried_is_said_as_such(house, model, monkeypatch):
    def fails(*given):
        raise RuntimeError("not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("core.training.precision._loss", fails)
    with pytest.raises(UserError, match="out_of_memory"):
        house.train(house.spec(Way("classification", "bert", "full"), model("bert"), epochs=1))


def test_a_run_that_began_on_a_processor_goes_on_elsewhere_in_the_way_that_works_there(tmp_path):
    files.write_json(tmp_path / checkpoints.FACTS, {"way": {"weights": "bfloat16", "attention": "plain"}})
    assert way_of(tmp_path, Device("cuda", "bfloat16", 2, "test")) == Computing("bfloat16", "fused")
    assert way_of(tmp_path, Device("cuda", "float32", 2, "test")) == Computing("float32", "fused")
    assert way_of(tmp_path, Device("mps", "float32", 2, "test")) == Computing("float32", "fused")
    assert way_of(tmp_path, Device("cpu", "bfloat16", 2, "test")).attention == "plain"


def test_what_is_kept_are_the_exact_weights_and_not_those_that_were_computed_with(house, model, monkeypatch):
    monkeypatch.setattr("core.training.run.detect", lambda: Device("cpu", "bfloat16", 1, "test"))
    report, folder = house.train(house.spec(Way("classification", "bert", "full"), model("bert"), epochs=1))
    assert report["training_way"]["weights"] == "bfloat16"
    kept = load_file(folder / "model" / "model.safetensors")
    assert {weight.dtype for weight in kept.values()} == {torch.float32}
    finer = [name for name, weight in kept.items() if not torch.equal(weight, weight.bfloat16().float())]
    assert len(finer) > len(kept) / 2
