"""A data set of the Hub on the page: looked up, chosen from lists, read like an upload."""

from pathlib import Path

import pytest

from core.settings import Limits, Settings
from tests.fakehub import FakeHub
from ui.overview import overview
from ui.page import Visit, open_house
from ui.tabs.data import handing_in, hub
from ui.text import Text

ROWS = "text,label\n" + "".join(f"where is parcel {i},delivery\nplease refund {i},refund\n" for i in range(12))
CARD = (
    "---\nlicense: cc-by-4.0\nconfigs:\n- config_name: small\n  data_files:\n  - split: train\n    path: small/*.csv\n"
)
CARD += "- config_name: other\n  data_files:\n  - split: test\n    path: other/rows.csv\n---\n"


@pytest.fixture
def visit(fake_hub: FakeHub, tmp_path: Path) -> Visit:
    files = {
        "README.md": CARD,
        "small/a.csv": ROWS,
        "small/b.csv": ROWS.replace("parcel", "box"),
        "other/rows.csv": ROWS,
    }
    fake_hub.add("team/rows", {name: text.encode() for name, text in files.items()}, "dataset")
    house = open_house(Settings(home=tmp_path, hub_endpoint=fake_hub.url, limits=Limits(free_disk=0)))
    return Visit(house, Text("en"), "local")


def test_variants_and_parts_are_offered_and_the_chosen_one_is_read(visit: Visit) -> None:
    shown = hub.look_up(visit, "team/rows")
    assert "cc-by-4.0" in shown["set_facts"]
    assert [value for _, value in shown["set_config"].choices] == ["small", "other"]
    assert [value for _, value in shown["set_split"].choices] == ["train"]
    assert [v for _, v in hub.choose_config(visit, "team/rows", "other")["set_split"].choices] == ["test"]
    hub.use(visit, "team/rows", "small", "train")
    table = handing_in.table_of(visit, visit.draft.table)
    assert table
    assert table.rows == 48  # two files joined
    assert overview(visit).counts == {"delivery": 24, "refund": 24}
    assert not [path for path in (visit.house.settings.home / "hub_sets").rglob("*") if path.suffix == ".csv"]


@pytest.mark.parametrize("name", ["", "nobody/nothing", "../../etc", "/etc/passwd", "http://127.0.0.1/x"])
def test_a_wrong_name_is_explained_and_nothing_is_offered(visit: Visit, name: str) -> None:
    shown = hub.look_up(visit, name)
    assert "alert" in shown["set_facts"].value
    assert not shown["set_use"].visible


def test_a_part_that_is_not_there_is_explained(visit: Visit) -> None:
    shown = hub.use(visit, "team/rows", "small", "validation")
    assert "alert" in shown["problem"].value
    assert visit.draft.table is None
