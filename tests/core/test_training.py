import sys
import time
from pathlib import Path
from typing import get_args

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from core import events, files
from core.data.store import TableStore
from core.device import detect, usable_threads
from core.errors import UserError
from core.inference.client import Predictors
from core.runs.progress import fold
from core.runs.store import RunStore
from core.runs.supervisor import Supervisor
from core.settings import Settings
from core.spec import AugmentChoice, DataChoice, Method, ModelChoice, build
from core.tasks.base import find
from core.training import checkpoints, ways
from core.training.loop import Signals, steps_between
from core.training.run import train, works_in_parts
from tests import tiny


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return tiny.body(tmp_path_factory.mktemp("body"))


@pytest.fixture
def house(tmp_path):
    """(settings, runs, supervisor) of a fresh home, closed afterwards."""
    settings = Settings(home=tmp_path / "home")
    runs = RunStore(settings.home)
    supervisor = Supervisor(settings, runs, seconds=0.05)
    supervisor.start()
    yield settings, runs, supervisor
    supervisor.close()


def add_table(settings, tmp_path, rows=120):
    path = tmp_path / "weather.csv"
    path.write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in tiny.rows(rows)), encoding="utf-8")
    return TableStore(settings).add(path, "local", path.name)


def spec(table, body, **knobs):
    data = DataChoice(table=table.id, columns={"text": "text", "label": "label"}, name=table.name)
    chosen = {"learning_rate": 3e-3, "epochs": 10, "batch_size": 8, "max_length": 32} | knobs
    return build(data=data, model=ModelChoice(source="directory", name=str(body)), **chosen)


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


@pytest.mark.real
def test_copies_are_learned_from_and_simple_methods_see_the_rows_as_they_are(body, tmp_path, monkeypatch):
    settings = Settings(home=tmp_path / "home")
    plain = spec(add_table(settings, tmp_path), body, epochs=1)
    augment = AugmentChoice(methods=("delete", "swap"), copies=1.0, balance=True)
    asked = plain.model_copy(update={"data": plain.data.model_copy(update={"augment": augment})})
    task, seen = find("classification"), []
    honest = type(task).simple_answers
    monkeypatch.setattr(
        type(task),
        "simple_answers",
        lambda self, split, rows, spec: seen.append(split.sizes()) or honest(self, split, rows, spec),
    )
    runs = RunStore(settings.home)
    record = runs.create(asked, "local", "weather")
    signals = Signals(stop=lambda: False, interrupted=lambda: False)
    report = train(asked, "local", runs.folder(record.id), settings, runs, lambda event: None, signals)
    added = next(f for f in report["data"]["findings"] if f["code"] == "augmented_rows")
    assert added["rows"] > 20
    rows = {name: report["rows"][name] for name in ("train", "validation", "test")}
    assert seen == [rows | {"train": rows["train"] - added["rows"]}]
    assert sum(seen[0].values()) == sum(report["data"]["label_counts"].values()) == 120


@pytest.mark.usefixtures("started_anew")
@pytest.mark.real
def test_a_real_worker_learns_judges_and_saves(house, body, tmp_path):
    settings, runs, supervisor = house
    record = supervisor.submit(spec(add_table(settings, tmp_path), body), "local", "weather")
    record = supervisor.wait(record.id)
    assert record.state == "FINISHED", runs.log(record.id)
    report = runs.report(record.id)
    assert report["metrics"]["accuracy"] > report["baselines"]["majority"]["accuracy"] + 0.2
    assert report["metrics"]["intervals"]["accuracy"][0] <= report["metrics"]["accuracy"]
    progress = fold(runs.read_events(record.id)[0])
    assert progress.finished
    assert progress.losses[-1][1] < progress.losses[0][1]
    assert sum(best for *_, best in progress.evaluations) >= 1
    assert report["validation"]["value"] == pytest.approx(max(v for _, _, v, _ in progress.evaluations), abs=1e-3)
    assert report["spec"]["learning_rate"] == 3e-3
    model = runs.model_folder(record.id)
    loaded, tokenizer = AutoModelForSequenceClassification.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    answer = loaded(**tokenizer("sun warm", return_tensors="pt")).logits.argmax()
    assert loaded.config.id2label[int(answer)] == "warm"
    assert checkpoints.verify(model)
    predictors = Predictors(settings)
    try:
        answers = predictors.predict(model, ["sun warm", "cold wind"], "classification")
        assert [a.answer for a in answers] == ["warm", "cold"]
    finally:
        predictors.close()


