"""The compositions behind train.py, evaluate.py and sample.py: config in, objects out."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cxr_ldm import artifacts, naming, runs_copies, training
from cxr_ldm.bundle import Bundle, load_bundle, load_vae, save_bundle
from cxr_ldm.checkpoints import read_checkpoint
from cxr_ldm.compose import (
    check_values,
    choice,
    data_name,
    device_of,
    ending,
    guidance_of,
    overrides,
    plain,
    prepared_data,
    run_folder,
    stage_of,
)
from cxr_ldm.data.captions import Wording
from cxr_ldm.data.datamodule import Crop, ImageDataModule
from cxr_ldm.data.latents import LatentDataModule
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.transforms import Augment
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.loss import DiffusionLoss
from cxr_ldm.errors import UserError
from cxr_ldm.loggers import check_logger
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last, parameter_count
from cxr_ldm.networks.whitening import Whitening, live_channels, measure, signal
from cxr_ldm.register import named
from cxr_ldm.stages.cache import moments_of, text_table
from cxr_ldm.stages.ldm import LatentDiffusionStage
from cxr_ldm.stages.vae import DATA_RANGE, VAEStage
from cxr_ldm.text.attributes import PatientAttributes
from cxr_ldm.text.encoders import TextEncoder, counts
from cxr_ldm.text.reading import nameable

FAINT = 0.5  # share of signal of the best latent channel, below which a VAE is hardly trained
SHORTCUT_IMAGES = 1000  # training images whose principal components a VAE with a shortcut starts from


def train(cfg: DictConfig) -> None:
    """python train.py"""
    check_values(cfg)
    check_logger(cfg.logger)
    training.check_backend(cfg.trainer.compile)
    training.check_graphs(cfg.trainer, cfg.training.ldm)
    from cxr_ldm.runs_classifier import train_classifier

    stage = stage_of(cfg)
    if cfg.split != "val":
        raise UserError(f"split={cfg.split}: train.py measures on split=val; evaluate.py opens the test split.")
    runs_copies.check(cfg, stage)
    folder = {"vae": train_vae, "ldm": train_ldm, "classifier": train_classifier}[stage](cfg)
    if cfg.evaluate:
        evaluate_bundle(cfg, folder / "bundle", stage)


def evaluate(cfg: DictConfig) -> None:
    """python evaluate.py"""
    check_values(cfg)
    check_logger(cfg.logger)
    stage = stage_of(cfg)
    if cfg.compare is not None:
        compare_bundles(cfg, stage)
        return
    evaluate_bundle(
        cfg, Path(cfg.bundle or naming.newest_bundle(Path(cfg.paths.outputs), stage, data_name(cfg))), stage
    )


def evaluate_bundle(cfg: DictConfig, folder: Path, stage: str) -> None:
    """Evaluate the bundle in `folder` on this command's data."""
    from cxr_ldm.metrics import evaluate as evaluation

    evaluation.evaluate(cfg, load_bundle(folder, stage, cfg.bundle_packages), prepared_data(cfg))


def compare_bundles(cfg: DictConfig, stage: str) -> None:
    """Measure the two bundles of `compare=` against each other on this command's data."""
    from cxr_ldm.metrics import evaluate as evaluation

    folders = list(cfg.compare) if OmegaConf.is_list(cfg.compare) else [cfg.compare]
    if len(folders) != 2:
        raise UserError(f"compare={cfg.compare} must name two bundles: compare=[FOLDER,FOLDER].")
    first, second = (load_bundle(folder, stage, cfg.bundle_packages) for folder in folders)
    evaluation.compare(cfg, first, second, prepared_data(cfg))


def sample(cfg: DictConfig, prompt: str | None = None) -> None:
    """python sample.py"""
    from cxr_ldm.sampling import sample as generate

    check_values(cfg)
    folder = naming.sampling_bundle(cfg.bundle, Path(cfg.paths.outputs), data_name(cfg), cfg.data.kind)
    generate(cfg, folder, cfg.prompt if prompt is None else prompt)


