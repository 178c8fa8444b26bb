"""Each task goes the whole way: from a table to a model that is judged, saved, opened again and asked."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import events, files
from core.data.store import TableStore
from core.errors import UserError
from core.quiet import quiet_libraries
from core.runs.progress import fold
from core.spec import TrainSpec
from core.tasks.base import find, judged_rows
from core.terminal import Terminal
from core.training import checkpoints
from core.training.loop import InterruptedRunError
from tests import tiny
from tests.ways import DEVICE, LANGUAGES, MODELS, ROWS, House, Models, Way, command, exchange, written

pytestmark = pytest.mark.real

WAYS = [
    Way("classification", "llama", "lora"),
    Way("classification", "modernbert", "head"),
    Way("classification", "bert", "quick"),
    Way("classification", "bert", "few"),
    Way("multi_label", "bert", "full"),
    Way("multi_label", "roberta", "lora", {"keep_adapter": True}),
    Way("multi_label", "distilbert", "head"),
    Way("multi_label", "bert", "quick"),
    Way("multi_label", "bert", "few"),
    Way("translation", "t5", "full", LANGUAGES),
    Way("translation", "marian", "lora", LANGUAGES),
    Way("translation", "llama", "lora", LANGUAGES | {"instruction": "say it in German", "keep_adapter": True}),
    Way("summarization", "bart", "full"),
    Way("summarization", "qwen2", "lora", {"beams": 2}),
    Way("chat", "llama", "lora"),
    Way("chat", "gpt2", "full", {"packing": True, "instruction": "be kind"}),
    Way("text_generation", "gpt2", "full"),
    Way("text_generation", "qwen2", "lora", {"packing": True}),
]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Everything in this process, on one thread, and in a precision that does not depend on how busy the machine is."""
    quiet_libraries()
    torch.set_num_threads(1)
    monkeypatch.setattr("core.training.run.detect", lambda: DEVICE)
    return House(tmp_path / "home")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A function from a family to the folder of its tiny model."""
    return Models(tmp_path_factory.mktemp)


def check_report(report, task, spec):
    """Everything that the results tab, the terminal and the model card draw from is there."""
    assert report["main_metric"] == task.main_metric
    metrics = {name: value for name, value in report["metrics"].items() if name != "intervals"}
    assert list(metrics) == list(task.metrics) or metrics.keys() == set(task.metrics)
    assert report["metrics"]["intervals"].keys() == metrics.keys()
    for name, (low, high) in report["metrics"]["intervals"].items():
        assert low <= metrics[name] + 1e-3, name
        assert metrics[name] <= high + 1e-3, name
    assert report["baselines"].keys() == set(task.baselines)
    assert all(scores and scores.keys() <= metrics.keys() for scores in report["baselines"].values())
    assert report["verdict"]["strongest"] in task.baselines
    assert report["headline"] == list(task.metrics[:2])
    assert report["rows"]["judged"] == report["rows"]["test"] > 0
    assert sum(report["rows"][part] for part in ("train", "validation", "test")) == 60
    assert report["examples"]
    assert report["use"]["task"] == spec.task
    assert 0 < report["model"]["trainable"] <= report["model"]["parameters"]
    assert report["validation"]["metric"] == task.training_metric
    assert TrainSpec.model_validate(report["spec"]) == spec
    if task.writes:
        assert "errors" not in report
        assert bool(report["samples"]) == (task.id != "text_generation")
        assert report["metrics"]["loss"] < report["baselines"]["untouched"]["loss"]
    else:
        assert len(report["per_class"]) == len(report["labels"]) > 1
        assert task.answers == "label" or report["use"]["thresholds"].keys() == set(report["labels"])
        assert "errors" in report


def check_events(house, task):
    """In an order that page and terminal can follow."""
    untouched = ["untouched"] if "untouched" in task.baselines else []
    assert house.phases() == ["data", "loading", *untouched, "training", "baselines", "testing", "saving"]
    kinds = [event.kind for event in house.events]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    first = {kind: kinds.index(kind) for kind in ("prepared", "planned", "step", "evaluated", "finished")}
    assert list(first.values()) == sorted(first.values())
    assert first["step"] < kinds.index("saved") < first["finished"]
    progress = fold(house.events)
    assert progress.fraction == 1.0
    assert progress.step <= progress.steps
    assert any(best for *_, best in progress.evaluations)


def flat(report) -> dict[str, float]:
    """Every figure of the scores."""
    edges = {f"{name} {side}": edge for name, pair in report["metrics"]["intervals"].items()
             for side, edge in zip(("low", "high"), pair, strict=True)}  # fmt: skip
    return {name: value for name, value in report["metrics"].items() if name != "intervals"} | edges


def answers(report) -> dict[int, str]:
    """Row -> what the model said, where it is kept."""
    kept = report.get("samples", report.get("errors", []))
    return {one["row"]: one.get("answer", one.get("prediction")) for one in kept}


def judged_again(house, spec, report, folder):
    """What the saved model's answers to the same rows are worth."""
    task = find(spec.task)
    frame = TableStore(house.settings).frame(spec.data.table, "local")
    split = task.prepare(frame, spec, house.settings.limits, None)
    rows = judged_rows(task, split.test)
    opened = task.reload(folder / "model")
    return task.judge(rows, split.labels, task.answer(*opened, rows, spec, DEVICE), {})


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_table_becomes_a_judged_model_that_answers_the_same_once_it_is_opened_again(way, house, model):
    spec, task = house.spec(way, model(way.family)), find(way.task)
    report, folder = house.train(spec)
    check_report(report, task, spec)
    check_events(house, task)
    assert files.read_json(folder / "report.json") == json.loads(json.dumps(report))
    assert {path.name for path in folder.iterdir()} >= {"model", "report.json"}
    assert not (folder / "checkpoints").exists()
    again = judged_again(house, spec, report, folder)
    assert flat(again) == pytest.approx(flat(report), abs=2e-3)
    assert answers(again) == answers(report)
    assert checkpoints.verify(folder / "model")
    assert not list((folder / "model").glob("adapter*"))
    assert not any("lora" in name for name in load_file(folder / "model" / "model.safetensors"))
    kept = {path.name for path in (folder / "adapter").glob("*")}
    assert bool(kept) == bool(way.choices.get("keep_adapter"))
    assert not kept or kept >= {"adapter_config.json", "adapter_model.safetensors"}
    if way.method in ("lora", "head", "quick"):
        assert report["model"]["trainable"] < report["model"]["parameters"]


