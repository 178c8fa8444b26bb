"""Which models are suggested for which task, data and machine, and why."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from core.models.catalogue import STARTERS, SUGGESTIONS, Suggestion
from core.models.suggesting import Ranked, suggest
from core.processes import ROOT

GIBIBYTE = 2**30


@dataclass(frozen=True)
class Job:
    """What is asked of a task."""

    id: str
    kinds: tuple[str, ...]
    methods: tuple[str, ...]
    starters: tuple[str, ...]
    writes: bool = True


SORTING = Job("classification", ("encoder", "decoder", "seq2seq"), ("full", "lora", "head"), ("minilm",), writes=False)
TRANSLATION = Job("translation", ("seq2seq", "decoder"), ("full", "lora"), ("smollm2",))
SUMMARIES = Job("summarization", ("seq2seq", "decoder"), ("full", "lora"), ("smollm2",))
CHAT = Job("chat", ("decoder",), ("lora", "full"), ("smollm2",))
WRITING = Job("text_generation", ("decoder",), ("lora", "full"), ("smollm2",))
JOBS = (SORTING, TRANSLATION, SUMMARIES, CHAT, WRITING)


def ranked(job: Job, *languages: str, rows: int = 1000, memory: float = 16, **facts: object) -> list[Ranked]:
    return suggest(job, languages=languages, rows=rows, memory=int(memory * GIBIBYTE), **facts)


def names(found: list[Ranked]) -> list[str]:
    return [one.name for one in found]


@pytest.mark.parametrize(
    ("job", "languages", "rows", "first"),
    [
        (SORTING, ("en",), 60, "minilm"),
        (SORTING, ("en",), 1000, "google-bert/bert-base-uncased"),
        (SORTING, ("zh",), 1000, "google-bert/bert-base-chinese"),
        (SORTING, ("zh",), 60, "BAAI/bge-small-zh-v1.5"),
        (SORTING, ("de",), 1000, "dbmdz/bert-base-german-cased"),
        (SORTING, ("fr",), 1000, "almanach/camembert-base"),
        (SORTING, ("hi",), 1000, "l3cube-pune/hindi-bert-v2"),
        (SORTING, ("ja",), 60, "sbintuitions/modernbert-ja-30m"),
        (SORTING, ("fi",), 1000, "intfloat/multilingual-e5-small"),
        (SORTING, ("de", "en"), 1000, "intfloat/multilingual-e5-small"),
        (SORTING, (), 1000, "intfloat/multilingual-e5-small"),
        (TRANSLATION, ("en", "fr"), 1000, "Helsinki-NLP/opus-mt-tc-big-en-fr"),
        (TRANSLATION, ("fr", "en"), 1000, "Helsinki-NLP/opus-mt-tc-big-fr-en"),
        (TRANSLATION, ("zh", "en"), 1000, "Helsinki-NLP/opus-mt-tc-bible-big-zhx-en"),
        (TRANSLATION, ("de", "zh"), 1000, "facebook/mbart-large-50-many-to-many-mmt"),
        (SUMMARIES, ("ja",), 1000, "Qwen/Qwen2.5-0.5B-Instruct"),
        (CHAT, ("en",), 60, "smollm2"),
        (CHAT, ("zh",), 1000, "Qwen/Qwen2.5-0.5B-Instruct"),
        (WRITING, ("en",), 60, "smollm2"),
    ],
)
def test_the_first_suggestion_suits_the_data(job: Job, languages: tuple[str, ...], rows: int, first: str) -> None:
    assert names(ranked(job, *languages, rows=rows))[0] == first


def test_only_models_of_the_task_that_know_the_languages_are_suggested() -> None:
    for job in JOBS:
        for languages in ((), ("en",), ("zh",), ("en", "de"), ("xx",)):
            for found in ranked(job, *languages):
                model = found.model
                assert model.kind in job.kinds
                assert set(languages) <= set(model.languages) or model.languages == ("multilingual",)
                if isinstance(model, Suggestion):
                    assert job.id in model.tasks
                    assert model.pair in (None, languages)


def test_small_data_gets_smaller_models() -> None:
    for job in (SORTING, SUMMARIES, CHAT):
        sizes = [
            sum(found.model.parameters for found in ranked(job, "en", rows=rows, memory=400)[:3])
            for rows in (50, 1_000, 100_000)
        ]
        assert sizes == sorted(set(sizes))
    few = {found.name: found.reasons for found in ranked(SORTING, "en", rows=50)}
    assert "small_for_few_rows" in few["minilm"]
    assert "small_for_few_rows" not in few["FacebookAI/roberta-large"]
    assert "small_for_few_rows" not in ranked(SORTING, "en", rows=5000)[0].reasons


def test_what_does_not_fit_comes_last_and_says_so() -> None:
    for gibibytes in (0.5, 2, 4, 8, 16):
        found = ranked(CHAT, "en", memory=gibibytes)
        fits = [one.fits for one in found]
        assert fits == sorted(fits, key=lambda said: said == "no")
        for one in found:
            expected = "no" if one.memory >= gibibytes * GIBIBYTE else "tight"
            expected = "yes" if one.memory < 0.7 * gibibytes * GIBIBYTE else expected
            assert one.fits == expected
            assert ("too_large_here" in one.reasons) == (one.fits == "no")
            assert ("tight_here" in one.reasons) == (one.fits == "tight")
    nothing_fits = ranked(CHAT, "en", memory=0.5)
    assert nothing_fits[0].memory == min(one.memory for one in nothing_fits)
    assert ranked(CHAT, "en", memory=0)[0].fits == "no"


def test_a_model_too_large_as_a_whole_gets_matrices() -> None:
    roomy, narrow = ({one.name: one for one in ranked(SORTING, "en", memory=gibibytes)} for gibibytes in (32, 4))
    base = "FacebookAI/roberta-base"
    assert (roomy[base].method, narrow[base].method) == ("full", "lora")
    assert narrow[base].memory < roomy[base].memory
    assert {one.method for one in ranked(CHAT, "en", memory=400)} == {"lora"}
    only_whole = Job("classification", ("encoder",), ("full",), (), writes=False)
    assert {one.method for one in ranked(only_whole, "en", memory=4)} == {"full"}


def test_minutes_are_told_where_the_speed_was_measured() -> None:
    assert {one.minutes for one in ranked(SORTING, "en")} == {None}
    measured = {one.name: one.minutes for one in ranked(SORTING, "en", rows=6000, rows_per_second=100.0)}
    assert measured["minilm"] == pytest.approx(1.0)
    assert measured["distilbert/distilbert-base-uncased"] == pytest.approx(4.0)  # as many layers, twice as wide
    assert measured["FacebookAI/roberta-base"] == pytest.approx(8.0)


def test_a_slow_machine_gets_faster_models() -> None:
    fast, slow = (ranked(SORTING, "en", rows=20_000, rows_per_second=speed) for speed in (5000.0, 20.0))
    assert slow[0].name == "minilm"
    assert fast[0].model.parameters > 5 * slow[0].model.parameters
    assert "quick_here" in fast[0].reasons
    assert "slow_here" in slow[-1].reasons


def test_terms_and_other_domains_count_against_a_model() -> None:
    found = names(ranked(CHAT, "en", rows=300))
    assert found.index("google/gemma-3-270m-it") > found.index("HuggingFaceTB/SmolLM2-360M-Instruct")
    gated = {one.model.hub_id for one in ranked(CHAT, "en") if "terms" in one.reasons}
    assert gated == {s.hub_id for s in SUGGESTIONS if s.gated and "chat" in s.tasks}
    plain, code = (ranked(WRITING, "en", memory=32, domain=domain) for domain in ("", "code"))
    coder = "Qwen/Qwen2.5-Coder-0.5B"
    assert names(code)[0] == coder
    assert names(plain).index(coder) > 5
    assert "domain_fits" in code[0].reasons
    assert "other_domain" in plain[names(plain).index(coder)].reasons


def test_without_the_hub_what_is_here_comes_first() -> None:
    for job in JOBS:
        for languages in ((), ("en",), ("zh",), ("de", "zh")):
            found = ranked(job, *languages, reachable=False)
            assert names(found)[: len(job.starters)] == list(job.starters)
            assert all("comes_along" in one.reasons for one in found if one.source == "starter")
            assert all("needs_network" in one.reasons for one in found if one.source == "hub")
    assert "other_language" in ranked(CHAT, "zh", reachable=False)[0].reasons
    assert "smollm2" not in names(ranked(CHAT, "zh"))
    assert ranked(CHAT, "en", reachable=False)[0].model == STARTERS["smollm2"]


def test_every_suggestion_says_why() -> None:
    for job in JOBS:
        for found in ranked(job, "en", rows_per_second=30.0):
            assert found.why
            assert found.reasons
            assert len(set(found.reasons)) == len(found.reasons)


def test_suggesting_imports_no_heavy_library() -> None:
    program = "import sys, core.models.suggesting; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