def train_vae(cfg: DictConfig) -> Path:
    """python train.py stage=vae; the run's folder."""
    prepared, recipe = prepared_data(cfg), cfg.training.vae
    check_split_sizes(prepared)
    autoencoder = instantiate(cfg.vae.network)
    autoencoder.encode(prepared.pixels(prepared.rows("val")[:1]))  # refuses a size that the levels do not divide
    crop_of(recipe, prepared, cfg.seed)
    settings = common_settings(cfg, prepared, recipe) | {"vae": plain(cfg.vae)}
    source = load_vae(cfg.vae_bundle, cfg.bundle_packages) if cfg.vae_bundle else None
    if source is not None:
        check_same_network(cfg, source)
        settings["decoder_of"] = source.sha256
    folder = run_folder(cfg, "vae", choice("vae"), prepared, settings)
    facts = {"data": prepared.name, "prepared": str(prepared.folder)}
    with training.begun(folder, settings, cfg, overrides(), **facts) as unfinished:
        if unfinished:
            print(f"VAE: {parameter_count(autoencoder) / 1e6:.2f}M parameters, {autoencoder.factor} times smaller")
            torch.manual_seed(cfg.seed)
            autoencoder, adversary = instantiate(cfg.vae.network), instantiate(cfg.vae.adversary)
            autoencoder.fit_shortcut(prepared.pixels(training.spread(prepared.rows("train"), SHORTCUT_IMAGES)))
            if source is not None:
                go_on_from(source, autoencoder, adversary)
            module = VAEStage(
                autoencoder,
                instantiate(recipe.optimizer),
                instantiate(cfg.vae.reconstruction),
                cfg.vae.kl_weight,
                adversary,
                recipe.warmup_steps,
                recipe.last_rate,
                cfg.seed,
                recipe.latent_noise,
            )
            values = fit_vae(cfg, module, prepared, folder)
            if not module.trainer.is_global_zero:
                return folder  # of several processes of a run, the first one writes
            specs = {"autoencoder": plain(cfg.vae.network)}
            save_bundle(folder / "bundle", "vae", specs, {"autoencoder": autoencoder}, bundle_info(prepared, folder))
            stated = {"data_range": DATA_RANGE, "split": "val", "reconstruction": "from the posterior's mean, clamped"}
            training.write_metrics(folder, values, len(prepared.rows("val")), cfg, stated)
            training.finish(folder, settings, **facts, **training.cost(module.trainer))
    ending(folder, "bundle", "samples", "metrics.json")
    return folder


def check_same_network(cfg: DictConfig, source: Bundle) -> None:
    """Refuse to go on from a VAE of another architecture."""
    if source.spec["autoencoder"] != named(plain(cfg.vae.network)):
        raise UserError(
            f"vae_bundle={cfg.vae_bundle} holds another network than vae.network; choose the vae= it was trained with."
        )


def go_on_from(source: Bundle, autoencoder: Autoencoder, adversary: torch.nn.Module | None) -> None:
    """Take over the weights of a VAE; only its decoder trains from here on.

    Its discriminator is taken over from the checkpoint of its run, where that still lies beside the bundle: beside a
    trained decoder a new one would know nothing and spoil it first.
    """
    autoencoder.load_state_dict(source.parts["autoencoder"].state_dict())
    autoencoder.encoding().requires_grad_(False)
    checkpoint = source.folder.parent / "checkpoints" / "last.ckpt"
    if adversary is None or not checkpoint.exists():
        return
    weights = read_checkpoint(checkpoint)["state_dict"]
    learnt = {name.removeprefix("adversary."): w for name, w in weights.items() if name.startswith("adversary.")}
    if {name: w.shape for name, w in learnt.items()} == {n: w.shape for n, w in adversary.state_dict().items()}:
        adversary.load_state_dict(learnt)
        print(f"goes on from the decoder in {source.folder}, and from its discriminator")


