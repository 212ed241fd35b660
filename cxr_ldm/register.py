"""Short names of parts: what a fingerprint and a bundle call a class, wherever the house keeps it.

A module's address changes when walls move; a name does not. So no fingerprint, run name or bundle holds the address of
one of ours, and a bundle, which is data, may build the parts listed here and nothing else.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from cxr_ldm.errors import UserError

# What a bundle may build: name → address.
PARTS = {
    "Autoencoder": "cxr_ldm.networks.autoencoder.Autoencoder",
    "ClipTextEncoder": "cxr_ldm.text.clip.ClipTextEncoder",
    "Classifier": "cxr_ldm.networks.classifier.Classifier",
    "Epsilon": "cxr_ldm.diffusion.scaling.Epsilon",
    "InpaintUNet": "cxr_ldm.networks.inpainting.InpaintUNet",
    "LinearBeta": "cxr_ldm.diffusion.schedules.LinearBeta",
    "PatientAttributes": "cxr_ldm.text.attributes.PatientAttributes",
    "Probe": "cxr_ldm.metrics.features.probe.Probe",
    "RectifiedFlow": "cxr_ldm.diffusion.schedules.RectifiedFlow",
    "StudentUNet": "cxr_ldm.networks.student.StudentUNet",
    "TextEncoder": "cxr_ldm.text.encoders.TextEncoder",
    "TinyAutoencoder": "cxr_ldm.networks.tiny.TinyAutoencoder",
    "UNet": "cxr_ldm.networks.unet.UNet",
    "Upscaler": "cxr_ldm.networks.upscaler.Upscaler",
    "VPrediction": "cxr_ldm.diffusion.scaling.VPrediction",
    "Velocity": "cxr_ldm.diffusion.scaling.Velocity",
    "Whitening": "cxr_ldm.networks.whitening.Whitening",
}
# What settings name besides.
NAMED = {
    "Adam": "torch.optim.Adam",
    "AdamW": "torch.optim.AdamW",
    "Adversary": "cxr_ldm.stages.adversary.Adversary",
    "ClassifierFeatures": "cxr_ldm.metrics.features.frozen.ClassifierFeatures",
    "EfficientNetLite0": "cxr_ldm.metrics.features.efficientnet.EfficientNetLite0",
    "Inception": "cxr_ldm.metrics.features.fetched.Inception",
    "JoinedReader": "cxr_ldm.data.readers.joined.JoinedReader",
    "LogVariance": "cxr_ldm.diffusion.uncertainty.LogVariance",
    "LogNormal": "cxr_ldm.diffusion.noise_levels.LogNormal",
    "LogitNormal": "cxr_ldm.diffusion.noise_levels.LogitNormal",
    "MinSNR": "cxr_ldm.diffusion.weighting.MinSNR",
    "MixReader": "cxr_ldm.data.readers.mix.MixReader",
    "NIHReader": "cxr_ldm.data.readers.nih.NIHReader",
    "OpenIReader": "cxr_ldm.data.readers.openi.OpenIReader",
    "PatchDiscriminator": "cxr_ldm.networks.discriminator.PatchDiscriminator",
    "PhantomAdherence": "cxr_ldm.metrics.faithfulness.adherence.PhantomAdherence",
    "PhantomReader": "cxr_ldm.data.phantom.reader.PhantomReader",
    "RadDino": "cxr_ldm.metrics.features.fetched.RadDino",
    "TableReader": "cxr_ldm.data.readers.table.TableReader",
    "Unfreezing": "cxr_ldm.text.unfreezing.Unfreezing",
    "Uniform": "cxr_ldm.diffusion.noise_levels.Uniform",
    "Unit": "cxr_ldm.diffusion.weighting.Unit",
    "XRVDenseNet": "cxr_ldm.metrics.features.fetched.XRVDenseNet",
    "ddim": "cxr_ldm.diffusion.samplers.ddim",
    "ddpm": "cxr_ldm.diffusion.samplers.ddpm",
    "dpmpp_2m": "cxr_ldm.diffusion.samplers.dpmpp_2m",
    "euler": "cxr_ldm.diffusion.samplers.euler",
    "flow_map": "cxr_ldm.diffusion.samplers.flow_map",
    "heun": "cxr_ldm.diffusion.samplers.heun",
    "l1_loss": "torch.nn.functional.l1_loss",
    "l1_with_gradients": "cxr_ldm.stages.reconstruction.l1_with_gradients",
    "leading": "cxr_ldm.diffusion.schedules.leading",
    "mse_loss": "torch.nn.functional.mse_loss",
    "pretrained": "cxr_ldm.text.encoders.pretrained",
    "scratch": "cxr_ldm.text.encoders.scratch",
    "trailing": "cxr_ldm.diffusion.schedules.trailing",
    "unipc": "cxr_ldm.diffusion.samplers.unipc",
}
# Addresses that older bundles and records hold for what has moved since: address → name.
MOVED = {
    "cxr_ldm.data.joined.JoinedReader": "JoinedReader",
    "cxr_ldm.data.mix.MixReader": "MixReader",
    "cxr_ldm.data.nih.NIHReader": "NIHReader",
    "cxr_ldm.data.openi.OpenIReader": "OpenIReader",
    "cxr_ldm.data.phantom.PhantomReader": "PhantomReader",
    "cxr_ldm.data.table.TableReader": "TableReader",
    "cxr_ldm.metrics.adherence.PhantomAdherence": "PhantomAdherence",
    "cxr_ldm.metrics.extractors.ClassifierFeatures": "ClassifierFeatures",
    "cxr_ldm.metrics.extractors_fetched.Inception": "Inception",
    "cxr_ldm.metrics.extractors_fetched.RadDino": "RadDino",
    "cxr_ldm.metrics.extractors_fetched.XRVDenseNet": "XRVDenseNet",
    "cxr_ldm.metrics.features.EfficientNetLite0": "EfficientNetLite0",
    "cxr_ldm.metrics.probe.Probe": "Probe",
}
NAMES = {address: name for name, address in (PARTS | NAMED).items()} | MOVED

_registered: dict[str, type] = {}
Class = TypeVar("Class", bound=type)


def part(cls: Class) -> Class:
    """Class decorator for packages beside ours: where `bundle_packages` names one, a bundle may build the class.

    Subclasses of `nn.Module` need it not.
    """
    _registered[f"{cls.__module__}.{cls.__qualname__}"] = cls
    return cls


def named(made_by: Any) -> Any:
    """Settings with `part: NAME` in place of each `_target_`, and without Hydra's other marks.

    What is not listed here belongs to another package and keeps its address.

    >>> named({"vae": {"_target_": "cxr_ldm.networks.unet.UNet", "_partial_": True, "groups": 8}})
    {'vae': {'part': 'UNet', 'groups': 8}}
    >>> named([{"_target_": "mylab.Net"}])
    [{'part': 'mylab.Net'}]
    """
    if isinstance(made_by, Mapping):
        own = {"part": NAMES.get(made_by["_target_"], made_by["_target_"])} if "_target_" in made_by else {}
        marks = ("_target_", "_partial_", "_convert_", "_recursive_")
        return own | {key: named(value) for key, value in made_by.items() if key not in marks}
    if isinstance(made_by, (list, tuple)):
        return [named(value) for value in made_by]
    return made_by


def resolve(name: str, packages: Sequence[str] = ()) -> type:
    """The class that a bundle calls `name`.

    Args:
        packages: packages besides ours whose classes may be built; of these, networks (`nn.Module`s) that are defined
            in the package and what it registered by `part`.

    Raises:
        UserError: no such part, or one that a bundle may not build.
    """
    if name in PARTS:
        return _imported(PARTS[name])
    package = name.partition(".")[0]
    if package == "cxr_ldm" or "." not in name:
        raise UserError(f"asks for {name!r}, which is no part that a bundle may build.")
    if package not in packages:
        raise UserError(
            f"asks for {name}, which is not part of cxr_ldm; if you trust it, allow it with "
            f"bundle_packages=[{package}]."
        )
    found = _imported(name)
    if _registered.get(name) is found or _is_network_of(found, package):
        return found
    raise UserError(
        f"asks for {name}, which is no network defined in {package}; mark a class of another kind with "
        "@cxr_ldm.register.part there."
    )


def described(function: Callable[..., Any]) -> dict[str, Any]:
    """A function, or a partial of one, as `named` has its settings: its short name and what is stated.

    >>> from functools import partial
    >>> from cxr_ldm.diffusion.samplers import ddim
    >>> described(partial(ddim, eta=0.5))
    {'part': 'ddim', 'eta': 0.5}
    """
    options: dict[str, Any] = {}
    while isinstance(function, partial):
        options, function = dict(function.keywords) | options, function.func
    address = f"{function.__module__}.{function.__qualname__}"
    return {"part": NAMES.get(address, address), **options}


def named_function(name: str) -> Callable[..., Any]:
    """The sampler or grid of times that a provenance calls `name`; raises UserError where there is none."""
    address = NAMED.get(name, "")
    if not address.startswith(("cxr_ldm.diffusion.samplers.", "cxr_ldm.diffusion.schedules.")):
        raise UserError(f"{name!r} is no sampler and no grid of times.")
    return _imported(address)


def _imported(address: str) -> type:
    module, _, name = address.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"asks for {address}, which cannot be imported ({error}).") from None


def _is_network_of(found: Any, package: str) -> bool:
    from torch import nn

    defined = getattr(found, "__module__", "").partition(".")[0]
    return isinstance(found, type) and issubclass(found, nn.Module) and defined == package
