"""A whole model that diffusers and transformers wrote draws in ours what they draw."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cxr_ldm.bundle import load_bundle
from cxr_ldm.errors import UserError
from cxr_ldm.foreign import stable_diffusion
from cxr_ldm.pipeline import TextToCXR

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

LENGTH, PROMPT = 12, "right pleural effusion"
UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}


def moved(network):
    """Away from zeros and from what a fresh network makes of everything."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
    return network.eval()


def written(folder, scheduler=SCHEDULER, **unet):
    """A small model of the layout of Stable Diffusion's, as its libraries save it."""
    torch.manual_seed(0)
    theirs = moved(diffusers.UNet2DConditionModel(**(UNET | unet)))
    theirs.save_pretrained(folder / "unet")
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = moved(diffusers.AutoencoderKL(block_out_channels=(8, 16), latent_channels=4, norm_num_groups=4, **kinds))
    vae.save_pretrained(folder / "vae")
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz.,"))
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "ri", "<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\nr i\n")
    words = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=LENGTH)
    words.save_pretrained(folder / "tokenizer")
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPTextConfig(vocab_size=len(tokens), max_position_embeddings=LENGTH, **sizes, **ends)
    text = moved(transformers.CLIPTextModel(config))
    text.save_pretrained(folder / "text_encoder")
    steps = diffusers.DDIMScheduler(**scheduler, timestep_spacing="trailing", set_alpha_to_one=True)
    steps.save_pretrained(folder / "scheduler")
    return theirs, vae, words, text, steps


@torch.no_grad()
def drawn(parts, noise, scale, count):
    """By their own classes, guided, in grey; latents and pixels."""
    unet, vae, words, text, steps = parts
    options = {"padding": "max_length", "max_length": LENGTH, "truncation": True, "return_tensors": "pt"}
    states = [text(words(each, **options).input_ids).last_hidden_state for each in ("", PROMPT)]
    steps.set_timesteps(count)
    x = noise
    for t in steps.timesteps:
        plain, asked = (unet(x, t, encoder_hidden_states=each).sample for each in states)
        x = steps.step(plain + scale * (asked - plain), t, x, eta=0.0).prev_sample
    return vae.decode(x / vae.config.scaling_factor).sample.mean(1, keepdim=True).clamp(-1, 1)


@pytest.mark.parametrize(
    ("scheduler", "unet"),
    [
        (SCHEDULER, {}),
        (SCHEDULER | {"prediction_type": "v_prediction", "beta_schedule": "linear"}, {"use_linear_projection": True}),
        (SCHEDULER, {"attention_head_dim": (1, 2)}),
    ],
)
def test_it_draws_what_diffusers_draws(tmp_path, command, scheduler, unet):
    parts = written(tmp_path / "theirs", scheduler, **unet)
    model = ["form=stable_diffusion", f"bundle={tmp_path / 'theirs'}", f"out={tmp_path / 'ours'}"]
    command("-m", "cxr_ldm.export", *model, "guidance.scale=3")
    bundle = load_bundle(tmp_path / "ours", "ldm")
    ours = TextToCXR.of(bundle, "cpu")
    assert (ours.size, ours.guidance.scale) == (16, 3.0)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    expected = drawn(parts, noise, 3.0, 10)
    found = ours(PROMPT, 5, steps=10, sampler="ddim")
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found, ours("", 5, steps=10, sampler="ddim"), atol=1e-2)


def test_sample_takes_it_and_names_what_is_not_known_of_its_images(tmp_path, command):
    written(tmp_path / "theirs")
    command(
        "-m", "cxr_ldm.export", "form=stable_diffusion", f"bundle={tmp_path / 'theirs'}", f"out={tmp_path / 'ours'}"
    )
    assert load_bundle(tmp_path / "ours", "ldm").info["guidance"]["scale"] == 7.5
    assert "images that its publisher names" in (tmp_path / "ours" / "README.md").read_text()
    where = [f"bundle={tmp_path / 'ours'}", f"paths.outputs={tmp_path}", "n=1", "sampler.steps=2", "name=x"]
    command("sample.py", f"prompt={PROMPT}", *where)
    assert (tmp_path / "samples" / "x" / "0000.png").exists()


def changed(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("unet/config.json", {"transformer_layers_per_block": 2}, "transformer_layers_per_block=2, which ours has not"),
        ("unet/config.json", {"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "which ours has not"),
        ("unet/config.json", {"in_channels": 9}, "takes other channels than it gives"),
        ("unet/config.json", {"_class_name": "FluxTransformer2DModel"}, "not of a UNet2DConditionModel"),
        ("unet/config.json", {"attention_head_dim": [1, 4]}, "its heads are of"),
        ("unet/config.json", {"layers_per_block": 2}, "does not fit its config.json"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule=squaredcos_cap_v2"),
        ("text_encoder/config.json", {"model_type": "t5"}, "only CLIP's text encoder is known"),
    ],
)
def test_what_ours_has_not_is_refused_by_name(tmp_path, file, values, words):
    written(tmp_path / "theirs")
    changed(tmp_path / "theirs" / file, **values)
    with pytest.raises(UserError, match=words):
        stable_diffusion(tmp_path / "theirs")


def test_half_precision_is_read_and_a_missing_part_is_named(tmp_path):
    written(tmp_path / "theirs")
    path = tmp_path / "theirs" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path)
    assert next(stable_diffusion(tmp_path / "theirs").parts["network"].parameters()).dtype == torch.float32
    (tmp_path / "theirs" / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(UserError, match="scheduler_config.json is missing"):
        stable_diffusion(tmp_path / "theirs")


def test_it_learns_on_from_images_of_ones_own(tmp_path, command):
    written(tmp_path / "theirs")
    model = ["form=stable_diffusion", f"bundle={tmp_path / 'theirs'}", f"out={tmp_path / 'ours'}"]
    command("-m", "cxr_ldm.export", *model)
    short = ["training.ldm.images=64", "training.ldm.validate_every=64", "training.ldm.batch_size=16"]
    data = ["data.reader.n=60", "data.size=16", "logger=csv", f"paths.outputs={tmp_path}"]
    command("train.py", "stage=ldm", f"init={tmp_path / 'ours'}", *data, *short, "name=tuned")
    before, after = (load_bundle(place, "ldm") for place in (tmp_path / "ours", tmp_path / "ldm" / "tuned" / "bundle"))
    assert after.spec["text_encoder"] == before.spec["text_encoder"]
    states = [bundle.parts["text_encoder"].encode([PROMPT])[0] for bundle in (before, after)]
    assert torch.equal(*states)
    moved_by = [
        (one - two).abs().max()
        for one, two in zip(*(b.parts["network"].parameters() for b in (before, after)), strict=True)
    ]
    assert max(moved_by) > 0
    assert after.info["init"] == before.sha256
