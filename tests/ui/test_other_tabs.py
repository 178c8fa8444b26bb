"""Model, Hyperparameters, Results, Try it, Publish: values in, values out."""

import dataclasses
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core.errors import UserError
from core.runs.store import RunRecord
from core.tasks.base import find
from tests.fakehub import FakeHub
from ui import choices, downloads, knobs, readiness
from ui.page import Visit
from ui.tabs import hyperparameters, model, publish, results, tryit
from ui.tabs.data import doctor, handing_in
from ui.tabs.model import hub
from ui.text import Text

Finish = Callable[..., RunRecord]


def test_the_starter_is_chosen_and_fits(visit: Visit) -> None:
    shown = model.view(visit)
    assert shown["source"] == "starter"
    assert "22.7 million" in shown["facts"]
    assert "Fits here: yes" in shown["facts"]
    assert choices.model(visit).usable


def test_an_earlier_run_of_ones_own_can_be_gone_on_from(visit: Visit, stranger: Visit, finished: Finish) -> None:
    mine = finished()
    model.choose_run(visit, mine.id)
    assert (visit.draft.model.source, visit.draft.model.name) == ("run", mine.id)
    with pytest.raises(UserError, match="run_unknown"):
        model.choose_run(stranger, mine.id)
    model.choose_source(visit, "starter")
    assert visit.draft.model.source == "starter"


def test_looking_at_the_hub_chooses_nothing_yet(visit: Visit) -> None:
    shown = model.choose_source(visit, "hub")
    assert shown["group_hub"].visible
    assert not shown["group_starter"].visible
    assert visit.draft.model.source == "starter"


def test_a_hub_that_cannot_be_reached_is_explained(visit: Visit, tmp_path: Path) -> None:
    settings = dataclasses.replace(visit.house.settings, hub_endpoint="http://127.0.0.1:9")
    there = dataclasses.replace(visit, house=dataclasses.replace(visit.house, settings=settings))
    *_, last = hub.use(there, "org/name", "", model.view)
    assert visit.text("errors.hub_unreachable") in last["progress"]
    assert last["use"].interactive
    assert visit.draft.model.source == "starter"


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/b/c", "x\0y"])
def test_a_name_that_is_none_is_refused(visit: Visit, name: str) -> None:
    *_, last = hub.use(visit, name, "", model.view)
    assert 'role="alert"' in last["progress"]


def test_no_name_is_refused(visit: Visit) -> None:
    with pytest.raises(UserError, match="model_id_malformed"):
        list(hub.use(visit, "  ", "", model.view))


def test_moving_a_knob_is_remembered_and_moving_it_back_forgets_it(visit: Visit) -> None:
    knobs.remember(visit, "epochs", 9)
    assert visit.draft.knobs == {"epochs": 9}
    shown = hyperparameters.view(visit)
    assert "Your own value" in shown["epochs_why"]
    assert shown["reset"].interactive
    knobs.remember(visit, "epochs", float(choices.settled(visit).advice["epochs"].value))
    assert visit.draft.knobs == {}


def test_moving_a_switch_is_remembered_and_moving_it_back_forgets_it(visit: Visit) -> None:
    knobs.remember(visit, "truncation", "both")
    assert visit.draft.knobs == {"truncation": "both"}
    assert hyperparameters.view(visit)["truncation"] == "both"
    knobs.remember(visit, "truncation", "head")
    assert visit.draft.knobs == {}
    knobs.remember(visit, "instruction", "x" * 5000)
    assert len(str(visit.draft.knobs["instruction"])) == 2000


def test_reset_keeps_the_shares_held_out(visit: Visit) -> None:
    visit.change(knobs={"epochs": 9, "test_fraction": 0.2})
    shown = hyperparameters.reset(visit)
    assert visit.draft.knobs == {"test_fraction": 0.2}
    assert not shown["reset"].interactive


def test_recommendations_follow_the_data(visit: Visit) -> None:
    before = choices.settled(visit)
    handing_in.take_sample(visit)
    doctor.measure(visit)
    after = choices.settled(visit)
    assert before.advice["max_length"].reason == "usual_value"
    assert after.advice["max_length"].reason == "length_for_texts"
    shown = hyperparameters.view(visit)
    assert set(hyperparameters.NAMES) <= set(shown)
    assert "0.0002" in shown["learning_rate_readout"]


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_results_speak_in_human_units(visit: Visit, finished: Finish, language: Any) -> None:
    finished()
    shown = results.view(dataclasses.replace(visit, text=Text(language)))
    expected = {"en": "About 87 of 100 right (95 % sure: between 84 and 90)", "zh-CN": "100 条中大约答对 87 条"}
    assert expected[language] in shown["verdict"]
    assert shown["details"].visible
    assert "67 of 100" in shown["verdict"] or "67 条" in shown["verdict"]  # 10 of 15 by the strongest baseline


def test_no_model_leads_back(visit: Visit) -> None:
    for tab, module in (("results", results), ("tryit", tryit), ("publish", publish)):
        assert not module.view(visit)["details"].visible
        assert readiness.target(visit, tab) == "data"


