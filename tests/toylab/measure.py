"""A metric of one's own."""

from torch import Tensor

from cxr_ldm.metrics.results import Metric


def brighter(images: Tensor, real: Tensor, by: float) -> Metric:
    """Share of images that are brighter than the real ones beside them by more than `by`."""
    share = (images.mean(dim=(1, 2, 3)) > real.mean(dim=(1, 2, 3)) + by).double().mean().item()
    return Metric(share, len(images), False, settings={"by": by}, reason="a toy")