# -- how a run ends otherwise


def test_asked_to_stop_it_keeps_the_best_so_far_and_judges_it(house, model):
    spec = house.spec(Way("translation", "t5", "lora", LANGUAGES), model("t5"), epochs=50)
    house.stop = lambda: any(isinstance(event, events.Evaluated) for event in house.events)
    report, folder = house.train(spec)
    assert report["stopped"]
    assert report["epochs_done"] < 50
    assert report["best_epoch"] <= report["epochs_done"]
    assert house.events[-1].stopped
    assert flat(judged_again(house, spec, report, folder)) == pytest.approx(flat(report), abs=2e-3)


@pytest.mark.parametrize("phase", ["untouched", "training", "testing"])
@pytest.mark.parametrize(
    "way",
    [Way("translation", "t5", "full", LANGUAGES), Way("chat", "llama", "lora"), Way("text_generation", "gpt2", "full")],
    ids=lambda way: way.name,
)
def test_an_interruption_ends_it_without_a_result(way, phase, house, model):
    house.interrupted = lambda: house.in_phase(phase)
    with pytest.raises(InterruptedRunError):
        house.train(house.spec(way, model(way.family), epochs=1))
    assert house.phases()[-1] == phase
    assert phase != "training" or fold(house.events).step < fold(house.events).steps
    assert not list(house.settings.home.glob("runs/*/report.json"))
    assert not list(house.settings.home.glob("runs/*/model"))


