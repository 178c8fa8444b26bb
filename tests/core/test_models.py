import csv
from dataclasses import replace

import pytest

from core.data.samples import SAMPLES
from core.data.store import TableStore
from core.errors import UserError
from core.models import sizing
from core.models.catalogue import STARTERS
from core.models.loading import resolve, verify_starter
from core.models.sizing import describe, training_memory
from core.runs.store import RunStore
from core.runs.supervisor import Supervisor
from core.settings import Settings
from core.spec import DataChoice, ModelChoice, build, knobs
from core.training.recommending import recommend
from tests import tiny


@pytest.fixture
def place(tmp_path):
    settings = Settings(home=tmp_path / "home", hub_endpoint="http://127.0.0.1:9")
    return settings, RunStore(settings.home)


def test_the_starter_is_what_the_catalogue_says(place):
    settings, runs = place
    starter = STARTERS["minilm"]
    verify_starter(starter.folder())
    facts = describe(ModelChoice(), settings, runs, "local", max_length=128, batch_size=16)
    assert facts.parameters == starter.parameters
    assert (facts.layers, facts.max_positions, facts.downloaded) == (6, 512, True)
    assert facts.disk_bytes == pytest.approx(4 * facts.parameters, rel=0.01)
    assert facts.tokenizer.name == "tokenizer.json"
    assert facts.fits in ("yes", "tight", "no")


def test_a_starter_with_other_weights_is_refused(monkeypatch, tmp_path):
    folder = tiny.classifier(tmp_path)
    monkeypatch.setattr("core.models.catalogue.Starter.folder", lambda self: folder)
    with pytest.raises(UserError, match="starter_changed"):
        verify_starter(folder)


def test_a_starter_that_is_not_installed_says_so(monkeypatch):
    absent = replace(STARTERS["minilm"], package="no-such-package-here")
    with pytest.raises(UserError, match="starter_missing"):
        absent.folder()


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        (ModelChoice(name="other"), "starter_unknown"),
        (ModelChoice(source="run", name="0" * 32), "run_unknown"),
        (ModelChoice(source="directory", name="/etc"), "model_directory_missing"),
        (ModelChoice(source="hub", name="a/b", revision="0" * 40), "model_not_downloaded"),
    ],
)
def test_a_model_that_is_not_there_is_named(place, choice, code):
    with pytest.raises(UserError) as wrong:
        resolve(choice, *place, "local")
    assert wrong.value.code == code


@pytest.mark.parametrize(("free", "fits"), [(2**40, "yes"), (2**30, "no")])
def test_fits_compares_with_what_is_free(place, monkeypatch, free, fits):
    monkeypatch.setattr(sizing, "available_memory", lambda: free)
    facts = describe(ModelChoice(), *place, "local", max_length=128, batch_size=16)
    assert (facts.fits, facts.available_bytes) == (fits, free)


def test_memory_grows_with_batch_and_length_up_to_a_piece():
    base = training_memory(22_713_216, 6, 384, 32, 8)
    assert training_memory(22_713_216, 6, 384, 64, 8) > base
    assert training_memory(22_713_216, 6, 384, 32, 16) == training_memory(22_713_216, 6, 384, 64, 8)
    assert training_memory(22_713_216, 6, 384, 256, 64) == training_memory(22_713_216, 6, 384, 256, 4)
    assert training_memory(22_713_216, 6, 384, 2048, 1) > training_memory(22_713_216, 6, 384, 1024, 64)
    read_whole = training_memory(22_713_216, 6, 384, 256, 64, method="few")
    assert read_whole > training_memory(22_713_216, 6, 384, 256, 4, method="few")
    assert base > 16 * 22_713_216


@pytest.mark.parametrize("rows", [3, 40, 650, 4_000, 200_000])
@pytest.mark.parametrize("tokens", [3, 100, 5_000])
def test_advice_is_always_within_bounds(rows, tokens):
    advice = recommend(rows=rows, classes=8, tokens_p95=tokens, facts=None)
    assert advice.keys() == knobs("training").keys()
    for name, knob in knobs("training").items():
        assert knob.low <= advice[name].value <= knob.high
        assert advice[name].reason
    data = DataChoice(table="0" * 64, columns={})
    assert build(data=data, **{name: a.value for name, a in advice.items()})


def test_advice_follows_data_and_model():
    few, many = (recommend(rows=n, classes=3, tokens_p95=20, facts=None) for n in (100, 50_000))
    assert few["epochs"].value > many["epochs"].value
    assert few["batch_size"].value < many["batch_size"].value
    long = recommend(rows=100, classes=3, tokens_p95=200, facts=None)
    assert (few["max_length"].value, long["max_length"].value) == (32, 256)


@pytest.mark.real
def test_the_starter_fine_tuned_on_a_slice_beats_the_majority(tmp_path):
    """The real MiniLM on 260 rows of the sample, in a real worker, with the recommended settings for them."""
    settings = Settings(home=tmp_path / "home")
    runs, slice_file = RunStore(settings.home), tmp_path / "slice.csv"
    with SAMPLES["customer_messages"].open(newline="", encoding="utf-8") as file:
        rows = [
            r
            for r in csv.DictReader(file)
            if r["topic"] in ("delivery", "billing", "account") and len(r["message"]) < 200
        ]
    with slice_file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows[:200])
    table = TableStore(settings).add(slice_file, "local", "slice.csv")
    data = DataChoice(table=table.id, columns={"text": "message", "label": "topic"})
    advice = recommend(rows=140, classes=3, tokens_p95=60, facts=None)
    chosen = {name: a.value for name, a in advice.items()} | {"epochs": 3}
    supervisor = Supervisor(settings, runs, seconds=0.1)
    supervisor.start()
    try:
        record = supervisor.wait(supervisor.submit(build(data=data, **chosen), "local").id)
        assert record.state == "FINISHED", runs.log(record.id)
        report = runs.report(record.id)
        assert report["metrics"]["accuracy"] > report["baselines"]["majority"]["accuracy"] + 0.2
    finally:
        supervisor.close()