@pytest.mark.real
def test_the_same_seed_gives_the_same_model(house, body, tmp_path):
    settings, runs, supervisor = house
    table = add_table(settings, tmp_path)
    digests = set()
    for _ in range(2):
        record = supervisor.wait(supervisor.submit(spec(table, body, epochs=2), "local").id)
        digests.add(files.sha256(runs.model_folder(record.id) / "model.safetensors"))
    assert len(digests) == 1


@pytest.mark.real
def test_stopping_keeps_the_best_so_far_and_judges_it(house, body, tmp_path):
    settings, runs, supervisor = house
    record = supervisor.submit(spec(add_table(settings, tmp_path, 600), body, epochs=50), "local")
    until(lambda: len(fold(runs.read_events(record.id)[0]).losses) >= 2)
    runs.request_stop(record.id)
    record = supervisor.wait(record.id)
    assert (record.state, record.has_result) == ("STOPPED", True), runs.log(record.id)
    report = runs.report(record.id)
    assert report["stopped"]
    assert report["epochs_done"] < 50
    assert runs.model_folder(record.id).is_dir()


@pytest.mark.real
def test_a_loss_that_is_no_number_stops_the_run_with_a_reason(house, body, tmp_path):
    settings, runs, supervisor = house
    broken = tmp_path / "broken"
    model = AutoModelForSequenceClassification.from_pretrained(tiny.classifier(broken))
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    record = supervisor.wait(supervisor.submit(spec(add_table(settings, tmp_path), broken), "local").id)
    assert record.state == "FAILED"
    assert record.error["code"] == "loss_not_finite"
    assert fold(runs.read_events(record.id)[0]).error["code"] == "loss_not_finite"


@pytest.mark.real
def test_a_table_that_cannot_be_learned_fails_with_its_own_reason(house, body, tmp_path):
    settings, _, supervisor = house
    path = tmp_path / "one.csv"
    path.write_text("text,label\n" + "".join(f"sentence number {i},same\n" for i in range(30)))
    table = TableStore(settings).add(path, "local", path.name)
    record = supervisor.wait(supervisor.submit(spec(table, body), "local").id)
    assert (record.state, record.error["code"]) == ("FAILED", "one_class")


@pytest.mark.real
def test_closing_the_house_interrupts_its_run_and_leaves_no_process(body, tmp_path):
    settings = Settings(home=tmp_path / "home")
    runs = RunStore(settings.home)
    supervisor = Supervisor(settings, runs, seconds=0.05)
    supervisor.start()
    record = supervisor.submit(spec(add_table(settings, tmp_path, 600), body, epochs=50), "local")
    until(lambda: fold(runs.read_events(record.id)[0]).losses)
    child = supervisor._children[record.id].process
    supervisor.close()
    assert child.poll() is not None
    assert runs.get(record.id).state == "INTERRUPTED"


@pytest.mark.real
def test_a_worker_outlives_the_app_and_is_adopted(body, tmp_path):
    settings = Settings(home=tmp_path / "home")
    runs = RunStore(settings.home)
    first = Supervisor(settings, runs, seconds=0.05)
    first.start()
    record = first.submit(spec(add_table(settings, tmp_path), body, epochs=2), "local")
    until(lambda: runs.get(record.id).state == "RUNNING")
    children = dict(first._children)
    first._children.clear()  # as if this process were gone: nobody waits for the worker any more
    first.close()
    second = Supervisor(settings, runs, seconds=0.05)
    second.start()
    try:
        assert second.wait(record.id).state == "FINISHED"
    finally:
        second.close()
        for child in children.values():
            child.process.wait(30)


def test_the_worker_knows_no_secret_of_its_parent(tmp_path, monkeypatch):
    from core.processes import spawn

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OAUTH_CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary-1234")
    child = spawn(Settings(home=tmp_path), "http.server", ["--bind", "127.0.0.1", "0"])
    try:
        if sys.platform == "linux":
            place = Path(f"/proc/{child.pid}/environ")
            until(lambda: b"TUNING_FORK_HOME" in place.read_bytes())
            environment = place.read_bytes()
            assert b"canary" not in environment
            assert b"HF_HUB_OFFLINE=1" in environment
    finally:
        child.kill()
        child.wait()


