"""What comes with the package: the config tree, models of radiographs and of phantoms, an upscaler, and TAESD."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# inside the package where it was installed, beside it in a clone
CONF = next(place for place in (PACKAGE / "conf", PACKAGE.parent / "conf") if place.is_dir())
CHEST = Path(__file__).parent / "chest256"
FAST = Path(__file__).parent / "chest256_fast"
DEMO = Path(__file__).parent / "demo"
CARDS = Path(__file__).parent / "cards"  # beside the models, whose SHA256SUMS list all that they consist of
DRAW_ONNX = Path(__file__).parent / "draw_onnx.py"  # goes with a model that is exported as graphs
DRAW_DIFFUSERS = Path(__file__).parent / "draw_diffusers.py"  # likewise, as folders of diffusers
# by the name that `bundle=` takes; the first is what draws where nobody trained anything
MODELS = {"chest256": CHEST, "chest256_fast": FAST, "phantom": DEMO}
FIRST = Path(__file__).parent / "first"  # a folder for each: what it drew of a few prompts, by sample.py
ALIASES = {"demo": "phantom"}
# and what `vae_bundle=` takes besides
VAES = {"taesd": Path(__file__).parent / "taesd"}
# and what `upscale=` takes
UPSCALERS = {"chest_x4": Path(__file__).parent / "chest_x4"}
KNOWS = {
    "chest256": "radiographs of 256 pixels; trained on labels, view, age and sex, and on no sides",
    "chest256_fast": "a student of chest256, which draws in four steps; the same words",
    "phantom": "generated phantoms of 64 pixels, no real chest",
    "chest_x4": "enlarges radiographs four times; trained on NIH adults",
    "taesd": "a public autoencoder of photographs",
}
