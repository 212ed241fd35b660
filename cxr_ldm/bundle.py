"""Trained models as folders: config.json + *.safetensors + SHA256SUMS, never pickle, always loaded strictly."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from safetensors.torch import load_file, save_file
from torch import nn

import cxr_ldm
from cxr_ldm import artifacts
from cxr_ldm.errors import UserError

FORMAT = 1
SUMS = "SHA256SUMS"  # in the form that `sha256sum -c` reads


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        folder: where it was loaded from.
        kind: "vae", "ldm" or "classifier".
        parts: the built objects by name, weights loaded.
        spec: what each part was built from.
        info: what made it: data, size, settings.
        sha256: identity of the bundle, 64 hex digits: the hash of its list of hashes.
    """

    folder: Path
    kind: str
    parts: dict[str, Any]
    spec: dict[str, dict[str, Any]]
    info: dict[str, Any]
    sha256: str


def save_bundle(
    folder: Path, kind: str, specs: Mapping[str, Mapping[str, Any]], parts: Mapping[str, Any], info: Mapping[str, Any]
) -> str:
    """Write a bundle under its final name only when it is whole; returns its sha256.

    Args:
        specs: for each part `{"_target_": "package.Class", argument: value, …}`, enough to build it again.
        parts: the trained objects; those that are modules give their weights.
        info: json-able facts about the run, kept in config.json.
    """
    with artifacts.building(folder) as partial:
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                tensors = {key: value.detach().cpu().contiguous() for key, value in part.state_dict().items()}
                save_file(tensors, partial / f"{name}.safetensors")
        config = {
            "format": FORMAT,
            "kind": kind,
            "software": f"cxr_ldm {cxr_ldm.__version__}",
            "info": dict(info),
            "parts": {name: dict(spec) for name, spec in specs.items()},
        }
        artifacts.write_json(partial / "config.json", config)
        write_sums(partial)
    return bundle_sha256(folder)


def save_again(source: Path, folder: Path, *, half: bool, **changes: Any) -> str:
    """Write a bundle again under an identity of its own; returns its sha256.

    `info.made_from` names the bundle that it comes from.

    Args:
        half: the weights become float16, half the size; they are loaded into float32 networks.
        changes: facts of `info` that take the place of those there.

    Raises:
        UserError: `source` is damaged, or `folder` exists.
    """
    verify(source)
    if folder.exists():
        raise UserError(f"out={folder} exists already; delete it or name another folder.")
    config = artifacts.read_json(source / "config.json")
    config["info"] |= changes | {"made_from": bundle_sha256(source)} | ({"weights": "float16"} if half else {})
    with artifacts.building(folder) as partial:
        for weights in sorted(source.glob("*.safetensors")):
            if half:
                tensors = load_file(weights)
                save_file({key: halved(value) for key, value in tensors.items()}, partial / weights.name)
            else:
                shutil.copyfile(weights, partial / weights.name)
        artifacts.write_json(partial / "config.json", config)
        write_sums(partial)
    return bundle_sha256(folder)


