"""Both languages say the same things, and every code of core has a sentence."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from core.models.catalogue import SUGGESTIONS
from core.runs.store import NEXT
from core.spec import knobs, switches
from ui.text import LANGUAGES, sentences

ROOT = Path(__file__).resolve().parents[2]
EN, ZH = sentences("en"), sentences("zh-CN")
CODED = ("errors.", "findings.", "advice.", "verdict.", "models.why.", "models.reason.", "terminal.")
# Names of scores that are the same in every language.
NAMES = {f"results.{name}.name" for name in ("bleu", "chrf", "rouge1", "rouge2", "rougeL")}


def trees(folder: str) -> Iterator[ast.AST]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"))


def strings(tree: ast.AST) -> Iterator[str]:
    """Regular expressions that match what the string constants and f-strings below a node can be."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            yield "".join(re.escape(p.value) if isinstance(p, ast.Constant) else r"[\w.-]+" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield re.escape(node.value)


def called(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in names:
                yield node


def first_words(folder: str, *names: str) -> set[str]:
    """The constant first arguments of all calls of these names."""
    return {
        call.args[0].value
        for tree in trees(folder)
        for call in called(tree, *names)
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def exists(key: str) -> bool:
    return key in EN or f"{key}.other" in EN


def test_both_languages_have_the_same_keys() -> None:
    assert set(LANGUAGES) == {"en", "zh-CN"}
    assert EN.keys() == ZH.keys()


@pytest.mark.parametrize("key", sorted(EN))
def test_same_placeholders_and_nothing_empty(key: str) -> None:
    def names(sentence: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(sentence) if name}

    assert EN[key].strip()
    assert ZH[key].strip()
    if not key.startswith("amount."):  # numbers are grouped by thousands in one language, by ten thousands in the other
        assert names(EN[key]) == names(ZH[key])


def test_chinese_is_chinese() -> None:
    same = {key for key in EN if EN[key] == ZH[key] and re.search("[A-Za-z]{4}", EN[key])}
    assert same - NAMES == set()


def test_every_error_that_core_or_page_raises_has_a_sentence() -> None:
    raised = first_words("core", "UserError") | first_words("ui", "UserError") | {"worker_failed", "out_of_memory"}
    assert len(raised) > 40
    assert {code for code in raised if not exists(f"errors.{code}")} == set()


def test_every_finding_has_a_sentence() -> None:
    codes = first_words("core/data", "Finding")
    for tree in trees("core/data"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                codes |= {
                    v.value
                    for k, v in pairs
                    if isinstance(k, ast.Constant) and k.value == "code" and isinstance(v, ast.Constant)
                }
    assert len(codes) > 5
    assert {code for code in codes if not exists(f"findings.{code}")} == set()


def test_every_literal_key_exists() -> None:
    used = {key for key in first_words("ui", "text", "Text") if "." in key}
    assert len(used) > 100
    assert {key for key in used if not exists(key)} == set()


def test_every_key_is_used() -> None:
    patterns = [re.compile(s) for tree in trees("ui") for s in strings(tree) if "\\." in s or "[" in s]
    codes = {s for folder in ("core", "ui") for tree in trees(folder) for s in strings(tree)}
    codes |= {suggestion.why for suggestion in SUGGESTIONS}
    speakers = [ROOT / "core/terminal.py", *(ROOT / "core/commands").glob("*.py")]
    said = {s for path in speakers for s in strings(ast.parse(path.read_text()))}
    said -= {s for s in said if s.startswith(("[", r"terminal\.[", r"phase\."))}  # these would match every key
    plain = {re.sub(r"\.(one|other)$", "", key) for key in EN}
    unused = set()
    for key in plain:
        section = next((s for s in CODED if key.startswith(s)), None)
        if section == "terminal.":
            used = any(
                re.fullmatch(pattern, key) or re.fullmatch(pattern, key.removeprefix(section)) for pattern in said
            )
        else:
            used = re.escape(key.removeprefix(section)) in codes if section else any(p.fullmatch(key) for p in patterns)
        unused |= set() if used else {key}
    assert unused == set()


def test_every_knob_state_and_suggestion_is_named() -> None:
    for name in knobs():
        assert exists(f"knobs.{name}.label")
        assert exists(f"knobs.{name}.help")
    for name, field in switches().items():
        assert exists(f"switches.{name}.label")
        assert exists(f"switches.{name}.help")
        for choice in field.choices if field.choices != (False, True) else ():
            assert exists(f"switches.{name}.choices.{choice}.label")
    for state in NEXT:
        assert exists(f"states.{state.lower()}")
    for suggestion in SUGGESTIONS:
        assert exists(f"models.why.{suggestion.why}")
