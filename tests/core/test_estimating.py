"""What a run would take: measured by a real process, given way to a run, and told as far as it is known."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from datasets import Dataset
from filelock import FileLock
from transformers import BertConfig, BertForSequenceClassification

from core.__main__ import main
from core.data.store import TableStore
from core.errors import UserError
from core.estimating import asking, measuring, steps
from core.estimating.asking import PARTS, Estimate, estimate
from core.estimating.sampling import sample
from core.estimating.steps import _Plan
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, build
from core.training import checkpoints
from core.training.batching import Batches
from core.training.precision import Way
from tests import tiny

OWNER = "local"


@pytest.fixture
def place(tmp_path):
    return Settings(home=tmp_path / "home", limits=Limits(free_disk=0))


def table(place, rows, header):
    path = place.home.parent / "rows.csv"
    path.write_text(header + "\n" + "".join(f"{a},{b}\n" for a, b in rows), encoding="utf-8")
    return TableStore(place).add(path, OWNER, path.name)


def weather(place, model, rows=120, **chosen):
    data = DataChoice(table=table(place, tiny.rows(rows), "text,label").id, columns={"text": "text", "label": "label"})
    settings = {"epochs": 3, "batch_size": 8, "max_length": 32} | chosen
    return build(data=data, model=ModelChoice(source="directory", name=str(model)), **settings)


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return tiny.body(tmp_path_factory.mktemp("body"))


@pytest.mark.usefixtures("started_anew")
@pytest.mark.real
def test_a_real_process_measures_all_and_leaves_nothing(place, body):
    spec, runs = weather(place, body), RunStore(place.home)
    found = estimate(spec, OWNER, place, runs)
    assert list(found.parts) == list(PARTS)
    assert found.seconds == pytest.approx(sum(found.parts.values()), abs=0.2)
    assert not found.at_least
    assert found.range[0] < found.seconds < found.range[1]
    assert (found.steps, found.measured) == (3 * 11, 12)
    assert found.memory_bytes > 100 * 2**20
    # A state has each weight three times; beside it, the best model and the result.
    model = BertForSequenceClassification(tiny.config(num_labels=2))
    assert found.disk_bytes == 4 * (3 + 2) * sum(weight.numel() for weight in model.parameters())
    assert not (place.home / "estimate").exists()
    assert runs.list() == []


def told(spec, place, folder):
    folder.mkdir()
    known = {}
    measuring.measure(spec, OWNER, folder, place, known.update)
    return known


@pytest.mark.parametrize(("method", "steps"), [("head", 33), ("quick", 0), ("few", 40)])
def test_each_method_is_measured_in_its_own_way(place, body, tmp_path, method, steps):
    known = told(weather(place, body, method=method), place, tmp_path / "trial")
    assert set(PARTS) - known.keys() == ({"validating"} if method in ("quick", "few") else set())
    assert known["steps"] == steps
    assert known["measured"] > 5


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_written_is_measured_before_and_after(place, tmp_path, monkeypatch, method):
    model = tiny.language_model(tmp_path / "llama")
    rows = [(f"the {a} {b} is late again", f"{a} {b}") for a in tiny.WORDS[:8] for b in tiny.WORDS[8:14]]
    data = DataChoice(table=table(place, rows, "text,summary").id, columns={"text": "text", "summary": "summary"})
    asked = {"task": "summarization", "method": method, "instruction": "in short", "batch_size": 4, "max_length": 120}
    asked |= {"max_new_tokens": 40, "lora_rank": 2, "epochs": 1}
    spec = build(data=data, model=ModelChoice(source="directory", name=str(model)), **asked)
    written = []
    honest = measuring.answer_some
    monkeypatch.setattr(measuring, "answer_some", lambda *given: written.append(honest(*given)) or written[0])
    known = told(spec, place, tmp_path / "trial")
    assert known["testing"] > written[0].trained + written[0].untouched
    assert written[0].untouched >= written[0].trained > 0
    assert len(written[0].answers.predictions) == len(written[0].answers.token_losses)


def test_whether_layers_are_computed_once_is_decided_for_all_rows(place, body, tmp_path, monkeypatch):
    seen, honest = [], steps.frozen.replayed
    monkeypatch.setattr(steps, "_MOST_ENCODED", 40)
    monkeypatch.setattr(
        steps.frozen, "replayed", lambda *given, **more: seen.append(given[4]) or honest(*given, **more)
    )
    told(weather(place, body, epochs=2), place, tmp_path / "trial")
    ((train, times), (_, judged)) = seen[0].passes
    assert 84 - 10 < len(train) * times / 2 < 84 + 50  # of 84 rows, at most 40 of which are there
    assert len(train) <= 40
    assert times > 2
    assert judged == 4


def children(monkeypatch, *lines, status=0, sleep=0.0):
    """Processes that tell these lines and end with this status, or sleep first."""
    begun = []

    def spawn(settings, module, arguments, computes):
        assert computes
        path = Path(arguments[0]) / asking.TOLD
        path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
        script = f"import time; time.sleep({sleep}); raise SystemExit({status})"
        begun.append(subprocess.Popen([sys.executable, "-c", script], start_new_session=True))
        return begun[-1]

    monkeypatch.setattr(asking, "spawn", spawn)
    return begun


SPEC = build(data=DataChoice(table="0" * 64, columns={"text": "text", "label": "label"}))


def test_what_is_known_when_time_is_over_is_a_bound(place, monkeypatch):
    children(monkeypatch, {"disk_bytes": 5, "preparing": 2.0}, {"steps": 100, "begun": time.time() - 30}, sleep=60)
    found = estimate(SPEC, OWNER, place, RunStore(place.home), 0.3)
    assert found.at_least
    assert found.range is None
    assert (found.steps, found.disk_bytes, found.memory_bytes) == (100, 5, None)
    assert found.seconds == pytest.approx(2 + 100 * 30.5, rel=0.05)
    children(monkeypatch, {"preparing": 2.0, "training": 50.0, "steps": 9, "begun": 1.0}, '{"torn', sleep=60)
    found = estimate(SPEC, OWNER, place, RunStore(place.home), 0.3)
    assert (found.seconds, found.at_least) == (52.0, True)
    children(monkeypatch, {"preparing": 2.0}, sleep=60)
    found = estimate(SPEC, OWNER, place, RunStore(place.home), 0.3)
    assert (found.seconds, found.at_least, found.parts) == (None, True, {"preparing": 2.0})


def test_what_keeps_a_run_from_starting_is_said_as_the_run_would(place, monkeypatch):
    children(monkeypatch, {"preparing": 2.0}, {"error": UserError("too_few_rows", rows=3).as_dict()})
    with pytest.raises(UserError, match="too_few_rows") as error:
        estimate(SPEC, OWNER, place, RunStore(place.home))
    assert error.value.facts == {"rows": 3}


def test_a_process_that_breaks_is_said_and_nothing_else_is(place, monkeypatch):
    children(monkeypatch, {"preparing": 2.0, "training": 1.0}, status=1)
    with pytest.raises(UserError, match="estimate_failed"):
        estimate(SPEC, OWNER, place, RunStore(place.home))
    kills = iter((0, 1))
    monkeypatch.setattr(asking, "memory_kills", lambda: next(kills))
    with pytest.raises(UserError, match="out_of_memory") as error:
        estimate(SPEC, OWNER, place, RunStore(place.home))
    assert error.value.facts["smaller"] == SPEC.batch_size // 2
    assert not (place.home / "estimate").exists()


def test_nothing_is_measured_beside_a_run_and_a_measurement_gives_way_to_one(place, monkeypatch):
    runs, begun = RunStore(place.home), children(monkeypatch, sleep=60)
    threading.Timer(0.4, lambda: runs.create(SPEC, "hf:another", "")).start()
    with pytest.raises(UserError, match="estimate_while_training"):
        estimate(SPEC, OWNER, place, runs)
    assert begun[0].poll() is not None
    with pytest.raises(UserError, match="estimate_while_training"):
        estimate(SPEC, OWNER, place, runs)
    assert len(begun) == 1


def test_there_is_one_place_for_all(place, monkeypatch):
    monkeypatch.setattr(asking, "_SECONDS_IN_LINE", 0.1)
    (place.home / "turns").mkdir(parents=True)
    with FileLock(place.home / "turns" / "estimate.lock"), pytest.raises(UserError, match="estimate_busy"):
        estimate(SPEC, OWNER, place, RunStore(place.home))


def test_steps_that_take_as_long_as_their_tokens_are_told_exactly():
    lengths, spec = [5 + 7 * row % 60 for row in range(400)], SPEC.model_copy(update={"epochs": 3})
    plan = _Plan(lengths, 2.0, 16, 0.2, spec, "cpu", Way())
    batches = Batches(lengths, 16, spec.seed, "cpu")
    tokens = [batches.cost(batch) for batch in batches]
    assert plan.steps == 3 * 50
    first, second, *others = [batches.cost(batch) for batch in plan]
    assert first == second == max(tokens)
    assert len(others) == 10
    assert others[:5] == others[5:]
    times = [0.001 * count for count in (first, second, *others)]
    whole = 0.001 * 2 * 3 * sum(tokens)
    assert plan.seconds(times) == pytest.approx(whole)
    # The first step sets things up, which is done once; and time may not have sufficed for more.
    assert plan.seconds([times[0] + 4.0, *times[1:]]) == pytest.approx(whole + 4.0)
    # A shape that is new takes longer; by then, most of a run's have been seen.
    assert plan.seconds([*times[:2], *(each + 0.5 for each in times[2:7]), *times[7:]]) == pytest.approx(whole)
    assert plan.seconds(times[:9]) == pytest.approx(whole)
    assert plan.seconds(times[:8]) == pytest.approx(whole)
    assert plan.seconds(times[:2]) == pytest.approx(whole)
    assert plan.seconds(times[:1]) == pytest.approx(whole)


def test_a_sample_stands_for_all_and_holds_the_longest_row():
    import pandas as pd

    rows = pd.DataFrame({"row": range(100), "text": ["a"] * 77 + ["long" * 9] + ["b"] * 22, "label": "x" * 99})
    some, more = sample(rows, 10)
    assert len(some) in (9, 10)
    assert 77 in list(some["row"])
    assert more == 100 / len(some)
    assert min(some["row"]) == 0
    assert max(some["row"]) > 80
    assert sample(rows, 100)[1] == 1.0


def test_sizes_are_those_of_what_is_written(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tiny.classifier(tmp_path / "model")
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    sizes = checkpoints.sizes(model)
    checkpoints.save(model, tokenizer, tmp_path / "saved")
    written = (tmp_path / "saved" / "model.safetensors").stat().st_size
    assert written == pytest.approx(sizes.result, rel=0.1)
    assert (sizes.best, sizes.state) == (sizes.result, 3 * sizes.result)
    model.base_model.requires_grad_(False)
    assert checkpoints.sizes(model).state < sizes.state / 10


def test_the_disk_holds_two_states_at_most_and_the_best_beside_the_result():
    adapted = checkpoints.Sizes(state=30, best=5, result=100)
    assert [adapted.used(states) for states in (0, 1, 2, 9)] == [105, 135, 165, 165]
    whole = checkpoints.Sizes(state=300, best=100, result=100)
    assert whole.used(2, unread=50) == 2 * 250 + 200
    assert whole.used(2) < whole.needed


@pytest.mark.parametrize(
    ("training", "validations", "states"),
    [(20, 3, 1), (40, 3, 1), (48, 3, 2), (50, 1, 1), (70, 1, 2), (200, 5, 4)],
)
def test_a_state_is_saved_each_minute_before_it_is_judged_and_at_the_end(training, validations, states):
    assert steps.Trial(training=training, steps=9, measured=3, way={}, validations=validations).states(60) == states


def test_a_method_without_steps_saves_no_state():
    assert steps.Trial(training=100, steps=0, measured=3, way={}).states(60) == 0


def test_words_that_no_text_reads_have_no_running_means(tmp_path, monkeypatch):
    monkeypatch.setattr("core.training.optimizer._LARGE_TABLE", 1_000)
    config = BertConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    train = Dataset.from_dict({"input_ids": [[1, 5, 6, 2], [1, 7, 2]]})
    assert steps._unread_bytes(model, train, 1.0) == 8 * (100 - 5) * 16
    assert steps._unread_bytes(model, train, 4.0) == 8 * (100 - 10) * 16
    assert steps._unread_bytes(model, train, 10_000.0) == 0
    model.bert.embeddings.requires_grad_(False)
    assert steps._unread_bytes(model, train, 1.0) == 0


def test_the_command_takes_the_flags_of_training(tmp_path, body, capsys, monkeypatch):
    seen = []
    found = Estimate(seconds=8.0, parts={"training": 8.0}, steps=4)
    monkeypatch.setattr(asking, "estimate", lambda spec, *given: seen.append(spec) or found)
    path = tmp_path / "weather.csv"
    path.write_text("note,kind\n" + "".join(f"{a},{b}\n" for a, b in tiny.rows(120)))
    flags = ["--data", str(path), "--text", "note", "--label", "kind", "--model", str(body), "--set", "epochs=2"]
    assert main(["estimate", "--home", str(tmp_path / "home"), *flags]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["seconds"], answer["range"], answer["steps"]) == (8.0, [6.0, 10.0], 4)
    assert seen[0].epochs == answer["spec"]["epochs"] == 2