def halved(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of floats as float16, any other as it is."""
    return tensor.half() if tensor.is_floating_point() else tensor


def save_with_decoder(source: Path, decoder: Path, folder: Path, **changes: Any) -> str:
    """Write a model again with the decoder of another VAE, which must have the same encoder; returns its sha256.

    `info.decoder_from` names the VAE; `changes` are as in `save_again`.

    Raises:
        UserError: a bundle is damaged, its kind is not the one that is needed, the encoders differ, or `folder` exists.
    """
    model, vae = load_bundle(source, "ldm"), load_bundle(decoder, "vae")
    if folder.exists():
        raise UserError(f"out={folder} exists already; delete it or name another folder.")
    own, other = (bundle.parts["autoencoder"] for bundle in (model, vae))
    for part in ("encoder", "quant_conv"):
        weights, others = getattr(own, part).state_dict(), getattr(other, part).state_dict()
        if weights.keys() != others.keys() or any(not torch.equal(weights[name], others[name]) for name in weights):
            raise UserError(
                f"decoder={decoder} has another encoder than the model in {source}, whose latents it would not know; "
                "name a VAE that was trained with vae_bundle= from the model's."
            )
    parts = model.parts | {"autoencoder": other}
    info = model.info | changes | {"decoder_from": vae.sha256, "made_from": model.sha256}
    return save_bundle(folder, "ldm", model.spec | {"autoencoder": vae.spec["autoencoder"]}, parts, info)


def write_sums(folder: Path) -> None:
    """SHA256SUMS of every file in a folder."""
    files = sorted(path for path in folder.iterdir())
    artifacts.write_text(folder / SUMS, "".join(f"{artifacts.sha256_file(f)}  {f.name}\n" for f in files))


def bundle_sha256(folder: Path) -> str:
    """Identity of a bundle: the SHA-256 of its SHA256SUMS file."""
    try:
        return hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()
    except OSError:
        raise UserError(
            f"bundle={folder} is no bundle: it holds no {SUMS}; give the folder bundle/ of a run."
        ) from None


def verify(folder: Path) -> None:
    """Check every file against SHA256SUMS; raises UserError naming the first that differs or is missing."""
    bundle_sha256(folder)
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        if Path(name).name != name or not (folder / name).is_file():
            raise UserError(f"{folder / SUMS} lists {name!r}, which is not in the bundle; copy the bundle again.")
        if artifacts.sha256_file(folder / name) != expected:
            raise UserError(
                f"{folder / name} does not have the hash in {SUMS}: it was changed or damaged; copy it again."
            )


def load_bundle(folder: Path | str, kind: str, packages: Sequence[str] = ()) -> Bundle:
    """Verify, build and load a bundle, every weight strictly.

    Args:
        folder: the bundle's folder.
        kind: the kind that is needed, "vae", "ldm" or "classifier".
        packages: packages besides cxr_ldm whose classes the bundle may build: a bundle is data, and data
            must not choose what code runs.

    Raises:
        UserError: a hash, the format, the kind, a class or a weight is not what it should be.
    """
    folder = Path(folder)
    verify(folder)
    config = artifacts.read_json(folder / "config.json")
    if config.get("format") != FORMAT or config.get("kind") != kind:
        found = f"format {config.get('format')}, kind {config.get('kind')!r}"
        raise UserError(f"bundle={folder} is {found}; needed is format {FORMAT}, kind {kind!r}.")
    parts = {}
    for name, spec in config["parts"].items():
        part = build(spec, packages, folder)
        weights = folder / f"{name}.safetensors"
        if isinstance(part, nn.Module):
            if not weights.exists():
                raise UserError(f"{weights} is missing; copy the bundle again.")
            load_strictly(part, weights)
        parts[name] = part.eval() if isinstance(part, nn.Module) else part
    return Bundle(folder, kind, parts, config["parts"], config["info"], bundle_sha256(folder))


def load_strictly(module: nn.Module, weights: Path) -> None:
    """Load weights; missing or additional ones are an error that names the file and the first of them."""
    tensors = load_file(weights)
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise UserError(f"{weights} does not fit the network in config.json: {reason}") from error


def build(spec: Mapping[str, Any], packages: Sequence[str], folder: Path) -> Any:
    """Build one part from its spec, from allowed packages only."""
    target = spec["_target_"]
    if target.partition(".")[0] not in ("cxr_ldm", *packages):
        raise UserError(
            f"bundle={folder} asks for {target}, which is not part of cxr_ldm; if you trust it, allow it with "
            f"bundle_packages=[{target.partition('.')[0]}]."
        )
    try:
        return get_object(target)(**{key: value for key, value in spec.items() if key != "_target_"})
    except TypeError as error:
        raise UserError(
            f"bundle={folder} was made by another version of {target} ({error}); train it again."
        ) from error
