"""The bundled sample tables."""

from pathlib import Path

SAMPLES: dict[str, Path] = {"customer_messages": Path(__file__).parent / "customer_messages.csv"}
