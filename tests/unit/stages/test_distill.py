"""A student of the smallest model: what trains, what it learns, what a bundle says of it."""

import copy
from functools import partial

import pytest
import torch
from miniature import fit, ldm_stage

from cxr_ldm.diffusion.flow_map import FlowMap, FlowMapLoss
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.stages import distill
from cxr_ldm.stages.distill import DistillStage

SHAPE = {
    "channels": [8, 16],
    "blocks": 1,
    "attention_levels": [0, 1],
    "middle_attention": True,
    "heads": 2,
    "groups": 4,
}


def distilling(tmp_path, images_per_epoch=8):
    """A stage whose teacher was trained a little, and its data."""
    trained, data = ldm_stage(tmp_path, images_per_epoch=images_per_epoch)
    fit(trained, data, tmp_path / "teacher")
    _, data = ldm_stage(tmp_path, images_per_epoch=images_per_epoch)
    teacher = trained.denoiser
    network = StudentUNet(latent_channels=2, context_width=16, scales=[1.0, 3.0], **SHAPE)
    network.load_state_dict(network.state_dict() | teacher.network.state_dict())
    stage = DistillStage(
        FlowMap(network, teacher.schedule, teacher.scaling),
        teacher,
        trained.conditioner,
        trained.whitening,
        FlowMapLoss([1.0, 3.0], 0.1, 0.25, "end", 0.5),
        partial(torch.optim.AdamW, lr=3e-3),
        condition_dropout=0.1,
        warmup_steps=2,
        last_rate=0.1,
        seed=0,
    )
    return stage, data


def validated(stage, data, folder, images):
    """Relative error of the student's steps after so many images."""
    trainer = fit(stage, data, folder, images=images, validate_every=images, checkpoint_every=images, ema=0.0)
    return trainer.callback_metrics["val/loss"].item()


def test_the_student_alone_trains_and_nears_its_teacher(tmp_path):
    stage, data = distilling(tmp_path, images_per_epoch=8)
    fixed = copy.deepcopy([stage.teacher.state_dict(), stage.conditioner.text_encoder.state_dict()])
    before = {name: value.clone() for name, value in stage.denoiser.state_dict().items()}
    early = validated(stage, data, tmp_path / "early", 8)
    _, data = ldm_stage(tmp_path, images_per_epoch=200)
    late = validated(stage, data, tmp_path / "late", 200)
    assert late < 0.7 * early
    for known, part in zip(fixed, (stage.teacher, stage.conditioner.text_encoder), strict=True):
        for name, value in part.state_dict().items():
            assert torch.equal(value, known[name]), name
    changed = [name for name, value in stage.denoiser.state_dict().items() if not torch.equal(value, before[name])]
    assert "network.scale_embedding.linear_1.weight" in changed
    assert len(changed) > 0.9 * len(before)


def test_checkpoints_hold_no_teacher(tmp_path):
    stage, data = distilling(tmp_path)
    fit(stage, data, tmp_path / "run", images=8)
    held = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in held} == {"denoiser", "whitening"}


@pytest.mark.campaign
def test_two_runs_of_one_seed_are_the_same(tmp_path):
    weights = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stage, data = distilling(tmp_path / name)
        fit(stage, data, tmp_path / name / "run", images=16)
        weights.append(stage.denoiser.state_dict())
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_student_is_validated_at_the_scales_that_it_learns(tmp_path, monkeypatch):
    """From the least to the greatest within each of its four steps."""
    stage, data = distilling(tmp_path)
    seen = []

    class Watched(distill.Teacher):
        def __init__(self, denoiser, text, null, scale):
            seen.extend(scale.flatten().tolist())
            super().__init__(denoiser, text, null, scale)

    batch = next(iter(data.val_dataloader()))
    turns = torch.linspace(0.05, 0.95, len(batch["row"]))
    monkeypatch.setattr(distill, "Teacher", Watched)
    monkeypatch.setattr(distill, "strata", lambda count, random: turns)
    stage.log = lambda *_, **__: None
    asked, velocity = [], stage.denoiser.velocity

    def watched(x, t, r, *more):
        asked.append((t, r))
        return velocity(x, t, r, *more)

    monkeypatch.setattr(stage.denoiser, "velocity", watched)
    stage.validation_step(batch, 0)
    ((t, r),) = asked  # the student's step is the teacher's: from one of the four times to the next
    assert t.tolist() == [1 - int(4 * turn) / 4 for turn in turns.tolist()]
    assert (t - r).tolist() == [0.25] * len(turns)
    low, high = stage.loss.scales
    assert seen == pytest.approx([low + (high - low) * (4 * turn % 1) for turn in turns.tolist()], abs=1e-5)
