"""TextToCXR: the one way to generate, for the command line, the metrics and the app alike."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from cxr_ldm.bundle import load_bundle
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.samplers import dpmpp_2m
from cxr_ldm.diffusion.schedules import trailing
from cxr_ldm.errors import UserError
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.register import named_function
from cxr_ldm.text.attributes import PatientAttributes, with_tokens
from cxr_ldm.text.encoders import TextEncoder
from cxr_ldm.text.reading import Reading, read_prompt

PLAIN = Guidance()


class TextToCXR:
    """Prompts to chest radiographs.

    Args:
        autoencoder: decodes latents.
        denoiser: D(x_t, t) on whitened latents.
        text_encoder: prompts to states.
        whitening: the measured scale of the latents.
        size: height and width of the images, in pixels.
        sha256: identity of the weights, for provenance.
        attributes: view, age and sex as tokens, where the model was trained on them.
        guidance: what the model is sampled with where a call states nothing else.
        findings: names of the findings that its training texts hold; None where the bundle does not say it.

    Example: `TextToCXR.from_bundle("outputs/ldm/NAME/bundle")(["Normal chest X-ray."], seeds=[0])`.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        denoiser: Denoiser,
        text_encoder: TextEncoder,
        whitening: Whitening,
        size: int,
        sha256: str,
        attributes: PatientAttributes | None = None,
        guidance: Guidance = PLAIN,
        findings: Sequence[str] | None = None,
    ) -> None:
        self.autoencoder, self.denoiser = autoencoder.eval(), denoiser.eval()
        self.text_encoder, self.whitening = text_encoder.eval(), whitening.eval()
        self.size, self.sha256, self.guidance, self.findings = size, sha256, guidance, findings
        self.attributes = None if attributes is None else attributes.eval()

    @classmethod
    def from_bundle(cls, folder: Path | str, device: str | None = None, packages: Sequence[str] = ()) -> "TextToCXR":
        """Load a bundle of kind "ldm"; raises UserError as `load_bundle` does.

        Args:
            device: e.g. "cpu" or "cuda"; None takes a GPU where there is one.
            packages: as in `load_bundle`.
        """
        bundle = load_bundle(folder, "ldm", packages)
        parts = bundle.parts
        denoiser = Denoiser(parts["network"], parts["schedule"], parts["scaling"])
        pipeline = cls(
            parts["autoencoder"],
            denoiser,
            parts["text_encoder"],
            parts["whitening"],
            bundle.info["size"],
            bundle.sha256,
            parts.get("attributes"),
            Guidance.of_bundle(bundle.info),
            bundle.info.get("findings"),
        )
        return pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def to(self, device: torch.device | str) -> "TextToCXR":
        """Move every network; returns itself."""
        for module in (self.autoencoder, self.denoiser, self.text_encoder, self.whitening, self.attributes):
            if module is not None:
                channels_last(module).to(device)
        return self

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """L, h, w of one white latent: the live channels alone."""
        side = self.size // self.autoencoder.factor
        return self.whitening.channels, side, side

    @torch.inference_mode()
    def __call__(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int = 20,
        guidance: float | Guidance | None = None,
        sampler: Callable[..., Tensor] = dpmpp_2m,
        times: Callable[..., Tensor] = trailing,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
        patients: Sequence[Mapping[str, Any]] | None = None,
        preview: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Generate one image for each prompt.

        Image i is a function of its prompt and `seeds[i]`, not of its neighbours or the batch size.

        Args:
            prompts: N texts; the empty text is the unconditional model.
            seeds: N seeds.
            steps: sampling steps.
            guidance: scale of classifier-free guidance, 1 being the plain conditional model; or all its settings;
                None takes `self.guidance`, the bundle's.
            sampler: pure sampler, see `cxr_ldm.diffusion.samplers`.
            times: grid of times as a function of the number of steps.
            batch_size: images at once; bounds memory only.
            progress: called after each sampling step with the number of image-steps done in it.
            patients: for each prompt view, age and sex, such as {"view": "AP", "age": 70}; what is missing or None is
                not known. Only for models that were trained on them.
            preview: called after each sampling step with the number of steps done and what the images of the batch in
                work look like so far, the decoded estimate of x_0, `[N,1,H,W]` in [-1, 1]; costs a decoding a step.

        Returns:
            float32 `[N,1,H,W]` in [-1, 1], on the CPU.

        Raises:
            UserError: no prompt, as many seeds as prompts are not given, steps below 1, patients that this model cannot
                take, or guidance or a sampler's option out of range.
        """
        if not prompts or len(prompts) != len(seeds):
            raise UserError(f"{len(prompts)} prompts and {len(seeds)} seeds: one seed is needed for each prompt.")
        if steps < 1:
            raise UserError(f"sampler.steps={steps} must be 1 or more.")
        levels = self.denoiser.schedule.levels
        if levels is not None and steps > levels:
            raise UserError(f"sampler.steps={steps} is more than the {levels} noise levels of this model.")
        if patients is not None and len(patients) != len(prompts):
            raise UserError(f"{len(prompts)} prompts and {len(patients)} patients: one is needed for each prompt.")
        attributes = self.known(patients or [{}] * len(prompts))
        grid, rule = times(steps, self.denoiser.schedule.levels), self.guidance_of(guidance)
        images = []
        for start in range(0, len(prompts), batch_size):
            part = slice(start, start + batch_size)
            images.append(
                self._generate(prompts[part], seeds[part], attributes[part], grid, rule, sampler, progress, preview)
            )
        return torch.cat(images)

    def guidance_of(self, stated: float | Guidance | None) -> Guidance:
        """All settings of the guidance of a call, in which a number is a scale and None states nothing."""
        return stated if isinstance(stated, Guidance) else self.guidance.with_stated(scale=stated)

    def again(self, facts: Mapping[str, Any]) -> Tensor:
        """The image that a provenance describes, drawn again from it alone: float32 `[1,1,H,W]` in [-1, 1], on the CPU.

        Args:
            facts: what stands in an image's JSON, PNG or DICOM file; enhancement, enlargement and watermark came after.

        Raises:
            UserError: another model made the image, or the facts are not complete.
        """
        if facts.get("bundle_sha256") != self.sha256:
            raise UserError(
                f"the image was made by the bundle {facts.get('bundle_sha256')}, and this is {self.sha256}; "
                "load the one that made it."
            )
        try:
            rule = Guidance(
                facts["guidance"],
                tuple(facts.get("guidance_interval", Guidance.interval)),
                facts.get("guidance_rescale", Guidance.rescale),
            )
            return self(
                [facts["prompt"]],
                [facts["seed"]],
                steps=facts["steps"],
                guidance=rule,
                sampler=partial(named_function(facts["sampler"]), **facts.get("sampler_options", {})),
                times=partial(named_function(facts["times"]), **facts.get("times_options", {})),
                patients=[facts["patient"]] if "patient" in facts else None,
            )
        except KeyError as error:
            raise UserError(f"the provenance has no {error}; an earlier version wrote it.") from None

    def reading(self, prompt: str) -> Reading:
        """What the model makes of a prompt: what it cuts off and what it does not know."""
        return read_prompt(self.text_encoder, prompt, self.findings)

    def known(self, patients: Sequence[Mapping[str, Any]]) -> Tensor:
        """Attributes `[N,K]` of patients; K is 0 for a model that takes none."""
        if self.attributes is not None:
            return self.attributes.encode(patients)
        stated = sorted({name for patient in patients for name, value in patient.items() if value is not None})
        if stated:
            raise UserError(f"patient.{stated[0]} is set, but this model was trained without; use attributes=patient.")
        return torch.zeros(len(patients), 0)

    def condition(self, prompts: Sequence[str], attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Context `[N,L,D]` and mask `[N,L]` of prompts and the attributes `[N,K]` of their patients."""
        states, mask = self.text_encoder.encode(prompts)
        if self.attributes is None:
            return states, mask
        return with_tokens(self.attributes(attributes.to(states.device)), states, mask)

    def _generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        attributes: Tensor,
        times: Tensor,
        guidance: Guidance,
        sampler: Callable[..., Tensor],
        progress: Callable[[int], None] | None,
        preview: Callable[[int, Tensor], None] | None,
    ) -> Tensor:
        device = self.whitening.mean.device
        unknown = torch.full_like(attributes[:1], torch.nan)
        denoise = guided(self.denoiser, *self.condition(prompts, attributes), *self.condition([""], unknown), guidance)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]

        def noise(step: int = 0) -> Tensor:
            return normal(generators, self.latent_shape).to(device)

        estimates: list[Tensor] = []

        def watched(x: Tensor, t: Tensor) -> Tensor:
            estimates[:] = [denoise(x, t)]
            return estimates[0]

        def report(step: int) -> None:
            if progress is not None:
                progress(len(prompts))
            if preview is not None:
                preview(step, self.decode(estimates[0]))

        return self.decode(sampler(watched, noise(), times, self.denoiser.schedule, noise=noise, progress=report))

    def decode(self, latents: Tensor) -> Tensor:
        """White latents `[N,C,h,w]` -> pixels float32 `[N,1,H,W]` in [-1, 1], on the CPU."""
        return self.autoencoder.decode(self.whitening.restore(latents)).float().clamp(-1.0, 1.0).cpu()


def normal(generators: Sequence[Generator], shape: tuple[int, ...]) -> Tensor:
    """Standard normal `[N,*shape]`, row i from generator i: white latents and this noise are on one scale."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])
