"""Model folders made to do harm: each is one named error, soon, nothing of theirs runs, and the next request works."""

import json
import pickle
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from core.errors import UserError
from core.inference.client import Predictors
from core.models import fetching
from core.models.chat_templates import render
from core.models.loading import check_folder, resolve
from core.models.opening import open_model, open_tokenizer
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import ModelChoice
from tests import tiny
from tests.fakehub import Account

LANGUAGE, LABELS = "AutoModelForCausalLM", "AutoModelForSequenceClassification"


@pytest.fixture(autouse=True)
def soon():
    """Within seconds of this process's own time, which does not grow when the machine is busy."""
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 20


@pytest.fixture
def folder(tmp_path):
    return tiny.language_model(tmp_path / "model")


@pytest.fixture
def marker(tmp_path):
    """A file that is there only if code of the model ran."""
    file = tmp_path / "ran"
    yield file
    assert not file.exists()


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def change(file, **entries):
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def refused(folder, auto=LANGUAGE):
    with pytest.raises(UserError) as wrong:
        open_model(folder, auto)
    return wrong.value.code


# -- code


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "adapter.bin"])
def test_pickled_weights_are_not_opened(name, folder, marker):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Evil(marker)))
    assert refused(folder) == "model_not_safetensors"


def test_a_pickle_by_the_name_of_safe_weights_is_not_unpickled(folder, marker):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Evil(marker)))
    assert refused(folder) == "model_not_loadable"


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "evil.Config", LANGUAGE: "evil.Model"}}),
        ("config.json", {"model_type": "own", "auto_map": {"AutoConfig": "evil.Config"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoConfig": "evil.Config"}}}),
        ("config.json", {"attn_implementation": "someone/kernel"}),
        ("config.json", {"_attn_implementation": "someone/kernel"}),
        ("config.json", {"parts": [{"_attn_implementation": "someone/kernel"}]}),
        ("config.json", {"custom_pipelines": {"x": {"impl": "evil.Pipeline"}}}),
        ("config.json", {"quantization_config": {"quant_method": "someone/method"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
        ("tokenizer_config.json", {"auto_map": ["evil.Tokenizer", None]}),
        ("generation_config.json", {"auto_map": {"AutoModel": "evil.Model"}}),
    ],
)
def test_code_that_a_config_names_does_not_run(file, entries, folder, marker):
    source = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    for name in ("evil.py", "modeling_own.py", "tokenizer.py"):
        (folder / name).write_text(source)
    change(folder / file, **entries)
    assert refused(folder) == "model_needs_code"


def test_an_own_generate_beside_a_model_does_not_run(folder, marker):
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    )
    model, words = open_model(folder, LANGUAGE)
    model.generate(**words("the sun", return_tensors="pt"), max_new_tokens=2)


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_is_not_followed_to_its_base(whole, folder, marker, tmp_path):
    other = tiny.language_model(tmp_path / "other", "gpt2")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(other), "r": 2})
    )
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Evil(marker)))
    if not whole:
        (folder / "model.safetensors").unlink()
    assert refused(folder) == "model_is_adapter"


# -- places


@pytest.fixture
def place(tmp_path):
    settings = Settings(home=tmp_path / "home", hub_endpoint="http://127.0.0.1:9", limits=Limits(free_disk=0))
    return settings, RunStore(settings.home)


@pytest.mark.parametrize(
    "name",
    ["../../etc", "/etc", "./x", "a/b/c", "a\0b", "https://evil.example/a/b", "file:///etc/passwd", "~/x", "a/../b"],
)
def test_a_name_that_is_a_path_is_no_model_of_the_hub(name, place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    tiny.language_model(tmp_path / "x")
    with pytest.raises(UserError, match="model_id_malformed"):
        resolve(ModelChoice(source="hub", name=name), *place, "local")


def test_a_folder_here_is_not_taken_for_a_model_of_the_hub(place, monkeypatch, tmp_path):
    tiny.language_model(tmp_path / "team" / "model")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="model_not_downloaded"):
        resolve(ModelChoice(source="hub", name="team/model"), *place, "local")
    with pytest.raises(UserError, match="model_not_downloaded"):
        resolve(ModelChoice(source="hub", name="team/model", revision="../../../team/model"), *place, "local")


@pytest.mark.parametrize(
    ("source", "name", "code"),
    [
        ("starter", "../minilm", "starter_unknown"),
        ("run", "../../other", "run_unknown"),
        ("run", "/etc", "run_unknown"),
        ("directory", "/etc\0", "model_directory_missing"),
        ("directory", "/etc", "model_directory_missing"),
    ],
)
def test_no_other_name_leads_astray(source, name, code, place):
    with pytest.raises(UserError, match=code):
        resolve(ModelChoice(source=source, name=name), *place, "local")


@pytest.mark.parametrize("file", ["tokenizer.json", "vocab.txt", "model.safetensors", "config.json"])
def test_links_that_lead_out_are_not_followed(file, folder, tmp_path):
    secret = tmp_path / "secret" / file
    secret.parent.mkdir()
    if (folder / file).exists():
        shutil.move(folder / file, secret)
    else:
        secret.write_text("secret\n")
    (folder / file).symlink_to(secret)
    assert refused(folder) == "model_has_links"


def test_links_of_the_hubs_own_cache_are_followed(folder, tmp_path):
    snapshot, blobs = tmp_path / "cache" / "snapshots" / ("0" * 40), tmp_path / "cache" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in folder.iterdir():
        shutil.copy(file, blobs / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert open_model(snapshot, LANGUAGE)


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/etc/passwd", "deep/model.safetensors", 5])
def test_shards_elsewhere_are_not_read(shard, folder, tmp_path):
    tiny.language_model(tmp_path / "other")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"model.norm.weight": shard}}))
    assert refused(folder) == "model_not_loadable"


