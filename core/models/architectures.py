"""Families of encoders whose sequence classification is built into transformers: known here so that the page need not
import the library to say no. A test compares the list with the library's own."""

SEQUENCE_CLASSIFICATION = frozenset(
    {
        "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert",
        "electra", "ernie", "fnet", "ibert", "longformer", "megatron-bert", "mobilebert", "modernbert", "mpnet",
        "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roformer", "squeezebert", "xlm-roberta",
        "xlm-roberta-xl",
    }
)  # fmt: skip
