"""The bundled sample tables, one for each task, all written for this project."""

from pathlib import Path

_FOLDER = Path(__file__).parent

SAMPLES: dict[str, Path] = {
    "customer_messages": _FOLDER / "customer_messages.csv",
    "kitchen_reviews": _FOLDER / "kitchen_reviews.csv",
    "appliance_phrases": _FOLDER / "appliance_phrases.tsv",
    "support_notes": _FOLDER / "support_notes.jsonl",
    "kitchen_help": _FOLDER / "kitchen_help.jsonl",
}

# The task that each sample is an example of, in the order in which they are offered.
TASKS: dict[str, str] = {
    "customer_messages": "classification",
    "kitchen_reviews": "multi_label",
    "appliance_phrases": "translation",
    "support_notes": "summarization",
    "kitchen_help": "chat",
}
