"""Top layers that are freed at a step: untouched before, trained after, whatever happens to the run in between."""

from functools import partial

import lightning
import numpy as np
import pandas
import pytest
import torch
from miniature import TEXTS, fit

from cxr_ldm.data.batches.latents import LatentDataModule
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.diffusion.noise_levels import LogitNormal
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.diffusion.weighting import Unit
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.stages.caches import text_table
from cxr_ldm.stages.ldm import LatentDiffusionStage
from cxr_ldm.stages.unfreeze import Unfreeze
from cxr_ldm.text.conditioner import Conditioner
from cxr_ldm.text.encoders import TextEncoder
from cxr_ldm.text.tokenizer import learn_wordpiece
from cxr_ldm.text.unfreezing import Unfreezing

ARCHITECTURE = {"model_type": "bert", "vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 2}
ARCHITECTURE |= {"num_attention_heads": 2, "intermediate_size": 32}
TOKENIZER = learn_wordpiece(TEXTS * 3, 60)


class FourImages:
    """Stands for a prepared folder of four images."""

    def rows(self, split):
        return np.arange(4)

    def draws(self):
        return np.arange(4)

    def draw_weights(self, rows):
        return None


def make(folder, at_step=4, layers=1) -> tuple[LatentDiffusionStage, LatentDataModule]:
    """A stage whose encoder came with weights, and its data."""
    torch.manual_seed(0)
    encoder = TextEncoder(TOKENIZER, ARCHITECTURE, 10, layers)
    table = text_table(
        encoder, [[text] for text in TEXTS], folder / "cache", {"weights": encoder.frozen_sha256()}, torch.device("cpu")
    )
    network = UNet(2, 16, channels=[8, 16], blocks=1, attention_levels=[0, 1], middle_attention=True, heads=2, groups=4)
    for parameter in network.parameters():  # away from its silent start, at which the text gets no gradient
        torch.nn.init.normal_(parameter, std=0.1)
    stage = LatentDiffusionStage(
        Denoiser(network, RectifiedFlow(), Velocity()),
        Conditioner(encoder),
        Whitening([0.0, 0.0], [1.0, 1.0]),
        DiffusionLoss(LogitNormal(), Unit()),
        partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.1),
        condition_dropout=0.1,
        warmup_steps=2,
        last_rate=0.1,
        seed=0,
        unfreezing=Unfreezing(layers, at_step, 0.1),
    )
    mean = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    moments = torch.cat([mean, torch.full_like(mean, -8.0)], 1).half().numpy()
    return stage, LatentDataModule(FourImages(), moments, table, torch.zeros(4, 0), 4, 8, seed=0)