def test_try_it_answers_with_a_real_model(visit: Visit, finished: Finish, tiny_model: Path) -> None:
    record = finished()
    shutil.rmtree(visit.house.runs.folder(record.id) / "model")
    shutil.copytree(tiny_model, visit.house.runs.folder(record.id) / "model")
    (shown,) = tryit.answer(visit, "where is my parcel")
    assert shown["answer"].count('class="bar') >= 3
    with pytest.raises(UserError, match="text_empty"):
        list(tryit.answer(visit, "   "))


def test_try_it_is_for_the_owner(visit: Visit, stranger: Visit, finished: Finish) -> None:
    mine = finished()
    stranger.change(run=mine.id)
    with pytest.raises(UserError, match="nothing_to_try"):
        list(tryit.answer(stranger, "hello"))


def test_publishing_needs_a_token_and_a_person(visit: Visit, finished: Finish, monkeypatch: pytest.MonkeyPatch) -> None:
    finished()
    monkeypatch.setattr(publish, "own_token", lambda: None)
    with pytest.raises(UserError, match="token_missing"):
        publish.push(visit, "name", True, "")
    settings = dataclasses.replace(visit.house.settings, place="space")
    house = dataclasses.replace(visit.house, settings=settings)
    finished("anon:1")
    monkeypatch.setattr(publish, "own_token", lambda: "hf_the_space_s_own")
    for owner in ("anon:1", "local"):  # not signed in, and signed in without a token of their own
        with pytest.raises(UserError, match="sign_in_first"):
            publish.push(dataclasses.replace(visit, house=house, owner=owner), "name", True)


def test_publishing_goes_to_the_hub(visit: Visit, finished: Finish, tiny_model: Path, fake_hub: FakeHub) -> None:
    record = finished()
    shutil.rmtree(visit.house.runs.folder(record.id) / "model")
    shutil.copytree(tiny_model, visit.house.runs.folder(record.id) / "model")
    settings = dataclasses.replace(visit.house.settings, hub_endpoint=fake_hub.url)
    there = dataclasses.replace(visit, house=dataclasses.replace(visit.house, settings=settings))
    shown = publish.push(there, "my-classifier", True, "hf_writer")
    assert f"{fake_hub.url}/" in shown["link"]
    assert "my-classifier" in shown["link"]


@pytest.mark.parametrize(
    ("task", "kind", "name"),
    [
        ("classification", None, "AutoModelForSequenceClassification"),
        ("translation", "seq2seq", "AutoModelForSeq2SeqLM"),
        ("translation", "decoder", "AutoModelForCausalLM"),
        ("chat", None, "AutoModelForCausalLM"),
    ],
)
def test_the_class_that_loads_the_zip_is_named(
    task: str, kind: str | None, name: str, visit: Visit, finished: Finish
) -> None:
    record = finished()
    folder = visit.house.runs.folder(record.id)
    visit.house.runs.annotate(record.id, task=task)
    written = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(written | {"use": {"kind": kind} if kind else {}}))
    shown = publish.view(visit)
    assert f"`{name}.from_pretrained(" in shown["zip_help"]
    assert f"download/{record.id}/model.zip" in shown["zip"]
    assert shown["adapter"] == ""


def with_adapter(visit: Visit, record: RunRecord, **choices: Any) -> str:
    """Puts an adapter beside the model of a finished run, as a run with LoRA leaves it."""
    folder = visit.house.runs.folder(record.id)
    (folder / "adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "secret.txt"):
        (folder / "adapter" / name).write_text("{}")
    spec = visit.house.runs.spec(record.id).model_copy(update={"method": "lora", "keep_adapter": True, **choices})
    (folder / "spec.json").write_text(spec.model_dump_json())
    return f"download/{record.id}/adapter.zip"


def test_an_adapter_that_was_kept_can_be_taken_home(visit: Visit, finished: Finish) -> None:
    record = finished()
    address = with_adapter(visit, record)
    shown = publish.view(visit)["adapter"]
    assert f'href="{address}"' in shown
    assert "PEFT" in shown
    there = TestClient(Starlette(routes=downloads.routes(visit.house)))
    answer = there.get(address)
    assert answer.status_code == 200
    assert f"{record.id[:8]}-adapter.zip" in answer.headers["content-disposition"]
    assert len(answer.content) == int(answer.headers["content-length"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert sorted(opened.namelist()) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    theirs = finished("hf:stranger")
    assert there.get(with_adapter(visit, theirs)).status_code == 404
    assert there.get(f"download/{theirs.id}/model.zip").status_code == 404
    assert there.get(f"download/{record.id}/model.zip").status_code == 200


def test_an_adapter_that_fits_no_base_is_not_offered(visit: Visit, finished: Finish) -> None:
    record = finished()
    address = with_adapter(visit, record, pooling="mean")
    shown = publish.view(visit)["adapter"]
    assert "only work inside the whole model" in shown
    assert "href" not in shown
    assert TestClient(Starlette(routes=downloads.routes(visit.house))).get(address).status_code == 404


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("customer_messages · MiniLM", "customer-messages-classifier"),
        ("客户留言 · MiniLM", "my-classifier"),
        ("", "my-classifier"),
    ],
)
def test_a_name_is_suggested(name: str, expected: str) -> None:
    assert publish.suggested_name(name, find("classification")) == expected
    assert publish.suggested_name(name, find("text_generation")).endswith("-text-generation")