def test_a_checkpoint_that_was_touched_is_not_used(tmp_path):
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tiny.classifier(tmp_path / "m")),
        tiny.tokenizer(),
    )
    for step in (1, 2, 10):
        checkpoints.save_best(model, tokenizer, tmp_path, step, {"value": step})
        assert [p.name for p in (tmp_path / "best").iterdir()] == [f"step-{step}"]
    assert checkpoints.facts_of(checkpoints.best(tmp_path)) == {"value": 10}
    weights = tmp_path / "best" / "step-10" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert checkpoints.best(tmp_path) is None
    checkpoints.save_best(model, tokenizer, tmp_path, 10)
    assert checkpoints.best(tmp_path).name == "step-10"
    (tmp_path / "best" / "step-10" / "manifest.json").unlink()
    assert checkpoints.best(tmp_path) is None


def test_a_full_disk_keeps_the_checkpoint_that_was_there(tmp_path, monkeypatch):
    import errno

    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tiny.classifier(tmp_path / "m")),
        tiny.tokenizer(),
    )
    target = tmp_path / "step-1"
    checkpoints.save(model, tokenizer, target)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="disk_full"):
        checkpoints.save(model, tokenizer, target)
    monkeypatch.undo()
    assert checkpoints.verify(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "step-1"]


def test_memory_that_runs_out_is_told_with_a_smaller_batch_and_other_errors_stay():
    from core.training.loop import memory_is_a_user_error

    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("could not create a primitive"),
    ):
        with pytest.raises(UserError) as told, memory_is_a_user_error(16):
            raise error
        assert told.value.facts == {"batch_size": 16, "smaller": 8}
    with pytest.raises(RuntimeError, match="shapes"), memory_is_a_user_error(16):
        raise RuntimeError("shapes do not match")


def test_only_methods_with_batches_of_the_persons_own_are_tried_again_in_parts():
    assert [m for m in get_args(Method) if works_in_parts(m)] == ["full", "lora", "head"]


@pytest.mark.parametrize(("asked", "threads"), [("1", 1), ("0", None), ("", None), ("many", None), ("9999", None)])
def test_no_more_threads_than_there_are_cores_or_are_allowed(monkeypatch, asked, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = usable_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert usable_threads() == (threads or cores)


def test_the_device_says_why():
    device = detect()
    assert device.reason
    if device.kind == "cpu":
        assert (device.precision == "bfloat16") == (device.bfloat16_speedup >= 1.15)
        assert device.threads >= 1


@pytest.mark.parametrize(("knows", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_card_computes_in_bfloat16_where_it_knows_it_and_builds_no_attention_for_each_shape(
    monkeypatch, knows, precision
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: knows)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: "a card")
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        device = detect()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
    assert (device.kind, device.precision, device.name) == ("cuda", precision, "a card")


@pytest.mark.real
@pytest.mark.parametrize(("larger", "parts", "rows"), [(True, 1, 16), (False, 1, 0), (True, 2, 0)])
def test_larger_batches_are_learned_from_where_they_are_allowed(body, tmp_path, monkeypatch, larger, parts, rows):
    """Not where memory ran out before, and not where the person wants none."""
    settings, told = Settings(home=tmp_path / "home"), []
    asked = spec(add_table(settings, tmp_path), body, epochs=1, larger_batches=larger)
    monkeypatch.setattr(ways, "rows_together", lambda *given: 16)
    (tmp_path / "run").mkdir()
    runs, signals = RunStore(settings.home), Signals(lambda: False, lambda: False)
    report = train(asked, "local", tmp_path / "run", settings, runs, told.append, signals, parts)
    (planned,) = (event for event in told if isinstance(event, events.Planned))
    assert report["training_way"]["rows"] == rows
    assert planned.steps == -(-report["rows"]["train"] // (rows or 8))


@pytest.mark.parametrize(
    ("steps", "epochs", "share", "between"),
    [
        (100, 1, 0.2, 33),  # three times at least
        (100, 1, 0.02, 20),  # five times where that takes little time
        (100, 2, 0.2, 33),
        (100, 4, 0.2, 25),
        (100, 10, 0.02, 10),  # once in an epoch, not more
        (2, 1, 0.5, 1),
    ],
)
def test_judging_takes_little_of_the_time(steps, epochs, share, between):
    assert steps_between(steps, epochs, share) == between
