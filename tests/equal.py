"""Does this code make what an earlier commit made? `python tests/equal.py before=COMMIT`

Both run the same commands at a tiny size, each from its own copy of the repository: prepared images, weights, bundles,
sampled pixels and the figures of every evaluation must be equal bit for bit; time and memory are left out. What an
earlier commit made is kept in `outputs/equal` and not made again.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DATA = ["data.reader.n=500", "data.size=32", "logger=csv"]
MODEL = ["vae=tiny", "denoiser=tiny", "text_encoder.layers=1", "text_encoder.width=32"]
SHORT = [f"training.{stage}.{key}" for stage in ("vae", "ldm") for key in ("images=256", "validate_every=128")]
JUDGE = ["classifier_network=tiny", "training.classifier.images=2560", "training.classifier.validate_every=1280"]
SMALL = ["metrics.n=60", "metrics.adherence_n=2", "sampler.steps=2", "metrics.cost_steps=[1]"]
PAGE = ["metrics.kid_n=100", "metrics.own_prompts_n=12", "metrics.synthetic_n=200", "metrics.folds=2"]
PAGE += ["metrics.fitted.epochs=1", "metrics.fitted.size=32", "metrics.targets.kid=0.03"]
CURVES = ["metrics.curves.n=12", "metrics.curves.guidance=[1,3]", "metrics.curves.steps=[1,2]"]
LOOKS = ["training.ldm.copies.samples=20", "training.ldm.batch_size=32", "attributes=patient", "name=looks"]
COMMANDS = [
    ["-m", "cxr_ldm.prepare", "name=demo"],
    ["train.py", "stage=vae", *MODEL, *SHORT, *DATA],
    ["train.py", "stage=ldm", "name=blind", *MODEL, *SHORT, *DATA],
    ["evaluate.py", "stage=ldm", "name=blind", *SMALL, *DATA],
    ["train.py", "stage=classifier", *JUDGE, *DATA],
    ["train.py", "stage=ldm", "evaluate=true", *LOOKS, *MODEL, *SHORT, *SMALL, *DATA],
    ["evaluate.py", "stage=vae", "name=vae", *SMALL, *DATA],
    ["evaluate.py", "stage=classifier", "name=classifier", *DATA],
    ["evaluate.py", "stage=ldm", "name=page", "metrics=page", "bundle={ldm}", *PAGE, *SMALL, *DATA],
    ["evaluate.py", "stage=ldm", "name=full", "metrics=full", "bundle={ldm}", "split=test", *CURVES, *SMALL, *DATA],
    ["evaluate.py", "stage=ldm", "name=compared", "compare=[{ldm},{looks}]", *SMALL, *DATA],
    ["evaluate.py", "stage=vae", "name=same", "compare=[{vae},{vae}]", *SMALL, *DATA],
    ["sample.py", "prompt=Large right pleural effusion.", "n=2", "sampler=ddpm", "sampler.steps=3", "name=drawn"],
    ["-m", "cxr_ldm.export", "bundle={ldm}", "guidance=2", "out={outputs}/half"],
]
# what must be equal to the byte; of figures all but time and memory
CONTENT = ("*.safetensors", "config.json", "images.npy", "manifest.parquet", "moments.npy", "cached.npy", "*.png")
MEASURED = ("latency", "memory", "seconds", "images_per_second")


def pixels(path: Path) -> bytes:
    """Of a picture, without what it says of itself."""
    with Image.open(path) as image:
        return image.tobytes()


def content(outputs: Path) -> dict[str, str]:
    """Hash of each file that the commands made and figures of each evaluation, by path and name."""
    found = {}
    for pattern in CONTENT:
        for path in outputs.rglob(pattern):
            whole = pixels(path) if path.suffix == ".png" else path.read_bytes()
            found[str(path.relative_to(outputs))] = hashlib.sha256(whole).hexdigest()
    for path in outputs.rglob("metrics.json"):
        for name, entry in json.loads(path.read_text()).items():
            if name != "run" and not any(word in name for word in MEASURED):
                figures: dict[str, Any] = {key: entry[key] for key in ("value", "ci95", "n")}
                found[f"{path.relative_to(outputs)} {name}"] = json.dumps(figures)
    return found


def made_by(tree: Path) -> dict[str, str]:
    """Run every command in `tree`; what they make."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs"
        for arguments in COMMANDS:
            places = {"outputs": str(outputs)}
            for name, pattern in (("vae", "vae/*"), ("ldm", "ldm/blind"), ("looks", "ldm/looks")):
                for run in outputs.glob(pattern):
                    places[name] = f"{run}/bundle"
            command = [text.format(**places) if "{" in text else text for text in arguments]
            print(*command, flush=True)
            done = subprocess.run(
                [sys.executable, *command, f"paths.outputs={outputs}"],
                cwd=tree,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree)},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(f"ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return content(outputs)


def main() -> None:
    """Compare and say what differs; ends with 1 where anything does."""
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    before = subprocess.run(
        ["git", "rev-parse", options["before"]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    kept = ROOT / "outputs" / "equal" / f"{before}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            packed = subprocess.run(["git", "archive", before], cwd=ROOT, capture_output=True, check=True).stdout
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
            made = made_by(Path(folder))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(made, indent=1))
    then, now = json.loads(kept.read_text()), made_by(ROOT)
    different = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    for name in different:
        print(f"DIFFERENT {name}: {then.get(name)} before, {now.get(name)} now")
    print(f"{len(now) - len(different)} of {len(then)} files and figures are equal")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
