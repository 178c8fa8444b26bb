"""The direction of imports: app -> ui -> core, and inside core from the ground floor upwards."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "peft", "datasets", "sklearn", "evaluate", "accelerate"}

# What each part of core may import from core. The ground floor may import the ground floor.
GROUND = {
    "settings",
    "errors",
    "spec",
    "events",
    "device",
    "files",
    "processes",
    "cores",
    "quiet",
    "logs",
    "redacting",
    "room",
}
ALLOWED = {
    "hub": GROUND,
    "data": GROUND | {"hub"},
    "models": GROUND | {"hub", "runs.store"},
    "evaluation": GROUND | {"data"},
    "tasks": GROUND | {"data", "models", "evaluation"},
    "training": GROUND | {"data", "models", "tasks", "evaluation", "runs.store"},
    "estimating": GROUND | {"data", "models", "tasks", "evaluation", "training", "runs.store"},
    "inference": GROUND | {"tasks", "evaluation"},
    "runs": GROUND,
    "publishing": GROUND | {"hub", "runs", "models", "tasks", "data", "evaluation"},
    "keeping": GROUND | {"hub", "data", "models", "tasks", "runs", "training", "publishing"},
    "remote": GROUND | {"runs"},
}
# Processes of their own, and the command line, stand on everything below them.
ENTRIES = {"core/runs/worker.py", "core/__main__.py", "core/terminal.py"} | {
    path.relative_to(ROOT).as_posix() for path in (ROOT / "core/commands").glob("*.py")
}


def imports(path, only_at_import=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if only_at_import else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def test_core_never_imports_the_page():
    wrong = [(p, i) for p in files("core") for i in imports(p) if i.split(".")[0] in ("gradio", "ui", "app")]
    assert wrong == []


def test_the_page_never_imports_a_heavy_library():
    wrong = [(p, i) for p in [*files("ui"), ROOT / "app.py"] for i in imports(p) if i.split(".")[0] in HEAVY]
    assert wrong == []


def test_no_arrow_inside_core_runs_up():
    wrong = []
    for path in files("core"):
        name = path.relative_to(ROOT).as_posix()
        parts = path.relative_to(ROOT / "core").with_suffix("").parts
        if name in ENTRIES:
            continue
        own = parts[0]
        allowed = (ALLOWED[own] | {own}) if len(parts) > 1 else GROUND
        for imported in imports(path):
            target = imported.removeprefix("core.")
            if imported.startswith("core.") and not any(target == a or target.startswith(a + ".") for a in allowed):
                wrong.append((name, imported))
    assert wrong == []


def test_only_settings_reads_the_environment():
    wrong = []
    for path in files("core"):
        if path.name == "settings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                wrong.append(path.name)
    assert wrong == []


def test_only_publishing_and_keeping_write_to_the_hub():
    writers = {"create_repo", "upload_folder", "upload_file", "create_commit", "delete_repo", "push_to_hub"}
    found = {
        path.relative_to(ROOT).as_posix()
        for path in [*files("core"), *files("ui")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in writers
    }
    assert found == {"core/publishing/hub.py", "core/keeping/sending.py"}
