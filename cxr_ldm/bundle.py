"""Trained models as folders: config.json + *.safetensors + SHA256SUMS, never pickle, always loaded strictly."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

import cxr_ldm
from cxr_ldm import artifacts, content, lineage, register
from cxr_ldm.assets import MODELS, VAES
from cxr_ldm.card import card
from cxr_ldm.errors import UserError
from cxr_ldm.information import check_info

FORMATS = (1, 2)  # read; 1 named parts by the addresses of their classes
CARD = "README.md"
SUMS = "SHA256SUMS"  # in the form that `sha256sum -c` reads
CONFIG = "config.json"
SCALE = "::scale"  # of a tensor in int8, behind its name
Storage = Literal["half", "int8"]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle.

    Attributes:
        folder: where it was loaded from.
        kind: "vae", "ldm", "classifier" or "upscaler".
        parts: the built objects by name, weights loaded.
        spec: what each part was built from: its short name under "part" (see `register`), and its arguments.
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
        specs: for each part `{"part": "UNet", argument: value, …}` or a node of the config, enough to build it again.
        parts: the trained objects; those that are modules give their weights.
        info: json-able facts about the run, kept in config.json.
    """
    with artifacts.building(folder) as partial:
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                tensors = {key: value.detach().cpu().contiguous() for key, value in part.state_dict().items()}
                write_weights(partial / f"{name}.safetensors", tensors)
        config = {
            "format": FORMATS[-1],
            "kind": kind,
            "software": f"cxr_ldm {cxr_ldm.__version__}",
            "info": register.named(info),
            "parts": {name: register.named(spec) for name, spec in specs.items()},
        }
        write_facts(partial, config)
    return bundle_sha256(folder)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """What stands beside the weights: config.json, the card for people, and the sums of all."""
    artifacts.write_json(folder / CONFIG, facts)
    artifacts.write_text(folder / CARD, card(facts))
    write_sums(folder)


def save_again(source: Path, folder: Path, *, storage: Storage | None = None, **changes: Any) -> str:
    """Write a bundle again under an identity of its own; returns its sha256.

    `info.made_from` names the bundle that it comes from.

    Args:
        storage: the weights become float16 ("half"), or int8 with a scale for each output channel, see `quantised`;
            they are loaded into float32 networks. None leaves the files as they are.
        changes: facts of `info` that take the place of those there.

    Raises:
        UserError: `source` is damaged, or `folder` exists.
    """
    verify(source)
    if folder.exists():
        raise UserError(f"out={folder} exists already; delete it or name another folder.")
    config = read_config(source)
    config["format"] = FORMATS[-1]
    weights = {"weights": STORED[storage][0]} if storage else {}
    config["info"] |= changes | {"made_from": bundle_sha256(source)} | weights
    with artifacts.building(folder) as partial:
        for file in sorted(source.glob("*.safetensors")):
            if storage:
                write_weights(partial / file.name, STORED[storage][1](read_weights(file)))
            else:
                shutil.copyfile(file, partial / file.name)
        write_facts(partial, config)
    return bundle_sha256(folder)


