"""Draw a synthetic chest radiograph from this folder: python draw.py "Right pleural effusion." [SEED [STEPS]]"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

HERE = Path(__file__).parent


@torch.no_grad()
def draw(prompt, noise, steps=20, scale=1.0):
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
    prompt, *numbers = sys.argv[1:]
    seed, steps = [*map(int, numbers), *(0, 20)[len(numbers) :]]
    config = UNet2DConditionModel.load_config(HERE / "unet")
    shape = 1, config["in_channels"], config["sample_size"], config["sample_size"]
    image = draw(prompt, torch.randn(shape, generator=torch.Generator().manual_seed(seed)), steps)
    Image.fromarray(((image[0, 0] + 1) * 127.5).round().byte().numpy()).save(f"synthetic_{seed:04d}.png")
