"""A real model of a few thousand numbers, built from a config: it trains in milliseconds."""

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast, set_seed

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
