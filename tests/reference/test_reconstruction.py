"""SSIM, MS-SSIM, PSNR and MAE against scikit-image, torchmetrics and closed forms."""

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.images.reconstruction import (
    mae,
    metrics_of_values,
    ms_ssim,
    ms_ssim_weights,
    psnr,
    reconstruction_metrics,
    reconstruction_values,
    ssim,
    worst,
)
from cxr_ldm.stages.reconstruction import l1_with_gradients

OPTIONS = {"data_range": 2.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def pairs(n=4, size=48):
    random = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, size)
    original = np.clip(ramp[:, None] * ramp[None] + 0.2 * random.standard_normal((n, 1, size, size)), -1, 1)
    return np.clip(original + 0.1 * random.standard_normal(original.shape), -1, 1), original


def test_ssim_and_psnr_are_scikit_images():
    made, original = pairs()
    made, original = (np.concatenate([each, 0.01 * each - 0.98]) for each in (made, original))  # nearly black ones too
    expected = [structural_similarity(b[0], a[0], **OPTIONS) for a, b in zip(made, original, strict=True)]
    found = ssim(torch.from_numpy(made), torch.from_numpy(original))
    # The same 11×11 window and the same border left out; the tolerance is that of float32 against float64.
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-5)
    expected = [peak_signal_noise_ratio(b, a, data_range=2.0) for a, b in zip(made, original, strict=True)]
    np.testing.assert_allclose(psnr(torch.from_numpy(made), torch.from_numpy(original)).numpy(), expected, atol=1e-9)


def scikit_ms_ssim(made, original):
    """MS-SSIM of one pair [H, W]; SSIM with a huge K1 is its contrast and structure alone."""
    weights = ms_ssim_weights(len(made))
    product = 1.0
    for scale in range(len(weights)):
        last = scale == len(weights) - 1
        value = structural_similarity(original, made, **OPTIONS, **({} if last else {"K1": 1e6}))
        product *= max(value, 0) ** weights[scale]
        made, original = (block_reduce(each, 2, np.mean) for each in (made, original))
    return product


@pytest.mark.parametrize(("size", "scales"), [(48, 3), (88, 4), (176, 5)])
def test_ms_ssim_is_scikit_images_scale_by_scale(size, scales):
    made, original = pairs(3, size)
    assert len(ms_ssim_weights(size)) == scales
    expected = [scikit_ms_ssim(a[0], b[0]) for a, b in zip(made, original, strict=True)]
    found = ms_ssim(torch.from_numpy(made), torch.from_numpy(original))
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-5)


@pytest.mark.parametrize(("size", "there"), [(16, False), (32, True)])
def test_ms_ssim_stands_beside_ssim_from_two_scales_on(size, there):
    made, original = (torch.from_numpy(each) for each in pairs(2, size))
    assert ("ms_ssim" in reconstruction_values(made, original)) is there


def test_edges_count_along_rows_and_along_columns():
    ramp = torch.linspace(0, 1, 5).expand(1, 1, 4, 5)
    for pixels in (ramp, ramp.transpose(2, 3)):
        loss = l1_with_gradients(pixels, torch.zeros_like(pixels), weight=2.0)
        assert loss.item() == pytest.approx(0.5 + 2.0 * 0.25)


def test_ms_ssim_is_torchmetrics_but_for_the_border_of_the_coarsest_scale():
    made, original = (torch.from_numpy(each).float() for each in pairs(3, 192))
    theirs = multiscale_structural_similarity_index_measure(
        made, original, data_range=2.0, reduction="none", betas=ms_ssim_weights(192)
    )
    np.testing.assert_allclose(ms_ssim(made, original).numpy(), theirs.numpy(), atol=0.01)


def test_ms_ssim_of_flat_images_is_their_luminance():
    # Without structure each contrast term is 1, and what stays is the luminance at the coarsest scale.
    one, two = torch.full((1, 1, 44, 44), 0.6), torch.full((1, 1, 44, 44), 0.2)
    c1 = (0.01 * 2) ** 2
    luminance = (2 * 0.6 * 0.2 + c1) / (0.6**2 + 0.2**2 + c1)
    assert ms_ssim(one, two).item() == pytest.approx(luminance ** ms_ssim_weights(44)[-1], abs=1e-4)
    assert ms_ssim(-torch.from_numpy(pairs()[1]), torch.from_numpy(pairs()[1])).max() == 0  # opposites


def test_mae_is_numpys_and_the_worst_come_first():
    made, original = pairs()
    found = mae(torch.from_numpy(made), torch.from_numpy(original))
    np.testing.assert_allclose(found, np.abs(made - original).mean((1, 2, 3)), rtol=1e-12)
    values = torch.tensor([3.0, 1.0, 2.0, 1.0])
    assert worst(values, 3).tolist() == [1, 3, 2]
    assert worst(values, 2, higher=False).tolist() == [0, 2]


def test_reconstruction_entries_do_not_depend_on_batches_and_state_their_range():
    made, original = (torch.from_numpy(each) for each in pairs())
    patients = ["a", "a", "b", "c"]
    whole = reconstruction_metrics(made, original, patients)
    parts = {"ssim": torch.cat([ssim(a, b) for a, b in zip(made.split(1), original.split(1), strict=True)])}
    assert metrics_of_values(parts, patients, 48)["ssim"].value == pytest.approx(whole["ssim"].value, abs=1e-12)
    assert whole["psnr"].settings["data_range"] == 2.0
    assert whole["psnr"].settings["patients"] == 3
    assert whole.keys() == {"ssim", "ms_ssim", "psnr", "mae"}
    assert len(whole["ms_ssim"].settings["weights"]) == 3
    assert not whole["mae"].higher_is_better
    assert "ms_ssim" not in reconstruction_metrics(made[..., :16], original[..., :16], patients)
    with pytest.raises(UserError, match="not finite"):
        reconstruction_metrics(original, original, patients)
    with pytest.raises(UserError, match="do not match"):
        ssim(made, original[:2])
    with pytest.raises(UserError, match="window of 11"):
        ssim(made[..., :8], original[..., :8])
    with pytest.raises(UserError, match="no two scales"):
        ms_ssim(made[..., :16], original[..., :16])


@pytest.mark.parametrize("shape", [(8, 32), (32, 8)])
def test_ssim_refuses_pictures_that_are_lower_or_narrower_than_its_window(shape):
    with pytest.raises(UserError, match="smaller than its window of 11"):
        ssim(torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape))
