"""What is deployed to a Space: the files that the app needs, no others, and a card that the Hub understands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi, SpaceCard

from spaces_config import deploy
from tests.fakehub import FakeHub


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with tracked files, and others that must stay."""
    for name in ("app.py", "core/a.py", "core/data/rows.csv", "ui/b.py", "requirements.txt", "LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "spaces_config").mkdir()
    (tmp_path / deploy.CARD).write_bytes((deploy.ROOT / deploy.CARD).read_bytes())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    (tmp_path / "core/secret.txt").write_text("not tracked")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


RUNTIME_FILES = ["LICENSE", "README.md", "app.py", "core/a.py", "core/data/rows.csv", "requirements.txt", "ui/b.py"]


def test_what_is_tracked_and_needed_is_sent(checkout: Path) -> None:
    assert list(deploy.runtime_files(checkout)) == RUNTIME_FILES


def test_what_the_app_needs_must_be_there(checkout: Path) -> None:
    (checkout / "core/a.py").unlink()
    with pytest.raises(SystemExit, match=r"core/a\.py"):
        deploy.runtime_files(checkout)
    git(checkout, "rm", "-q", "-r", "--cached", "ui")
    with pytest.raises(SystemExit, match="ui"):
        deploy.runtime_files(checkout)


def test_no_checkout_no_deployment(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="git checkout"):
        deploy.runtime_files(tmp_path)


def test_the_space_gets_exactly_these_files(checkout: Path, fake_hub: FakeHub) -> None:
    api = HfApi(endpoint=fake_hub.url, token="hf_writer")
    sources = deploy.runtime_files(checkout)
    url = deploy.deploy(api, "tester/fork", sources, private=True, hardware="cpu-upgrade")
    space = fake_hub.repo("tester/fork", "space")
    assert url == f"{fake_hub.url}/spaces/tester/fork"
    assert (space.private, space.made_with["sdk"], space.hardware) == (True, "gradio", "cpu-upgrade")
    assert sorted(space.files) == [".gitattributes", *RUNTIME_FILES]
    assert space.files["core/a.py"] == b"core/a.py"
    assert fake_hub.unhandled == []


def test_deploying_again_follows_the_checkout(checkout: Path, fake_hub: FakeHub) -> None:
    api = HfApi(endpoint=fake_hub.url, token="hf_writer")
    deploy.deploy(api, "fork", deploy.runtime_files(checkout), private=False, hardware=None)
    git(checkout, "rm", "-q", "-f", "core/a.py")
    (checkout / "app.py").write_text("new")
    deploy.deploy(api, "fork", deploy.runtime_files(checkout), private=False, hardware=None)
    space = fake_hub.repo("tester/fork", "space")
    assert "core/a.py" not in space.files
    assert space.files["app.py"] == b"new"


def test_another_app_is_not_replaced(checkout: Path, fake_hub: FakeHub) -> None:
    fake_hub.add("tester/other", {"app.py": b"theirs"}, kind="space")
    api = HfApi(endpoint=fake_hub.url, token="hf_writer")
    with pytest.raises(SystemExit, match="another app"):
        deploy.deploy(api, "tester/other", deploy.runtime_files(checkout), private=False, hardware=None)
    assert fake_hub.repo("tester/other", "space").files["app.py"] == b"theirs"


def command(hub: FakeHub, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_writer"}
    return subprocess.run(
        [sys.executable, "-m", "spaces_config.deploy", *arguments],
        cwd=deploy.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_dry_run_asks_nobody(fake_hub: FakeHub, tmp_path: Path) -> None:
    said = command(fake_hub, tmp_path, "--repo", "tester/fork", "--dry-run")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert {"app.py", "README.md", "core/settings.py"} <= set(lines)
    assert not any(line.startswith(("tests/", "benchmarks/", "spaces_config/")) for line in lines)
    assert fake_hub.requests == []


def test_a_refusal_is_one_line(fake_hub: FakeHub, tmp_path: Path) -> None:
    said = command(fake_hub, tmp_path, "--repo", "strangers/fork")
    assert said.returncode == 1
    assert "The Hub refused" in said.stderr
    assert "Traceback" not in said.stderr


def test_the_card_agrees_with_what_is_installed() -> None:
    told = SpaceCard.load(deploy.ROOT / deploy.CARD).data.to_dict()
    pinned = (deploy.ROOT / "requirements.txt").read_text()
    assert f"gradio[oauth]=={told['sdk_version']}\n" in pinned
    assert (told["sdk"], told["app_file"], told["license"]) == ("gradio", "app.py", "apache-2.0")
    assert told["hf_oauth"] is True
    assert told["hf_oauth_scopes"] == ["contribute-repos"]
    assert len(told["short_description"]) <= 60
    assert deploy.TAG in told["tags"]
    project = (deploy.ROOT / "pyproject.toml").read_text()
    assert f'requires-python = ">={told["python_version"]}"' in project
    assert yaml.safe_load((deploy.ROOT / deploy.CARD).read_text(encoding="utf-8").split("---\n")[1]) == told