@pytest.mark.parametrize("phase", ["training", "testing"])
@pytest.mark.parametrize("method", ["full", "quick", "few"])
def test_a_classifier_is_interrupted_too(method, phase, house, model):
    house.interrupted = lambda: house.in_phase(phase)
    with pytest.raises(InterruptedRunError):
        house.train(house.spec(Way("multi_label", "bert", method), model("bert"), epochs=1))
    assert not list(house.settings.home.glob("runs/*/report.json"))


@pytest.mark.parametrize(
    "way",
    [Way("multi_label", "bert", "few"), Way("translation", "t5", "full", LANGUAGES), Way("chat", "llama", "lora")],
    ids=lambda way: way.name,
)
def test_numbers_that_are_none_end_the_run_with_a_reason(way, house, model, tmp_path):
    broken = MODELS[way.family](tmp_path / "broken", way.family)
    weights = load_file(broken / "model.safetensors")
    name = next(n for n in weights if n.endswith(("layer.1.output.dense.weight", "wo.weight", "down_proj.weight")))
    weights[name].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="loss_not_finite"):
        house.train(house.spec(way, broken))


# -- through the command line, in a worker's process

BY_COMMAND = [
    Way("multi_label", "bert", "full"),
    Way("translation", "t5", "full", LANGUAGES),
    Way("summarization", "llama", "lora", {"instruction": "say it shortly"}),
    Way("chat", "qwen2", "lora"),
    Way("text_generation", "gpt2", "full"),
]


@pytest.fixture(scope="module", params=BY_COMMAND, ids=lambda way: way.task)
def commanded(request, tmp_path_factory, model):
    """(way, home, the file, the answer) of a training by the command line; which column is which is found out."""
    way, home = request.param, tmp_path_factory.mktemp(request.param.task)
    source = written(home, way.task, 60)
    chosen = {"method": way.method, "epochs": 2, "learning_rate": 3e-3, "max_length": 128, "max_new_tokens": 6}
    flags = [f"--set={name}={value}" for name, value in (chosen | way.choices).items()]
    status, answer, said = command(
        home, "train", "--task", way.task, "--data", source, "--model", model(way.family), *flags
    )
    assert status == 0, said
    return way, home, source, answer, said


def test_the_command_line_says_what_a_model_is_worth(commanded):
    way, _, _, answer, said = commanded
    task = find(way.task)
    assert answer["state"] == "FINISHED"
    assert answer["metrics"].keys() == {*task.metrics, "intervals"}
    assert answer["baselines"].keys() == set(task.baselines)
    assert Path(answer["model"], "config.json").is_file()
    assert "100%" not in said.splitlines()[0]
    assert "{" not in said
    spans = said.splitlines()[-4]
    assert "-" in spans, said


def test_a_model_is_judged_on_another_file_by_id_and_by_folder_alike(commanded):
    way, home, source, answer, _ = commanded
    given = ["--data", source, *(f"--column={name}={name}" for name in ROWS[way.task](0))]
    found = [command(home, "evaluate", "--model", model, *given) for model in (answer["run"][:8], answer["model"])]
    assert [status for status, *_ in found] == [0, 0], found
    assert flat(found[0][1]) == flat(found[1][1])
    assert sum(found[0][1]["metrics"][name] for name in find(way.task).metrics) > 0
    assert found[0][1]["rows"] == 60
    assert found[0][1]["task"] == way.task
    assert bool(found[0][1]["labels"]) == (not find(way.task).writes)
    assert found[0][1]["metrics"].keys() == {*find(way.task).metrics, "intervals"}


