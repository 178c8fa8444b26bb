"""The part of a model card that says what a result learned from. Rows of the person's table are never quoted."""

from typing import Any

from core.publishing.card_markup import code, table
from core.publishing.card_use import examples
from core.tasks.base import Task

_PARTS = {"train": "rows to train on", "validation": "to choose the best state", "test": "to test"}
_FOUND = {
    "blank_text": "no text, left out",
    "blank_label": "no label, left out",
    "blank_answer": "no answer, left out",
    "placeholder_label": "a label that means nothing, left out",
    "placeholder_text": "a mark for “nothing” instead of a text, left out",
    "label_variants": "a label that differs from another in capitals or blanks only, joined with it",
    "label_typos": "a label that looked misspelled, joined with the usual one",
    "numeric_labels": "the same number written in several ways, joined",
    "rare_labels": "a label with too few texts to learn, left out or joined with others",
    "conflicting_labels": "a text that has other labels elsewhere, left out unless most agree",
    "label_leak": "a word that gave the label away, removed",
    "class_missing_in_part": "a label with too few texts to be in every part",
    "class_not_learned": "a label that no row to train on has",
    "duplicate_rows": "a repeat of an earlier row, left out",
    "near_duplicates": "nearly the same as an earlier row, left out",
    "near_rows_in_test": "nearly the same as a test row, left out of training",
    "train_rows_in_test": "a text that is in the test file too, left out of training",
    "texts_in_two_parts": "a text that was in several parts, kept in one",
    "test_rows_unusable": "a test row without a text or without what is to be learned, left out",
    "test_labels_unknown": "a test row with a label that training does not have, left out",
    "garbled_text": "letters garbled by a wrong encoding, repaired",
    "control_characters": "invisible characters, removed",
    "html": "HTML, reduced to its text",
    "other_language": "another language than the rest, left out",
    "personal_emails": "e-mail addresses, masked",
    "personal_phones": "phone numbers, masked",
    "personal_cards": "card numbers, masked",
    "personal_urls": "web addresses, masked",
    "copied_pairs": "a translation that is its source, left out",
    "wrong_language_pairs": "a pair in other languages than the rest, left out",
    "length_mismatch": "a translation far longer or shorter than usual, left out",
    "summary_too_long": "a summary no shorter than its text, left out",
    "chat_unreadable": "a cell that is no conversation, left out",
    "chat_special_tokens": "control marks of a chat model, removed",
    "chat_roles": "turns out of order, joined and put in order",
    "chat_unanswered_end": "a conversation whose end has no answer, cut there",
    "chat_no_answer": "a conversation without an answer, left out",
    "groups_uneven": "in a part of another size than planned, as rows that belong together stay together",
    "augmented_rows": "changed copies, added to the rows to train on",
}


def data(task: Task, report: dict[str, Any]) -> str:
    """The table's name and size, the rows of each label, and what was done to them."""
    known, rows = report["data"], report["rows"]
    name = f" {code(known['name'])}" if known.get("name") else ""
    parts = ", ".join(f"{rows[part]:,} {words}" for part, words in _PARTS.items() if part in rows)
    labels = [[code(label), f"{n:,}"] for label, n in known.get("label_counts", {}).items()]
    counts = f"\n\n{table(['Label', 'Rows'], labels)}" if labels else ""
    changed = [f for f in known.get("findings", []) if f.get("rows")]
    cleaned = "\n".join(f"- {f['rows']:,} {'row' if f['rows'] == 1 else 'rows'}: {_found(f['code'])}" for f in changed)
    return f"A table{name} of {examples(task)}: {parts}. The table itself is not part of this repository.{counts}" + (
        f"\n\nWhat the data check found or changed before training:\n\n{cleaned}" if cleaned else ""
    )


def _found(finding: str) -> str:
    return _FOUND.get(finding) or code(finding.replace("_", " "))