def write_weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write a .safetensors file that whoever may read the other files may read, which `save_file` keeps to its owner.

    Raises:
        OSError: there is no space for it.
    """
    with content.naming(path):
        path.write_bytes(save(tensors))


Tensors = dict[str, torch.Tensor]


def halved(tensors: Tensors) -> Tensors:
    """Tensors of floats as float16, any other as it is."""
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}


def quantised(tensors: Tensors) -> Tensors:
    """Matrices and kernels as int8, symmetric, with a float32 scale for each row, their output channel; others halved.

    A row's largest weight is 127, so that no weight moves by more than its 254th part.

    >>> found = quantised({"weight": torch.tensor([[1.0, -0.5], [0.0, 0.0]]), "bias": torch.zeros(2)})
    >>> {name: (value.dtype, value.tolist()) for name, value in found.items() if name == "weight"}
    {'weight': (torch.int8, [[127, -64], [0, 0]])}
    """
    rows = {name: value for name, value in tensors.items() if value.is_floating_point() and value.dim() > 1}
    found = halved({name: value for name, value in tensors.items() if name not in rows})
    for name, value in rows.items():
        scale = value.float().abs().flatten(1).amax(dim=1) / 127
        found[name] = (value.float() / along(scale.clamp(min=1e-30), value)).round().to(torch.int8)
        found[name + SCALE] = scale
    return found


def restored(tensors: Tensors, path: Path) -> Tensors:
    """What `quantised` was given, in float32; tensors that have no scale as they are.

    Raises:
        UserError: a scale does not fit its tensor.
    """
    scales = {name.removesuffix(SCALE): value for name, value in tensors.items() if name.endswith(SCALE)}
    found = {name: value for name, value in tensors.items() if not name.endswith(SCALE)}
    for name, scale in scales.items():
        value = found.get(name)
        if value is None or value.dtype != torch.int8 or scale.shape != value.shape[:1]:
            raise UserError(f"{path} has a scale for {name} that does not fit it; copy the bundle again.")
        found[name] = value.float() * along(scale.float(), value)
    return found


def along(scale: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """A number for each row, so that it multiplies the rows."""
    return scale.reshape(-1, *[1] * (rows.dim() - 1))


# what `info.weights` calls it, and how it is made
STORED = {"half": ("float16", halved), "int8": ("int8", quantised)}


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
    weights, others = own.encoding().state_dict(), other.encoding().state_dict()
    if weights.keys() != others.keys() or any(not torch.equal(weights[name], others[name]) for name in weights):
        raise UserError(
            f"decoder={decoder} has another encoder than the model in {source}, whose latents it would not know; "
            "name a VAE that was trained with vae_bundle= from the model's."
        )
    parts = model.parts | {"autoencoder": other}
    made = {"decoder_from": vae.sha256, "vae_data": vae.info["data"], "made_from": model.sha256}
    # the encoder is still that of the autoencoder before
    earlier = [*model.info.get("init_data", []), *vae.info.get("init_data", []), model.info.get("vae_data") or {}]
    made["init_data"] = [each for each in lineage.each_once(earlier) if each != vae.info["data"]]
    info = model.info | changes | made
    return save_bundle(folder, "ldm", model.spec | {"autoencoder": vae.spec["autoencoder"]}, parts, info)


def write_sums(folder: Path) -> None:
    """SHA256SUMS of every file in a folder."""
    files = sorted(path for path in folder.iterdir())
    artifacts.write_text(folder / SUMS, "".join(f"{content.sha256_file(f)}  {f.name}\n" for f in files))


def bundle_sha256(folder: Path) -> str:
    """Identity of a bundle: the SHA-256 of its SHA256SUMS file."""
    try:
        return hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()
    except OSError:
        raise UserError(
            f"bundle={folder} is no bundle: it holds no {SUMS}; give the folder bundle/ of a run."
        ) from None


def verify(folder: Path) -> None:
    """Check the folder's files against SHA256SUMS, which must list exactly those that are there.

    Raises:
        UserError: names the first file that differs, is missing, or is not listed.
    """
    bundle_sha256(folder)
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{folder / SUMS} is damaged: it is no text; copy the bundle again.") from None
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {path.name for path in folder.iterdir()} - {SUMS}
    for name in sorted(expected.keys() - there | {CONFIG} - expected.keys()):
        raise UserError(
            f"bundle={folder} lacks {name!r}, or {SUMS} does not list it, as every bundle must; copy the bundle again."
        )
    for name in sorted(there - expected.keys()):
        raise UserError(
            f"{folder / name} is not listed in {SUMS}, so nothing says what it is; remove it from the bundle."
        )
    for name, digest in expected.items():
        if not (folder / name).is_file() or content.sha256_file(folder / name) != digest:
            raise UserError(
                f"{folder / name} does not have the hash in {SUMS}: it was changed or damaged; copy it again."
            )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json with every part by its short name, whichever format it was written in.

    Raises:
        UserError: it is not what `save_bundle` writes.
    """
    path = folder / CONFIG
    config = artifacts.read_json(path)
    if not isinstance(config, dict) or config.get("format") not in FORMATS:
        found = config.get("format") if isinstance(config, dict) else None
        raise UserError(f"bundle={folder} is of format {found}; this version reads {' and '.join(map(str, FORMATS))}.")
    config = register.named(config)
    parts, info = config.get("parts"), config.get("info")
    whole = isinstance(info, dict) and isinstance(parts, dict)
    if not whole or not all(isinstance(spec, dict) and isinstance(spec.get("part"), str) for spec in parts.values()):
        raise UserError(f"{path} is not a bundle's: info or parts are missing, or a part has no name; train it again.")
    check_info(path, config["info"])
    return config


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors file, those in int8 as float32.

    Raises:
        UserError: it is missing or damaged, or a number is not finite.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as weights ({error}); copy the bundle again.") from None
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(
                f"{path} holds numbers that are not finite in {name}, so it can draw nothing; train it again."
            )
    return restored(tensors, path)