def test_a_text_and_a_file_are_answered(commanded, tmp_path):
    way, home, source, answer, _ = commanded
    first = next(iter(ROWS[way.task](0)))
    text = ROWS[way.task](4)[first]
    status, one, said = command(home, "predict", "--model", answer["run"][:8], text)
    assert status == 0, said
    assert one.keys() == ({"answer"} if find(way.task).writes else {"answer", "labels", "confidence", "probabilities"})
    out = tmp_path / "answers.csv"
    status, told, said = command(
        home, "predict", "--model", answer["model"], "--data", source, "--text", first, "--out", out
    )
    assert (status, told["answered"]) == (0, 60), said
    with out.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row[first] for row in rows] == [ROWS[way.task](i)[first] for i in range(60)]
    assert rows[4]["prediction"] == one["answer"]
    assert ("confidence" in rows[0]) == (not find(way.task).writes)


def conversation(i: int, *more: dict[str, str]) -> str:
    """As JSON; `more` goes on behind the answer."""
    one = exchange(i)
    return json.dumps(
        [{"role": "user", "content": one["prompt"]}, {"role": "assistant", "content": one["answer"]}, *more]
    )


def test_conversations_are_learned_judged_and_gone_on_with(model, tmp_path):
    """By their one column; what has no answer is not judged by, and what waits for one gets it."""
    home, source, out = tmp_path / "home", tmp_path / "talks.jsonl", tmp_path / "answers.csv"
    talks = [conversation(i) for i in range(40)]
    source.write_text("".join(json.dumps({"talk": json.loads(talk)}) + "\n" for talk in talks), encoding="utf-8")
    status, answer, said = command(
        home, "train", "--task", "chat", "--data", source, "--text", "talk", "--model", model("llama"),
        "--set=epochs=1", "--set=max_length=128", "--set=max_new_tokens=4",
    )  # fmt: skip
    assert status == 0, said
    assert answer["metrics"].keys() == {*find("chat").metrics, "intervals"}
    with source.open("a", encoding="utf-8") as file:
        waiting = conversation(1, {"role": "user", "content": "where is my box"})
        alone = json.dumps([{"role": "user", "content": "where is my box"}])
        file.writelines(json.dumps({"talk": json.loads(talk)}) + "\n" for talk in (waiting, alone))
    status, judged, said = command(home, "evaluate", "--model", answer["run"], "--data", source, "--text", "talk")
    assert (status, judged["rows"], judged["rows_left_out"]) == (0, 41, 1), said
    status, told, said = command(
        home, "predict", "--model", answer["run"], "--data", source, "--text", "talk", "--out", out
    )
    assert (status, told["rows"], told["answered"]) == (0, 42, 42), said
    _, one, _ = command(home, "predict", "--model", answer["run"], "where is my box")
    with out.open(newline="", encoding="utf-8-sig") as file:
        assert list(csv.DictReader(file))[-1]["prediction"] == one["answer"]


# -- what cannot work is said

T5 = Way("translation", "t5", "full", LANGUAGES)
REFUSED = {
    "encoder_for_writing": ("model_wrong_kind", Way("summarization", "bert", "full"), {}),
    "encoder_for_chat": ("model_wrong_kind", Way("chat", "bert", "lora"), {}),
    "encoder_decoder_for_chat": ("model_wrong_kind", Way("chat", "t5", "lora"), {}),
    "model_without_labels": ("model_wrong_kind", Way("classification", "marian", "full"), {}),
    "target_unknown": ("language_pair_unknown", Way("translation", "marian", "full"), {"target_language": "sw"}),
    "source_unknown": (
        "language_pair_unknown",
        Way("translation", "mbart", "full"),
        LANGUAGES | {"source_language": "xx"},
    ),
    "answers_too_long": ("target_longer_than_limit", Way("summarization", "bart", "full"), {"max_target_length": 8}),
    "no_room_for_answers": ("no_answer_fits", Way("chat", "llama", "lora"), {"max_length": 16}),
    "no_room_for_texts": ("instruction_too_long", Way("translation", "llama", "full"), {"instruction": "say it " * 60}),
    "head_of_a_writer": ("method_unsupported", Way("translation", "t5", "head", LANGUAGES), {}),
    "quick_writer": ("method_unsupported", Way("translation", "t5", "quick", LANGUAGES), {}),
    "few_for_chat": ("method_unsupported", Way("chat", "llama", "few"), {}),
    "rounded_without_cuda": ("quantization_needs_cuda", Way("chat", "llama", "lora"), {"quantization": "4"}),
    "rounded_without_matrices": ("quantization_needs_lora", Way("chat", "llama", "full"), {"quantization": "8"}),
    "layers_all_frozen": ("layers_all_frozen", Way("chat", "llama", "lora"), {"freeze_layers": 9}),
}


