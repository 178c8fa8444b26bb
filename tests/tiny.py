"""Real models of a few thousand numbers for each family, built from configs: they train in milliseconds."""

import json
import string
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast, set_seed

# Threads would wait for one another longer than a tiny model takes, and very long where other work goes on.
torch.set_num_threads(1)

WORDS = [
    "red",
    "green",
    "blue",
    "warm",
    "cold",
    "sun",
    "rain",
    "snow",
    "wind",
    "late",
    "early",
    "box",
    "lid",
    "bill",
    "paid",
    "twice",
    "broken",
    "cracked",
    "login",
    "password",
    "thanks",
    "please",
    "where",
    "my",
    "order",
    "is",
    "the",
    "a",
    "it",
    "not",
    "and",
    "to",
    "I",
    "in",
    "on",
    "was",
    "never",
    "came",
    "what",
    "does",
    "how",
    "much",
    "again",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer() -> PreTrainedTokenizerFast:
    """Words of `WORDS`, letters for the rest."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = list(dict.fromkeys(SPECIAL + [w.lower() for w in WORDS] + letters + [f"##{c}" for c in letters]))
    number = {word: i for i, word in enumerate(vocabulary)}
    inner = Tokenizer(models.WordPiece(number, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", number["[SEP]"]), ("[CLS]", number["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def config(**changes: object) -> BertConfig:
    """Two layers of 32 hidden units."""
    shape = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    return BertConfig(**(shape | changes))


def body(folder: Path) -> Path:
    """A pretrained model without a head, saved to `folder`."""
    set_seed(1)
    BertModel(config()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def classifier(folder: Path, labels: tuple[str, ...] = ("cold", "warm")) -> Path:
    """A classifier with these labels, saved to `folder`."""
    set_seed(1)
    numbered = dict(enumerate(labels))
    BertForSequenceClassification(
        config(num_labels=len(labels), id2label=numbered, label2id={v: k for k, v in numbered.items()})
    ).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def rows(count: int = 60) -> list[tuple[str, str]]:
    """(text, label) pairs that a tiny model can learn: words of warmth against words of cold."""
    warm, cold = ("sun", "warm", "red"), ("snow", "cold", "wind", "rain")
    found = []
    for i in range(count):
        words = (warm, cold)[i % 2]
        extra = WORDS[(i * 7) % len(WORDS)] + " " + WORDS[(i * 5 + i // 7) % len(WORDS)]
        found.append((f"{words[i % len(words)]} {extra} {i}", ("warm", "cold")[i % 2]))
    return found


# -- families

ENCODERS = ("bert", "distilbert", "roberta", "modernbert", "electra")
LANGUAGE_MODELS = ("llama", "qwen2", "gpt2")
ENCODER_DECODERS = ("t5", "bart", "marian", "mbart", "m2m_100", "nllb", "pegasus")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LANGUAGES = ("en", "de", "fr", "zh")


def encoder(folder: Path, family: str = "bert", **changes: object) -> Path:
    """A body without a head of one of `ENCODERS`, 62 to 64 positions, saved to `folder`.

    `changes`: of the settings of its family.
    """
    set_seed(1)
    words = _roberta_tokenizer() if family in ("roberta", "modernbert") else tokenizer()
    size = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "max_position_embeddings": 64}
    usual = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if family == "distilbert":
        usual = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    if family == "electra":
        usual["embedding_size"] = 16
    if family == "modernbert":
        size |= {name: words.convert_tokens_to_ids(mark) for name, mark in _marks("cls", "sep", "bos", "eos").items()}
    name = {"bert": "Bert", "distilbert": "DistilBert", "modernbert": "ModernBert"}.get(family, family.capitalize())
    shape = getattr(transformers, f"{name}Config")(**size, **(usual | changes))
    return _save(folder, transformers.AutoModel.from_config(shape), words)


def language_model(folder: Path, family: str = "llama", chat_template: bool = True) -> Path:
    """A decoder-only model of one of `LANGUAGE_MODELS`, 128 positions, saved to `folder`.

    As the real ones, llama and gpt2 have no padding token; a turn of the chat template ends with the end token.
    """
    set_seed(1)
    words = _language_tokenizer(family)
    words.chat_template = CHAT_TEMPLATE if chat_template else None
    ids = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    if family == "gpt2":
        shape: Any = transformers.GPT2Config(
            vocab_size=len(words), n_embd=32, n_layer=2, n_head=2, n_positions=128, **ids
        )
    else:
        shape = getattr(transformers, {"llama": "LlamaConfig", "qwen2": "Qwen2Config"}[family])(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            **ids,
        )
    return _save(folder, transformers.AutoModelForCausalLM.from_config(shape), words)


def encoder_decoder(folder: Path, family: str = "t5") -> Path:
    """A model of one of `ENCODER_DECODERS`, 64 positions (t5: any), saved to `folder`.

    The tokenizers of marian and m2m_100 need SentencePiece; theirs here are word tokenizers with the same language
    tokens (`>>de<<`, `__de__`). The others are the families' own classes (`deu_Latn`, `de_DE`).
    """
    set_seed(1)
    words = _pair_tokenizer(family)
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    if family == "t5":
        shape: Any = transformers.T5Config(
            d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=words.pad_token_id, **ids
        )
        return _save(folder, transformers.AutoModelForSeq2SeqLM.from_config(shape), words)
    starts_with_pad = family in ("marian", "pegasus")
    start = words.pad_token_id if starts_with_pad else words.eos_token_id
    names = {"bart": "Bart", "marian": "Marian", "mbart": "MBart", "pegasus": "Pegasus"}
    shape = getattr(transformers, f"{names.get(family, 'M2M100')}Config")(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        bos_token_id=words.bos_token_id,
        decoder_start_token_id=start,
        forced_eos_token_id=words.eos_token_id,
        **ids,
    )
    return _save(folder, transformers.AutoModelForSeq2SeqLM.from_config(shape), words)


def _save(folder: Path, model: Any, words: Any) -> Path:
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _marks(*names: str) -> dict[str, str]:
    found = {"cls": "<s>", "bos": "<s>", "sep": "</s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    return {f"{name}_token_id": found[name] for name in names}


@cache
def _byte_pairs(special: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges over bytes, learned from `WORDS`: any text can be told and comes back as it was."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    learned = json.loads(inner.to_str())["model"]
    return learned["vocab"], [tuple(pair) for pair in learned["merges"]]


def _roberta_tokenizer() -> Any:
    vocabulary, merges = _byte_pairs(("<s>", "<pad>", "</s>", "<unk>", "<mask>"))
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=62)


def _language_tokenizer(family: str) -> Any:
    marks = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    if family == "qwen2":
        vocabulary, merges = _byte_pairs(marks)
        return transformers.Qwen2Tokenizer(
            vocab=vocabulary, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=128
        )
    if family == "gpt2":
        vocabulary, merges = _byte_pairs(marks)
        return transformers.GPT2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=128)
    vocabulary, merges = _byte_pairs(("<unk>", "<s>", "</s>", *marks[1:]))
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", vocabulary["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    )


def _pieces(*special: str) -> list[tuple[str, float]]:
    """A vocabulary of SentencePiece's kind: pieces with scores, a word's start marked."""
    words = [(f"\u2581{word}", -1.0) for word in WORDS]
    letters = [(letter, -6.0) for letter in string.ascii_letters + string.digits + ".,!?'-:"]
    return [(mark, 0.0) for mark in special] + [("\u2581", -3.0)] + words + letters


def _pair_tokenizer(family: str) -> Any:
    if family == "t5":
        return transformers.T5Tokenizer(vocab=_pieces("<pad>", "</s>", "<unk>"), extra_ids=2, model_max_length=512)
    if family == "bart":
        return _roberta_tokenizer()
    if family == "pegasus":
        vocabulary = _pieces("<pad>", "</s>", "<unk>", "<mask_2>")
        return transformers.PegasusTokenizer(vocab=vocabulary, offset=4, model_max_length=64)
    if family == "mbart":
        codes = transformers.models.mbart.tokenization_mbart.FAIRSEQ_LANGUAGE_CODES
        vocabulary = [*_pieces("<s>", "<pad>", "</s>", "<unk>"), *((code, 0.0) for code in codes), ("<mask>", 0.0)]
        return transformers.MBartTokenizer(vocab=vocabulary, src_lang="en_XX", tgt_lang="de_DE", model_max_length=64)
    if family == "nllb":
        pieces = [piece for piece, _ in _pieces("<s>", "<pad>", "</s>", "<unk>")]
        numbered = {piece: number for number, piece in enumerate(pieces)}
        return transformers.NllbTokenizer(vocab=numbered, src_lang="eng_Latn", model_max_length=64)
    marks = [f">>{code}<<" if family == "marian" else f"__{code}__" for code in _LANGUAGES]
    return _word_pieces(marks)


def _word_pieces(marks: list[str]) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.Unigram(_pieces("<s>", "<pad>", "</s>", "<unk>"), unk_id=3))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing("$A </s>", "$A $B </s>", [("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=marks,
        model_max_length=64,
    )


def packed(file: Path) -> Path:
    """A llama as one GGUF file of float32 numbers; the folder `plain` beside it holds the same."""
    import gguf  # only where it is needed: it takes a while

    folder = language_model(file.parent / "plain")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    shape, (vocabulary, merges) = model.config, _byte_pairs(("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"))
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(vocabulary, key=lambda word: vocabulary[word]))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_token_types([3] * 5 + [1] * (len(vocabulary) - 5))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    heads = {"attn_q": shape.num_attention_heads, "attn_k": shape.num_key_value_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, shape.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name != "lm_head.weight":  # tied to the embeddings
            there = names.get_name(name, (".weight",))
            values = weight.numpy()
            if (kind := there.split(".")[-2]) in heads:  # the halves of each head are interleaved
                values = values.reshape(heads[kind], 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            writer.add_tensor(there, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