def weights(module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first, second) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def watch(stage) -> list[dict]:
    """What stands before each step of the optimiser, after clipping; filled while the stage is fitted."""
    seen = []

    def clip(optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        LatentDiffusionStage.configure_gradient_clipping(stage, optimizer, gradient_clip_val, gradient_clip_algorithm)
        top = list(stage.text_encoder.top.parameters())
        seen.append(
            {
                "weights": weights(stage.text_encoder.top),
                "gradients": [weight.grad is not None for weight in top],
                "moments": [weight in optimizer.state for weight in top],
                "rates": [group["lr"] for group in optimizer.param_groups],
                "projection": stage.text_encoder.projection[1].weight.grad.abs().sum().item(),
            }
        )

    stage.configure_gradient_clipping = clip
    return seen


def test_the_top_layers_are_untouched_before_the_step_and_train_from_it_on(tmp_path, capsys):
    stage, data = make(tmp_path)
    start, seen = weights(stage.text_encoder.top), watch(stage)
    frozen = weights(stage.text_encoder.transformer)
    fit(stage, data, tmp_path / "run", ema=None)
    assert len(seen) == 8
    for step, state in enumerate(seen):
        assert all(state["gradients"]) == any(state["gradients"]) == (step >= 4)
        assert same(state["weights"], start) == (step <= 4)  # seen before the step is taken
        assert any(state["moments"]) == (step > 4)
        assert state["rates"][1] == pytest.approx(0.1 * state["rates"][0])
        assert state["projection"] > 0
    assert same(frozen, weights(stage.text_encoder.transformer))
    assert not same(start, weights(stage.text_encoder.top))
    assert (
        capsys.readouterr().out.count("step 4: the top 1 layers of the text encoder train now (0.00M parameters)") == 1
    )


def test_the_counts_are_logged_at_the_start_and_at_the_change(tmp_path):
    stage, data = make(tmp_path)
    fit(stage, data, tmp_path / "run")
    late = sum(weight.numel() for weight in stage.text_encoder.top.parameters())
    total = sum(weight.numel() for weight in stage.parameters() if weight.requires_grad)
    table = pandas.read_csv(tmp_path / "run" / "csv" / "metrics.csv").dropna(subset="trainable_parameters")
    assert dict(zip(table["step"], table["trainable_parameters"], strict=True)) == {0: total - late, 4: total}


def test_the_average_is_the_pretrained_weights_to_the_bit_until_then(tmp_path):
    stage, data = make(tmp_path, at_step=8)
    start = weights(stage.text_encoder)
    fit(stage, data, tmp_path / "run")
    end = weights(stage.text_encoder)
    assert {name for name in end if not torch.equal(end[name], start[name])} == {
        f"projection.{part}" for part in ("0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias")
    }


def test_accumulation_counts_optimiser_steps(tmp_path):
    stage, data = make(tmp_path, at_step=2)
    start, seen = weights(stage.text_encoder.top), watch(stage)
    fit(stage, data, tmp_path / "run", accumulate=2)
    assert [same(state["weights"], start) for state in seen] == [True, True, True, False]


@pytest.mark.campaign
def test_freed_at_step_0_equals_a_stage_without_the_callback_at_the_same_rates(tmp_path):
    stage, data = make(tmp_path, at_step=0)
    fit(stage, data, tmp_path / "with")
    plain, data = make(tmp_path, at_step=0)
    plain.configure_callbacks = list
    fit(plain, data, tmp_path / "without")
    assert same(weights(stage), weights(plain))


def test_a_step_behind_the_end_is_said(tmp_path, capsys):
    stage, data = make(tmp_path, at_step=9)
    fit(stage, data, tmp_path / "run", images=8)
    assert "text_encoder.unfreeze.at_step=9 is not before the run's end at 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "at_step",
    [
        pytest.param(2, marks=pytest.mark.campaign, id="freed before the stop"),
        pytest.param(4, id="at the stop"),
        pytest.param(7, marks=pytest.mark.campaign, id="after the stop"),
    ],
)
def test_resume_equals_no_resume_bit_for_bit_on_either_side_of_the_step(tmp_path, at_step, capsys):
    straight, data = make(tmp_path, at_step)
    fit(straight, data, tmp_path / "straight")

    class Killed(Exception):
        pass

    def draw(module):
        if module.trainer.global_step >= 6:  # the last checkpoint stands at step 4
            raise Killed
        return torch.zeros(1, 1, 16, 16)

    stopped, data = make(tmp_path, at_step)
    with pytest.raises(Killed):
        fit(stopped, data, tmp_path / "stopped", draw)
    capsys.readouterr()
    resumed, data = make(tmp_path, at_step)
    for parameter in resumed.parameters():
        torch.nn.init.zeros_(parameter)
    fit(resumed, data, tmp_path / "stopped")
    assert same(weights(resumed), weights(straight))
    assert ("train now" in capsys.readouterr().out) == (at_step >= 4)  # said once, where it happens


class Keep(lightning.Callback):
    """Writes the top layers of each process at every step."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        name = f"rank{trainer.global_rank}-step{trainer.global_step}.pt"
        torch.save([weights(pl_module.text_encoder), batch["row"]], self.folder / name)


@pytest.mark.campaign
def test_two_processes_stay_one_model_across_the_step(tmp_path):
    """DistributedDataParallel looks at requires_grad when it is made; gloo, on other images in each process."""
    stage, data = make(tmp_path, at_step=2)
    start = weights(stage.text_encoder.top)
    lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        max_steps=4,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        callbacks=[Keep(tmp_path)],
    ).fit(stage, data)
    for step in (1, 2, 3, 4):
        (first, rows), (second, others) = (torch.load(tmp_path / f"rank{rank}-step{step}.pt") for rank in (0, 1))
        assert same(first, second)
        top = {name.removeprefix("top."): value for name, value in first.items() if name.startswith("top.")}
        assert same(top, start) == (step <= 2)
    assert isinstance(stage.configure_callbacks()[0], Unfreeze)
    assert rows.tolist() != others.tolist()