def check_sentence(error):
    """One sentence in each language, with every fact in its place."""
    for language in ("en", "zh-CN"):
        said = io.StringIO()
        Terminal(language, said).error(error)
        (line,) = said.getvalue().splitlines()
        assert line[-1] in ".。", line
        assert "{" not in line
        assert any("一" <= c <= "鿿" for c in line) == (language == "zh-CN")


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_ends_with_its_own_reason(case, house, model):
    code, way, choices = REFUSED[case]
    with pytest.raises(UserError) as told:
        house.train(house.spec(way, model(way.family), **choices))
    assert told.value.code == code
    check_sentence(told.value)


def test_weights_in_a_pickle_are_refused(house, tmp_path):
    pickled = tiny.encoder_decoder(tmp_path / "pickled", "t5")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="model_not_safetensors") as told:
        house.train(house.spec(T5, pickled))
    check_sentence(told.value)


@pytest.mark.parametrize(
    ("task", "code", "family", "files_of", "gated"),
    [
        ("translation", "model_gated", "t5", ("config.json", "model.safetensors"), "manual"),
        ("translation", "model_not_safetensors", "t5", ("config.json", "pytorch_model.bin"), False),
        ("chat", "model_wrong_kind", "bert", ("config.json", "model.safetensors"), False),
    ],
)
def test_a_model_of_the_hub_that_cannot_work_is_refused_before_it_is_fetched(
    task, code, family, files_of, gated, fake_hub, model, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", fake_hub.url)
    content = {name: (model(family) / name).read_bytes() for name in ("config.json", "model.safetensors")}
    content["pytorch_model.bin"] = content["model.safetensors"]
    fake_hub.add("org/base", {name: content[name] for name in files_of}, gated=gated)
    given = ["train", "--task", task, "--data", written(tmp_path, task, 60), "--model", "org/base"]
    status, answer, said = command(tmp_path / "home", *given)
    assert (status, answer) == (2, None)
    (line,) = said.splitlines()
    assert "org/base" in line
    assert code == {"accept": "model_gated", "safetensors": "model_not_safetensors"}.get(
        next((word for word in ("accept", "safetensors") if word in line), ""), "model_wrong_kind"
    )


def test_a_model_without_chat_template_and_padding_learns_to_chat(house, tmp_path):
    plain = tiny.language_model(tmp_path / "plain", "gpt2", chat_template=False)
    report, folder = house.train(house.spec(Way("chat", "gpt2", "full"), plain))
    assert report["use"]["chat_template"]
    assert (folder / "model" / "chat_template.jinja").is_file()


@pytest.mark.parametrize("way", [Way("multi_label", "bert", "full"), T5, Way("translation", "llama", "lora")],
                         ids=lambda way: way.name)  # fmt: skip
def test_texts_longer_than_the_model_reads_are_cut(way, house, model, monkeypatch):
    monkeypatch.setitem(ROWS, way.task, lambda i, row=ROWS[way.task]: row(i) | {next(iter(row(i))): f"rain {i} " * 80})
    choices = {"max_length": 8192, "instruction": "say it"}
    report, _ = house.train(house.spec(way, model(way.family), 30, epochs=1, **choices))
    most = {"bert": 64, "t5": 8192, "llama": 128}[way.family]
    assert report["use"]["max_length"] == most