def crop_of(recipe: DictConfig, prepared: Prepared, seed: int) -> Crop | None:
    """What of each training image a VAE sees; raises UserError where that cannot be."""
    side = recipe.crop.side
    if side is None:
        return None
    if not 0 < side <= prepared.size:
        raise UserError(f"training.vae.crop.side={side} must be at most {prepared.size}, the side of the images.")
    return Crop(side, round(recipe.images * (1 - recipe.crop.whole)), seed)


def fit_vae(cfg: DictConfig, module: VAEStage, prepared: Prepared, folder: Path) -> Mapping[str, float]:
    """Fit; the trained module's last validation."""
    recipe = cfg.training.vae
    changes = plain(recipe.augment)
    augment = Augment(**changes, seed=cfg.seed) if changes.pop("enabled") else None
    stretch, *_ = training.periods(recipe)
    crop = crop_of(recipe, prepared, cfg.seed)
    data = ImageDataModule(prepared, recipe.batch_size, stretch, cfg.seed, recipe.workers, augment, crop=crop)
    pixels = prepared.pixels(training.spread(prepared.rows("val"), 8))

    def draw(module: Any) -> torch.Tensor:
        return torch.cat([pixels, module.reconstruct(pixels.to(module.device)).cpu()])

    captions = ["radiograph"] * len(pixels) + ["reconstruction"] * len(pixels)
    grid = training.ImageGrid(draw, folder / "samples", len(pixels), captions)
    monitor = ("val/ssim", "max")
    fitter = training.fit(module, data, folder, recipe, cfg.trainer, monitor, grid, instantiate(cfg.logger), cfg.seed)
    (values,) = fitter.validate(module, data, verbose=False)
    return values


def train_ldm(cfg: DictConfig) -> Path:
    """python train.py stage=ldm; the run's folder."""
    prepared, recipe = prepared_data(cfg), cfg.training.ldm
    check_split_sizes(prepared)
    chosen = any(word.startswith(("vae=", "vae.")) for word in overrides())  # a VAE that was asked for must be that one
    needed = {"vae": plain(cfg.vae)} if chosen else None
    newest = cfg.vae_bundle or naming.newest_bundle(Path(cfg.paths.outputs), "vae", prepared.name, needed)
    vae = load_vae(newest, cfg.bundle_packages)
    if vae.info["size"] not in (None, prepared.size):  # a published one is of no size
        raise UserError(
            f"{vae.folder} was trained at {vae.info['size']} pixels and {prepared.folder} has {prepared.size}; "
            "train a VAE at this size or prepare the data at that one."
        )
    settings = common_settings(cfg, prepared, recipe) | {
        "vae_bundle": vae.sha256,
        **{group: plain(cfg[group]) for group in ("denoiser", "text_encoder", "diffusion")},
        **runs_copies.stated(plain(recipe), cfg.stop),
    }
    if cfg.get("attributes"):
        settings["attributes"] = plain(cfg.attributes)
    folder = run_folder(cfg, "ldm", choice("denoiser"), prepared, settings)
    facts = {"data": prepared.name, "prepared": str(prepared.folder)}
    torch.manual_seed(cfg.seed)
    learnt = folder / "tokenizer.json"  # two learnings differ in ties, so a resumed run goes on with its own
    definition = learnt.read_text(encoding="utf-8") if learnt.exists() else None
    worded = worded_texts(prepared, recipe)
    reports = [text for row in prepared.rows("train") for text in dict.fromkeys(worded[row])]
    encoder = instantiate(cfg.text_encoder, texts=reports, definition=definition)
    check_denoiser(cfg, vae, prepared, encoder)
    with training.begun(folder, settings, cfg, overrides(), **facts) as unfinished:
        if unfinished:
            artifacts.write_text(learnt, encoder.tokenizer.definition)
            module, specs, values = fit_ldm(cfg, vae, prepared, worded, encoder, folder)
            if not module.trainer.is_global_zero:
                return folder  # as in train_vae
            parts = {
                "autoencoder": vae.parts["autoencoder"],
                "network": module.denoiser.network,
                "schedule": module.denoiser.schedule,
                "scaling": module.denoiser.scaling,
                "text_encoder": encoder,
                "whitening": module.whitening,
            }
            if module.attributes is not None:
                parts["attributes"] = module.attributes
            info = bundle_info(prepared, folder) | {"guidance": Guidance().settings() | {"chosen": "default"}}
            info["vae_data"] = vae.info["data"]
            info["findings"] = nameable(reports, prepared.labels("train"))
            save_bundle(folder / "bundle", "ldm", specs, parts, info)
            stated = {
                "split": "val",
                "noise_levels": plain(cfg.diffusion.noise_levels),
                "noise": "fixed for each image",
            }
            training.write_metrics(folder, values, len(prepared.rows("val")), cfg, stated)
            training.finish(folder, settings, **facts, **training.cost(module.trainer))
    ending(folder, "bundle", "samples", "metrics.json")
    return folder


