"""What comes with the package: a small model trained on generated phantoms alone, made by `make demo-model`."""

from pathlib import Path

DEMO = Path(__file__).parent / "demo"
