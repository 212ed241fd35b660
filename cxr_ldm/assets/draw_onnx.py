"""Draw synthetic chest radiographs from the ONNX files in this folder.

    python draw.py "Left pleural effusion." --n 4 --seed 0

Needs onnxruntime, tokenizers, NumPy and Pillow. What it draws is synthetic and no basis for a diagnosis.
"""

import argparse
import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tokenizers import Tokenizer

HERE = Path(__file__).parent
CONFIG = json.loads((HERE / "config.json").read_text(encoding="utf-8"))


@cache
def graph(name):
    """One of the files, loaded once."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # weights in int8 become float32 once, and here
    return onnxruntime.InferenceSession(HERE / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def run(name, **inputs):
    """The output of one graph."""
    return graph(name).run(None, inputs)[0]


def read(texts):
    """States and mask of some texts, those that are too long cut at the window."""
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.enable_truncation(CONFIG["length"])
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]") or 0)
    encoded = tokenizer.encode_batch(texts)
    ids, mask = np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded], dtype=bool)
    return run("text_encoder", ids=ids, mask=mask), mask


def denoise(x, t, s, context, mask, scale):
    """The guided estimate of x_0; the empty text is behind the others."""
    n = len(x)
    texts, seen, time = context[:n], mask[:n], np.full(n, t, np.float32)
    if CONFIG["student"]:
        more = {"s": np.full(n, s, np.float32), "scale": np.full(n, scale, np.float32)}
        return run("denoiser", x=x, t=time, context=texts, mask=seen, **more)
    text = run("denoiser", x=x, t=time, context=texts, mask=seen)
    if scale == 1:
        return text
    null = run("denoiser", x=x, t=time, context=context[n:].repeat(n, 0), mask=mask[n:].repeat(n, 0))
    return null + np.float32(scale) * (text - null)


def draw(prompts, noise, steps=CONFIG["steps"], scale=CONFIG["guidance"]):
    """Images `[N,1,H,W]` in [-1, 1] of N prompts from standard normal `noise`, float32 `[N,C,h,w]`.

    A student by its own steps; other models by DPM-Solver++(2M), where alpha = 1 - t and sigma = t.
    """
    context, mask = read([*prompts, ""])
    times, x, past = np.linspace(1, 0, steps + 1), noise, None
    for t, s in pairwise(times):
        estimate = x0 = denoise(x, t, s, context, mask, scale)
        if not CONFIG["student"] and past is not None and s > 0 and past[0] < 1:
            log_ratio = [np.log((1 - time) / time) for time in (past[0], t, s)]
            step = (log_ratio[2] - log_ratio[1]) / (2 * (log_ratio[1] - log_ratio[0]))
            x0 = estimate + np.float32(step) * (estimate - past[1])
        past = t, estimate
        x = np.float32(1 - s) * x0 + np.float32(s) * (x - np.float32(1 - t) * x0) / np.float32(t)
    return run("decoder", latents=x)


def main():
    """Read the command line, draw, write a PNG for each image that says what it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("--n", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=CONFIG["steps"])
    parser.add_argument("--guidance", type=float, default=CONFIG["guidance"])
    asked = parser.parse_args()
    for seed in range(asked.seed, asked.seed + asked.n):
        noise = np.random.default_rng(seed).standard_normal((1, *CONFIG["latent_shape"]), dtype=np.float32)
        pixels = draw([asked.prompt], noise, asked.steps, asked.guidance)[0, 0]
        chunk = PngInfo()
        facts = {"synthetic": True, "prompt": asked.prompt, "seed": seed, "noise": "numpy", "steps": asked.steps}
        facts |= {"guidance": asked.guidance, "bundle_sha256": CONFIG["bundle_sha256"], "software": CONFIG["software"]}
        chunk.add_itxt("cxr_ldm", json.dumps(facts, ensure_ascii=False))
        picture = np.clip(np.rint((pixels + 1) * 127.5), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(f"{seed:04d}.png", pnginfo=chunk)
        print(f"{seed:04d}.png")


if __name__ == "__main__":
    main()