def fit_ldm(
    cfg: DictConfig,
    vae: Bundle,
    prepared: Prepared,
    worded: Sequence[Sequence[str]],
    encoder: TextEncoder,
    folder: Path,
) -> tuple[LatentDiffusionStage, dict[str, Any], Mapping[str, float]]:
    """Fill the caches, whiten, fit; the trained module, the specs of its bundle, and its last validation."""
    recipe, cache = cfg.training.ldm, Path(cfg.paths.outputs) / "cache"
    unfreezing = instantiate(cfg.text_encoder.get("unfreeze"))
    device = device_of(cfg)
    autoencoder = vae.parts["autoencoder"]
    moments = moments_of(
        autoencoder, prepared, cache, {"data": prepared.fingerprint, "vae": vae.sha256}, device, cfg.verify
    )
    # not the config: when layers are freed, and how fast they train, changes nothing that is cached
    made_by = {"text_encoder": encoder.arguments, "weights": encoder.frozen_sha256()}
    table = text_table(encoder, worded, cache, made_by, device, cfg.verify)
    table.whole = cfg.trainer.graphs
    whitening = whitening_of(torch.from_numpy(moments[prepared.rows("train")]), recipe.live_signal)

    denoiser, loss = objective(cfg, whitening.channels, encoder)
    attributes = patient_attributes(cfg, encoder)
    module = LatentDiffusionStage(
        denoiser,
        encoder,
        whitening,
        loss,
        instantiate(recipe.optimizer),
        recipe.condition_dropout,
        recipe.warmup_steps,
        recipe.last_rate,
        cfg.seed,
        attributes=attributes,
        unfreezing=unfreezing,
    )
    texts = [text for text, *_ in worded]
    print(
        f"denoiser: {parameter_count(denoiser) / 1e6:.2f}M parameters; text encoder: {counts(encoder, unfreezing)}; "
        f"{encoder.tokenizer.cut(texts)} of {len(texts)} texts are longer than {encoder.tokenizer.length} tokens and "
        "were cut at the end of a sentence"
    )
    stretch, *_ = training.periods(recipe)
    people = None if attributes is None else attributes.encode(prepared.people(np.arange(len(prepared))))
    data = LatentDataModule(prepared, moments, table, recipe.batch_size, stretch, cfg.seed, people, recipe.workers)
    grid = training.prompt_grid(autoencoder, prepared, folder / "samples", guidance_of(cfg, Guidance()))
    monitor, copies = ("val/loss", "min"), runs_copies.copies_of(cfg, autoencoder, prepared, folder)
    fitter = training.fit(
        module, data, folder, recipe, cfg.trainer, monitor, grid, instantiate(cfg.logger), cfg.seed, copies
    )
    (values,) = fitter.validate(module, data, verbose=False)
    specs = {
        "autoencoder": vae.spec["autoencoder"],
        "network": plain(cfg.denoiser) | shapes(whitening.channels, encoder),
        "schedule": plain(cfg.diffusion.schedule),
        "scaling": plain(cfg.diffusion.scaling),
        "text_encoder": {"part": "TextEncoder", **encoder.arguments},
        "whitening": {"part": "Whitening", **whitening.arguments},
    }
    if attributes is not None:
        specs["attributes"] = {"part": "PatientAttributes", **attributes.arguments}
    return module, specs, values


