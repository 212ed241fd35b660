"""Draw a synthetic chest radiograph from this folder: python draw.py "Right pleural effusion." [SEED [STEPS]]"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

HERE = Path(__file__).parent
CONFIG = json.loads((HERE / "config.json").read_text(encoding="utf-8"))


@torch.no_grad()
def draw(prompt, noise, steps=CONFIG["steps"], scale=CONFIG["guidance"]):
    """An image `[1,1,H,W]` in [-1, 1] from standard normal `noise` `[1,C,h,w]`."""
    vae, unet = AutoencoderKL.from_pretrained(HERE / "vae"), UNet2DConditionModel.from_pretrained(HERE / "unet")
    encoder, tokenizer = (
        AutoModel.from_pretrained(HERE / "text_encoder"),
        AutoTokenizer.from_pretrained(HERE / "tokenizer"),
    )
    width, scheduler = encoder.config.hidden_size, FlowMatchEulerDiscreteScheduler.from_pretrained(HERE / "scheduler")
    projection = torch.nn.Sequential(
        torch.nn.LayerNorm(width), torch.nn.Linear(width, width), torch.nn.LayerNorm(width)
    )
    projection.load_state_dict(load_file(HERE / "text_projection.safetensors"))
    tokens = tokenizer([prompt, ""], padding=True, truncation=True, return_tensors="pt")
    mask = tokens["attention_mask"].bool()
    states = projection(encoder(tokens["input_ids"], attention_mask=mask).last_hidden_state)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    x = noise
    for t in scheduler.timesteps:
        text, null = unet(x.repeat(2, 1, 1, 1), t, states, encoder_attention_mask=mask).sample.chunk(2)
        x = scheduler.step(null + scale * (text - null), t, x).prev_sample
    return vae.decode(x).sample.clamp(-1, 1)


if __name__ == "__main__":
    prompt = sys.argv[1]
    seed, steps = (int(sys.argv[i]) if len(sys.argv) > i else usual for i, usual in ((2, 0), (3, CONFIG["steps"])))
    own = UNet2DConditionModel.load_config(HERE / "unet")
    shape = 1, own["in_channels"], own["sample_size"], own["sample_size"]
    image = draw(prompt, torch.randn(shape, generator=torch.Generator().manual_seed(seed)), steps)
    facts = {"synthetic": True, "prompt": prompt, "seed": seed, "steps": steps, "sampler": "euler of diffusers"}
    chunk = PngInfo()
    chunk.add_itxt("cxr_ldm", json.dumps(facts | {key: CONFIG[key] for key in ("guidance", "bundle_sha256")}))
    levels = ((image[0, 0] + 1) * 127.5).round().byte().numpy()
    Image.fromarray(levels).save(f"synthetic_{seed:04d}.png", pnginfo=chunk)
