"""What a saved model answers, loaded as anybody would load it."""

from pathlib import Path


def logits(folder: str | Path, texts: list[str]) -> list[list[float]]:
    """What the model in a folder answers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        answers = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    return [[float(x) for x in row] for row in answers]
