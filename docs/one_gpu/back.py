"""Runs as they travel back: halves of their bundles, without the VAE within a model and the frozen layers of MiniLM.

`back.py OUTPUTS TO NAME…` there; `merge.py TO` here puts back what stayed behind.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

LARGE = 5e6  # weights of a text encoder that was not trained from scratch

outputs, to = Path(sys.argv[1]), Path(sys.argv[2])
for name in sys.argv[3:]:
    run = next(folder for stage in ("vae", "ldm") if (folder := outputs / stage / name).exists())
    target = to / run.parent.name / name
    target.mkdir(parents=True)
    pictures = sorted((run / "samples").glob("step_*.png"))[-1:]
    for file in (run / "history.csv", run / "metrics.json", run / "run.json", *pictures):
        shutil.copy(file, target)
    command = [sys.executable, "-m", "cxr_ldm.export", "form=half", f"bundle={run / 'bundle'}"]
    subprocess.run([*command, f"out={target / 'bundle'}"], check=True)
    if run.parent.name == "ldm":
        (target / "bundle" / "autoencoder.safetensors").unlink()
        encoder = target / "bundle" / "text_encoder.safetensors"
        weights = load_file(encoder)
        if sum(value.numel() for value in weights.values()) > LARGE:
            save_file({key: value for key, value in weights.items() if not key.startswith("transformer.")}, encoder)
