"""Feature extractors whose weights must be fetched first.

Chest networks see what matters in a radiograph; Inception is what published FIDs are made with.

The first two come with packages that bring torchvision, so they are extras; see `extractors` for what all share.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.features.frozen import Frozen

XRV_RANGE, XRV_SIZE = 1024.0, 224  # torchxrayvision's networks see [-1024, 1024]


class Inception(Frozen):
    """Inception-v3 as FID was defined with (Heusel et al. 2017), by torchmetrics and torch-fidelity.

    Preprocessing: uint8 grey repeated to three channels; torchmetrics resizes it to 299 × 299 (bilinear, antialiased)
    and scales it by (x - 128) / 128.

    Args:
        weights: path of torch-fidelity's weight file; None lets torch-fidelity fetch it.

    Raises:
        UserError: torch-fidelity or the weights are missing.
    """

    name = "inception"
    num_features = 2048

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        require("torch_fidelity", self.name, "inception")
        from torchmetrics.image.fid import NoTrainInceptionV3

        path = None if weights is None else str(weights)
        try:
            network = NoTrainInceptionV3("inception-v3-compat", [str(self.num_features)], path)
        except (OSError, RuntimeError) as error:  # no network, no such file, or another network's weights
            raise UserError(
                f"features=inception cannot load its weights ({first_line(error)}); on a machine with internet fetch "
                "torch-fidelity's weights-inception-2015-12-05-6726825d.pth and pass features.inception.weights=FILE."
            ) from error
        self.network, self.weights = network, Path(path).name if path else "torch-fidelity"
        self.eval().requires_grad_(False)

    def pooled(self, pixels: Tensor) -> Tensor:
        return self.network(as_rgb(pixels))

    def settings(self) -> dict[str, object]:
        return {
            "extractor": self.name,
            "weights": self.weights,
            "input": 299,
            "resize": "bilinear antialias, by torchmetrics",
        }


class XRVDenseNet(Frozen):
    """DenseNet-121 of torchxrayvision, trained on chest radiographs of several collections (Cohen et al. 2022).

    Preprocessing: one channel in [-1024, 1024], resized to 224 × 224 (bilinear, antialiased when shrinking).

    Args:
        weights: torchxrayvision's name of the weights.
        cache_dir: folder that holds the weight file, or receives it; None is torchxrayvision's own.

    Raises:
        UserError: torchxrayvision or the weights are missing.
    """

    name = "xrv_densenet"
    num_features = 1024

    def __init__(self, weights: str = "densenet121-res224-all", cache_dir: str | None = None) -> None:
        super().__init__()
        require("torchxrayvision", self.name, "xrv")
        import torchxrayvision

        try:
            network = torchxrayvision.models.DenseNet(weights=weights, cache_dir=cache_dir)
        except Exception as error:  # it raises bare Exceptions for a name, a failed transfer and a damaged file alike
            raise UserError(
                f"features=xrv_densenet cannot load the weights {weights} ({first_line(error)}); on a machine with "
                "internet run `python -c \"import torchxrayvision as xrv; xrv.models.DenseNet(weights='NAME')\"`, and "
                "pass the folder of the file that it fetches by features.xrv_densenet.cache_dir=FOLDER."
            ) from error
        self.layers, self.weights = network.features, weights
        self.eval().requires_grad_(False)

    def pooled(self, pixels: Tensor) -> Tensor:
        maps = F.relu(self.layers(XRV_RANGE * resized(pixels, XRV_SIZE)))
        return maps.mean(dim=(2, 3))

    def settings(self) -> dict[str, object]:
        return {
            "extractor": self.name,
            "weights": self.weights,
            "input": XRV_SIZE,
            "range": [-XRV_RANGE, XRV_RANGE],
            "resize": "bilinear antialias",
        }


class RadDino(Frozen):
    """RAD-DINO (Pérez-García et al. 2025), a DINOv2 transformer trained on radiographs alone, or any other DINOv2.

    Preprocessing, by the model's own preprocessor_config.json: resized to its input (bilinear, antialiased when
    shrinking), grey repeated to three channels, scaled to [0, 1], minus the mean, over the deviation. Features are the
    class token behind the last normalisation.

    Args:
        model: a local folder or a hub id.

    Raises:
        UserError: nothing can be loaded from `model`, or it is no DINOv2.
    """

    name = "rad_dino"
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, model: str) -> None:
        super().__init__()
        from transformers import AutoModel
        from transformers.image_processing_base import ImageProcessingMixin

        try:
            self.network = AutoModel.from_pretrained(model)
            processing, _ = ImageProcessingMixin.get_image_processor_dict(model)
        except (OSError, ValueError) as error:
            raise UserError(
                f"features.rad_dino.model={model} cannot be loaded ({first_line(error)}); on a machine with internet "
                f"run `huggingface-cli download {model} --local-dir FOLDER` and pass features.rad_dino.model=FOLDER, "
                "which must hold config.json, preprocessor_config.json and the weights."
            ) from error
        if self.network.config.model_type != "dinov2":
            kind = self.network.config.model_type
            raise UserError(f"features.rad_dino.model={model} is a {kind}; a dinov2 is needed.")
        self.model, self.size = model, input_size(processing)
        for key in ("image_mean", "image_std"):
            self.register_buffer(key, torch.tensor(processing[key]).view(1, -1, 1, 1))
        self.num_features = self.network.config.hidden_size
        self.eval().requires_grad_(False)

    def pooled(self, pixels: Tensor) -> Tensor:
        images = (resized(pixels, self.size).expand(-1, 3, -1, -1) + 1) / 2
        return self.network((images - self.image_mean) / self.image_std).pooler_output

    def settings(self) -> dict[str, object]:
        scale = {key: getattr(self, key).flatten().tolist() for key in ("image_mean", "image_std")}
        return {
            "extractor": self.name,
            "weights": Path(self.model).name,
            "input": self.size,
            "resize": "bilinear antialias",
            **scale,
        }


def as_rgb(pixels: Tensor) -> Tensor:
    """Pixels [N, 1, H, W] in [-1, 1] as uint8 RGB [N, 3, H, W], rounded and clamped.

    >>> as_rgb(torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(1, 1, 2, 2))[0, 2].tolist()
    [[0, 128], [255, 255]]
    """
    return ((pixels + 1) * 127.5).round().clamp(0, 255).byte().expand(-1, 3, -1, -1)


def resized(pixels: Tensor, size: int) -> Tensor:
    """Square pixels at size × size; bilinear, antialiased when shrinking."""
    if tuple(pixels.shape[-2:]) == (size, size):
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def input_size(processing: dict[str, Any]) -> int:
    """Side of the square that an image processor of transformers makes, in pixels.

    >>> input_size({"crop_size": {"height": 518, "width": 518}, "size": {"shortest_edge": 520}})
    518
    """
    size = processing.get("crop_size") if processing.get("do_center_crop", True) else None
    size = size or processing["size"]
    return int(size if isinstance(size, int) else size.get("height") or size["shortest_edge"])


def require(package: str, name: str, extra: str) -> None:
    """Raises UserError where an optional package is not installed."""
    if find_spec(package) is None:
        raise UserError(
            f"features={name} needs the package {package.replace('_', '-')}, which brings torchvision; in an "
            f"environment of its own run `pip install 'cxr-ldm[{extra}]'`."
        )


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
