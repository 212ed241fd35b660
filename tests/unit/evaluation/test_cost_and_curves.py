"""Curves ask for what they say at each point, and cost counts what is there."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cxr_ldm.assets import DEMO
from cxr_ldm.diffusion.flow_map import FlowMap
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.samplers import ddim
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.diffusion.schedules import leading, trailing
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.cost import _peak, latencies, parameters, peak_memory
from cxr_ldm.evaluation.curves import curves, points
from cxr_ldm.evaluation.ldm import Evaluation
from cxr_ldm.evaluation.measures import Curves
from cxr_ldm.metrics.results import Metric
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.pipeline import TextToCXR


def test_each_point_of_a_curve_changes_one_setting_alone():
    asked = []

    def generate(steps, scale):
        asked.append((steps, scale))
        return torch.full((4, 1, 8, 8), steps + 100 * scale), None if scale == 1.5 else 2.0 * steps

    def measure(images):
        return {"kid_x": Metric(float(images.mean()), len(images), False, reason="x")}

    found = curves(generate, measure, steps=7, guidance=2.0, at_steps=[1, 30], at_guidance=[1.0, 1.5])
    assert asked == [(7, 1.0), (7, 1.5), (1, 2.0), (30, 2.0)]
    assert found["kid_x_at_guidance_1.5"].value == 157
    assert found["kid_x_at_steps_30"].settings == {"steps": 30, "guidance": 2.0}
    seconds = {at: entry.value for at, entry in points(found, "steps")["seconds_per_image"]}
    assert seconds == {1: 0.5, 30: 15.0}  # of 4 images, as their sampling took
    assert [at for at, _ in points(found, "guidance")["seconds_per_image"]] == [1.0]  # of the other it is not known


def test_cost_counts_every_part_and_more_steps_take_longer():
    pipeline = TextToCXR.from_bundle(DEMO, "cpu")
    parts = {"autoencoder": pipeline.autoencoder, "network": pipeline.denoiser.network, "size": 64}
    total = parameters(parts)["parameters"]
    assert total.value == sum(parameter_count(parts[name]) for name in ("autoencoder", "network"))
    assert set(total.settings) == {"autoencoder", "network"}
    found = latencies(pipeline, [1, 12], Sampling(20, Guidance(), ddim, trailing))
    assert 0 < found["latency_at_steps_1"].value < found["latency_at_steps_12"].value
    assert found["images_per_second_at_steps_1"].value > found["images_per_second_at_steps_12"].value


@pytest.mark.campaign
def test_peak_memory_is_that_of_a_process_with_the_model_in_it():
    ballast = torch.ones(250_000_000)  # 1 GB in this process, which are none of the other's
    (metric,) = peak_memory(DEMO, "cpu", [], Sampling(3, Guidance(), ddim, trailing)).values()
    del ballast
    assert 250 < metric.value < 1000  # MB: torch alone takes some 300
    assert metric.settings["device"] == "cpu"
    assert metric.settings["steps"] == 3


def test_peak_memory_is_measured_at_the_steps_that_it_states():
    with pytest.raises(UserError, match="sampler.steps=1001"):
        _peak(DEMO, "cpu", [], Sampling(1001, Guidance(), ddim, leading))


def test_a_scale_that_a_student_did_not_learn_is_refused_before_anything_is_drawn(tmp_path):
    flow = FlowMap.__new__(FlowMap)
    torch.nn.Module.__init__(flow)
    flow.network = torch.nn.Identity()
    flow.network.learnt_scales = (1.0, 4.0)
    model = SimpleNamespace(pipeline=SimpleNamespace(denoiser=flow), sampling=Sampling(4, Guidance(2.0)))
    points = Curves(n=2, guidance=[1.0, 9.0], steps=[])
    evaluation = Evaluation(None, None, SimpleNamespace(curves=points, floor_repeats=1, neighbours=1))
    with pytest.raises(UserError, match=r"guidance.scale=9: this student learnt the scales from 1 to 4"):
        evaluation.measure(model, tmp_path)


def test_prompts_that_cannot_be_shuffled_are_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("cxr_ldm.evaluation.fitted.check", lambda *_: None)
    prepared = SimpleNamespace(rows=lambda split: np.arange(4), patients=lambda rows: ["one", "one", "one", "two"])
    measures = SimpleNamespace(
        n=4, kid_n=None, synthetic=False, references=True, curves=None, floor_repeats=1, neighbours=1
    )
    evaluation = Evaluation(Collection(prepared, "test"), None, measures)
    with pytest.raises(UserError, match="one has 3 of 4 images, so shuffled prompts would be its own"):
        evaluation.measure(SimpleNamespace(of_texts=None), tmp_path)