def test_a_vocabulary_elsewhere_is_not_read(tmp_path):
    folder = tiny.encoder(tmp_path / "model", "bert")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nsecret\n")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nsun\n")
    (folder / "tokenizer.json").unlink()
    change(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer", vocab_file=str(tmp_path / "vocab.txt"))
    words = open_tokenizer(folder).get_vocab()
    assert "sun" in words
    assert "secret" not in words


def test_what_one_may_read_is_not_handed_to_another(fake_hub, tmp_path):
    """A gated model that one person has here is asked for anew, and refused, for another who was not let in."""
    model = tiny.classifier(tmp_path / "model")
    fake_hub.accounts |= {"hf_in": Account("guest", accepted={"team/gated"}), "hf_out": Account("other")}
    fake_hub.add("team/gated", {f.name: f.read_bytes() for f in model.iterdir()}, gated=True)
    here = Settings(home=tmp_path / "home", hub_endpoint=fake_hub.url, limits=Limits(free_disk=0))
    got = fetching.fetch(fetching.look_up("team/gated", here, "hf_in"), here, "hf_in", "hf:in")
    choice, runs = ModelChoice(source="hub", name="team/gated"), RunStore(here.home)
    assert resolve(choice, here, runs, "hf:in") == got
    for owner, token in (("hf:out", "hf_out"), ("anonymous", None)):
        with pytest.raises(UserError, match="model_gated"):
            fetching.look_up("team/gated", here, token)
        with pytest.raises(UserError, match="model_not_downloaded"):
            resolve(choice, here, runs, owner)


# -- bombs


@pytest.mark.parametrize(
    ("kind", "family", "entries"),
    [
        ("language_model", "llama", {"vocab_size": 200_000_000}),
        ("language_model", "llama", {"intermediate_size": 10**9}),
        ("language_model", "llama", {"num_hidden_layers": 10**7}),
        ("language_model", "gpt2", {"n_layer": 10**7}),
        ("language_model", "gpt2", {"n_positions": 10**9}),
        ("encoder_decoder", "t5", {"num_decoder_layers": 10**7}),
        ("encoder_decoder", "bart", {"encoder_layers": 10**7}),
        ("encoder_decoder", "m2m_100", {"max_position_embeddings": 10**8}),
        ("encoder_decoder", "marian", {"max_position_embeddings": 10**8}),
    ],
)
def test_a_config_that_asks_for_more_than_the_file_holds_takes_no_memory(kind, family, entries, tmp_path):
    folder = getattr(tiny, kind)(tmp_path / "model", family)
    change(folder / "config.json", **entries)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(folder, LANGUAGE if kind == "language_model" else "AutoModelForSeq2SeqLM") == "model_config_mismatch"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_a_file_that_promises_more_than_it_holds_takes_no_memory(folder):
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["model.embed_tokens.weight"]["shape"] = [200_000_000, 32]
    told = json.dumps(header).encode()
    weights.write_bytes(len(told).to_bytes(8, "little") + told + content[8 + length :])
    change(folder / "config.json", vocab_size=200_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(folder) == "model_not_loadable"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_panic_while_loading_is_an_error(folder, monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(*arguments, **options):
        raise PanicException

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", panic)
    assert refused(folder) == "model_not_loadable"
    monkeypatch.undo()
    assert open_model(folder, LANGUAGE)


def test_a_tokenizer_that_panics_ends_its_own_process_alone(tmp_path):
    good, bad = tiny.classifier(tmp_path / "good"), tiny.classifier(tmp_path / "bad")
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    change(bad / "tokenizer.json", pre_tokenizer=split)
    predictors = Predictors(Settings(home=tmp_path / "home"))
    try:
        predictors.warm(bad, "classification")
        begin = time.monotonic()
        with pytest.raises(UserError) as wrong:
            predictors.predict(bad, ["a" * 40 + "!"], "classification")
        assert wrong.value.code in ("predict_ended", "predict_failed", "tokenizer_broken")
        assert time.monotonic() - begin < 30
        assert predictors.predict(good, ["the sun"], "classification")[0].answer in ("warm", "cold")
    finally:
        predictors.close()


@pytest.fixture
def words(folder):
    return open_tokenizer(folder)


ASKED = [{"role": "user", "content": "the sun"}]
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLE = "{% set ns = namespace(s='ab') %}{% for a in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}"


@pytest.mark.parametrize(
    "template",
    [
        LOOP,
        DOUBLE,
        "{{ 'a' * 10 ** 10 }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ 'a' * 1000000 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% include '/etc/passwd' %}",
        "{% if %}",
        "{{ messages[7].content.x }}",
        None,
    ],
)
def test_a_template_that_hangs_or_breaks_is_one_error(template, words, folder):
    words.chat_template = template
    with pytest.raises(UserError) as wrong:
        render(words, ASKED)
    assert (wrong.value.code, wrong.value.facts) == ("chat_template_broken", {"name": folder.name})
    words.chat_template = tiny.CHAT_TEMPLATE
    assert render(words, ASKED) == "<|im_start|>user\nthe sun</s>\n"


def test_a_template_may_say_no(words):
    words.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}yes"
    with pytest.raises(UserError, match="chat_template_refuses"):
        render(words, [{"role": "system", "content": "be kind"}])
    assert render(words, ASKED) == "yes"


def test_a_template_leaves_no_bound_behind(words):
    bounds = (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM))
    words.chat_template = "**{{ messages[0].content }}**{% if add_generation_prompt %}!{% endif %}"
    assert render(words, ASKED, add_generation_prompt=True) == "**the sun**!"
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM)) == bounds
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_harmless_folder_passes(folder):
    assert check_folder(folder)["model_type"] == "llama"
