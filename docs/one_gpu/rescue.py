"""A copy of a run that will not reach its end, as long as what its last checkpoint has seen; prints that many images.

The command of the run with `name=NAME_r` and this length, and as much between validations, makes its bundle.
"""

import shutil
import sys
from pathlib import Path

from torch.optim import AdamW

from cxr_ldm import artifacts
from cxr_ldm.checkpoints import read_checkpoint
from cxr_ldm.stages.recipe import Recipe

old = Path(sys.argv[1])
new = old.with_name(f"{old.name}_r")
(new / "checkpoints").mkdir(parents=True)
shutil.copy(old / "checkpoints" / "last.ckpt", new / "checkpoints")
if (old / "tokenizer.json").exists():
    shutil.copy(old / "tokenizer.json", new)
record = artifacts.read_record(old)
recipe = record["settings"]["training"]
lengths = {name: recipe[name] for name in ("batch_size", "images", "validate_every", "checkpoint_every", "accumulate")}
stretch = Recipe(AdamW, **lengths).periods().images
seen = (read_checkpoint(old / "checkpoints" / "last.ckpt")["epoch"] + 1) * stretch
recipe |= {"images": seen, "validate_every": seen}
artifacts.write_record(new, record["settings"], complete=False, data=record["data"], prepared=record["prepared"])
print(seen)