def whitening_of(moments: torch.Tensor, threshold: float) -> Whitening:
    """The measured scale of the live channels from training moments `[N,2C,h,w]`; prints which are live."""
    shares = signal(moments)
    live = live_channels(shares, threshold)
    listed = ", ".join(f"{share:.2f}" for share in shares)
    print(f"latents: {len(live)} of {len(shares)} channels are diffused (shares of signal: {listed})")
    if max(shares) < FAINT:
        warnings.warn(
            f"no latent channel has a share of signal above {max(shares):.2f}: this VAE says little about its images, "
            "and no diffusion model can say more; train it longer or with a smaller vae.kl_weight.",
            stacklevel=2,
        )
    return Whitening(*measure(moments), live, threshold)


def worded_texts(prepared: Prepared, recipe: DictConfig) -> list[list[str]]:
    """The wordings of every prepared image's text that training draws from."""
    rows = np.arange(len(prepared))
    return Wording(**plain(recipe.texts)).of_all(prepared.texts(rows), prepared.ids(rows))


def objective(cfg: DictConfig, channels: int, encoder: TextEncoder) -> tuple[Denoiser, DiffusionLoss]:
    """The denoiser of `channels` latent channels, and its loss; raises UserError where the two cannot work together."""
    network = channels_last(instantiate(cfg.denoiser, **shapes(channels, encoder)))
    denoiser = Denoiser(network, instantiate(cfg.diffusion.schedule), instantiate(cfg.diffusion.scaling))
    loss = DiffusionLoss(instantiate(cfg.diffusion.noise_levels), instantiate(cfg.diffusion.weighting))
    loss.check(denoiser)
    return denoiser, loss


def patient_attributes(cfg: DictConfig, encoder: TextEncoder) -> PatientAttributes | None:
    """The condition beside the text, where one is chosen."""
    return instantiate(cfg.attributes, width=encoder.width) if cfg.get("attributes") else None


def common_settings(cfg: DictConfig, prepared: Prepared, recipe: DictConfig) -> dict[str, Any]:
    """What decides the result of every training run."""
    return {
        "data": prepared.fingerprint,
        "training": {key: value for key, value in plain(recipe).items() if key not in ("workers", "copies")},
        "trainer": {key: cfg.trainer[key] for key in ("precision", "gradient_clip", "devices")},
        "seed": cfg.seed,
    }


def shapes(channels: int, encoder: TextEncoder) -> dict[str, int]:
    """The two numbers that a denoiser takes from what it is built on."""
    return {"latent_channels": channels, "context_width": encoder.width}


def check_denoiser(cfg: DictConfig, vae: Bundle, prepared: Prepared, encoder: TextEncoder) -> None:
    """Build the denoiser and call it once, so that what cannot work is refused before anything is written."""
    autoencoder = vae.parts["autoencoder"]
    side, channels = prepared.size // autoencoder.factor, autoencoder.latent_channels  # live ones are not known yet
    denoiser, _ = objective(cfg, channels, encoder)
    patient_attributes(cfg, encoder)
    with torch.no_grad():
        states, mask = encoder.encode([""])
        denoiser.network(torch.zeros(1, channels, side, side), torch.zeros(1), states, mask)


def check_split_sizes(prepared: Prepared) -> None:
    """Refuse collections that cannot be trained on, validated and tested; a packed one left its test images behind."""
    for split in ("train", "val") if prepared.packed else ("train", "val", "test"):
        if len(prepared.rows(split)) == 0:
            raise UserError(
                f"{prepared.folder} has no image in split {split}; take more patients, or larger data.splits."
            )


def bundle_info(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Facts about a run that travel with its bundle."""
    return {
        "run": folder.name,
        "size": prepared.size,
        "data": {
            "name": prepared.name,
            "kind": prepared.kind,
            "fingerprint": prepared.fingerprint,
            "sources": prepared.sources(),
        },
        "settings": artifacts.read_json(folder / artifacts.RECORD)["settings"],
    }