# What a model of each kind is made of; "attributes" may be there besides.
NEEDED = {
    "vae": {"autoencoder"},
    "ldm": {"autoencoder", "network", "schedule", "scaling", "text_encoder", "whitening"},
    "classifier": {"classifier"},
    "upscaler": {"upscaler", "schedule", "scaling"},
}
# By what each of them is known.
ROLES = {"schedule": "time_of", "scaling": "to_data", "whitening": "restore", "text_encoder": "encode"}
ROLES |= {"autoencoder": "decode"}


def load_bundle(folder: Path | str, kind: str, packages: Sequence[str] = ()) -> Bundle:
    """Verify, build and load a bundle, every weight strictly.

    A bundle is data, and data must not choose what code runs: it may build the parts of `register.PARTS` alone.

    Args:
        folder: the bundle's folder.
        kind: the kind that is needed, as of `Bundle`.
        packages: packages besides cxr_ldm whose networks the bundle may build, see `register.resolve`.

    Raises:
        UserError: a hash, the format, the kind, a class or a weight is not what it should be.
    """
    folder = Path(folder)
    verify(folder)
    config = read_config(folder)
    if config.get("kind") != kind:
        raise UserError(f"bundle={folder} is of kind {config.get('kind')!r}; needed is kind {kind!r}.")
    missing = sorted(NEEDED.get(kind, set()) - config["parts"].keys())
    if missing:
        raise UserError(
            f"bundle={folder} has no {missing[0]}, which every bundle of kind {kind!r} has; train it again."
        )
    parts = {}
    for name, spec in config["parts"].items():
        part = build(spec, packages, folder)
        if name in ROLES and not hasattr(part, ROLES[name]):
            raise UserError(f"bundle={folder} names {spec['part']} as its {name}, which is none; train it again.")
        if isinstance(part, nn.Module):
            load_strictly(part.eval(), folder / f"{name}.safetensors")
        parts[name] = part
    return Bundle(folder, kind, parts, config["parts"], config["info"], bundle_sha256(folder))


def load_vae(folder: Path | str, packages: Sequence[str] = ()) -> Bundle:
    """The VAE of a bundle of its own, or the one within a model, so that others can be trained on the same latents.

    Args:
        folder: the bundle's folder, or the name of a model or an autoencoder of the package.

    Raises:
        UserError: as `load_bundle`.
    """
    folder = (MODELS | VAES).get(str(folder), Path(folder))
    verify(folder)
    if read_config(folder).get("kind") != "ldm":
        return load_bundle(folder, "vae", packages)
    model = load_bundle(folder, "ldm", packages)
    info = model.info | {"data": model.info.get("vae_data", model.info.get("data", {}))}
    parts, spec = ({"autoencoder": every["autoencoder"]} for every in (model.parts, model.spec))
    return Bundle(folder, "vae", parts, spec, info, model.sha256)


def load_strictly(module: nn.Module, weights: Path) -> None:
    """Load weights; missing or additional ones are an error that names the file and the first of them."""
    tensors = read_weights(weights)
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise UserError(f"{weights} does not fit the network in config.json: {reason}") from error
    for name, value in module.state_dict().items():
        if value.is_floating_point() != tensors[name].is_floating_point():  # PyTorch would cast in silence
            raise UserError(f"{weights} holds {name} as {tensors[name].dtype}, and the network needs {value.dtype}.")
    check = getattr(module, "check_loaded", None)  # of a part whose numbers have a range
    if check is not None:
        check(weights)


def build(spec: Mapping[str, Any], packages: Sequence[str], folder: Path) -> Any:
    """Build one part from its spec: the class alone is looked up, its arguments stay data."""
    arguments = {key: value for key, value in spec.items() if key != "part"}
    try:
        cls = register.resolve(spec["part"], packages)
    except UserError as error:
        raise UserError(f"bundle={folder} {error}") from None
    try:
        return cls(**arguments)
    except UserError as error:
        raise UserError(f"bundle={folder} does not fit this version: {error}") from None
    except Exception as error:  # whatever a class, or a library behind it, makes of arguments that it was not given
        raise UserError(
            f"bundle={folder} was made by another version of {spec['part']} ({error}); train it again."
        ) from error
