"""Deploy to a Hugging Face Space: `python -m spaces_config.deploy --repo user/name [--private] [--dry-run]`.

Sends what the app needs at run time, as git tracks it, with `spaces_config/README.md` as the card, in one commit. Uses
the token of `hf auth login`, or asks for one; it is not stored.
"""

# ruff: noqa: T201 (a tool for the terminal)
import argparse
import getpass
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ("app.py", "core", "ui", "requirements.txt", "LICENSE")
CARD = "spaces_config/README.md"
TAG = "tuning-fork"


def runtime_files(root: Path = ROOT) -> dict[str, Path]:
    """Path on the Space -> file here: the tracked files among `RUNTIME`, and the card.

    Raises:
        SystemExit: this is no git checkout, or something that the app needs is not there.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *RUNTIME],  # noqa: S607
        cwd=root,
        capture_output=True,
        check=False,
        text=True,
    )
    if listed.returncode:
        raise SystemExit("This folder is not a git checkout; deploy from a clone of the repository.")
    found = {name: root / name for name in listed.stdout.split("\0") if name}
    found["README.md"] = root / CARD
    absent = [name for name, file in found.items() if not file.is_file()]
    absent += [part for part in RUNTIME if not any(name == part or name.startswith(f"{part}/") for name in found)]
    if absent:
        raise SystemExit(f"Not in this checkout: {', '.join(sorted(absent))}")
    return dict(sorted(found.items()))


def deploy(api: "HfApi", repo: str, sources: dict[str, Path], *, private: bool, hardware: str | None) -> str:
    """Make the Space if it is not there, and bring it to exactly these files; answers its address.

    Files that an earlier deployment sent and this one does not are deleted.

    Raises:
        SystemExit: another app lives there.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    url = api.create_repo(repo, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
    info = api.space_info(url.repo_id)
    present = [s.rfilename for s in info.siblings or []]
    if "app.py" in present and TAG not in (info.tags or []):
        raise SystemExit(f"{url.repo_id} holds another app; choose another name.")
    mine = [name for name in present if any(name == part or name.startswith(f"{part}/") for part in RUNTIME)]
    gone = [CommitOperationDelete(name) for name in mine if name not in sources]
    added = [CommitOperationAdd(name, str(file)) for name, file in sources.items()]
    api.create_commit(
        url.repo_id,
        [*added, *gone],
        repo_type="space",
        commit_message="Deploy Tuning Fork",
        parent_commit=info.sha,
    )
    if hardware:
        api.request_space_hardware(url.repo_id, hardware)
    return str(url)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m spaces_config.deploy", description="Deploy to a Space.")
    parser.add_argument("--repo", required=True, help="user/name of the Space")
    parser.add_argument("--private", action="store_true", help="make it private, where it is new")
    parser.add_argument("--hardware", help="ask for this hardware, for example cpu-upgrade (it may cost money)")
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent, and send nothing")
    options = parser.parse_args(arguments)
    sources = runtime_files()
    if options.dry_run:
        print(*sources, sep="\n")
        total = sum(file.stat().st_size for file in sources.values())
        print(f"{len(sources)} files, {total / 2**20:.1f} MB, to the Space {options.repo}; nothing was sent.")
        return 0

    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    token = get_token() or getpass.getpass("Access token with the right to write (huggingface.co/settings/tokens): ")
    try:
        url = deploy(HfApi(token=token), options.repo, sources, private=options.private, hardware=options.hardware)
    except HfHubHTTPError as error:
        print(f"The Hub refused: {error.server_message or error}", file=sys.stderr)
        return 1
    print(f"Deployed: {url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
