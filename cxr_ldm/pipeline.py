"""TextToCXR: the one way to generate, for the command line, the metrics and the app alike."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Generator, Tensor, nn

from cxr_ldm import naming
from cxr_ldm.bundle import Bundle, load_bundle
from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.editing import Bound, inverted, noised, shortened
from cxr_ldm.diffusion.flow_map import FlowMap, denoiser_of
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.samplers import euler
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.editing import Original, pasted, was_edited
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.networks import compiled
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.blocks import channels_last, texts_once
from cxr_ldm.networks.compiled import CompiledDecoder, CompiledDenoiser, check_backend
from cxr_ldm.networks.inpainting import Filling, InpaintUNet
from cxr_ldm.networks.precision import cast, in_precision, resolved
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.ranges import Precision
from cxr_ldm.text.conditioner import Conditioner
from cxr_ldm.text.reading import Reading, read_prompt

Progress = Callable[[int], None]
Preview = Callable[[int, Tensor], None]
Patients = Sequence[Mapping[str, Any]]
Output = Literal["pt", "np", "pil"]

DECODED = 8 * 256**2  # pixels at once
PLAIN, USUAL = Guidance(), Sampling()


class TextToCXR:
    """Prompts to chest radiographs.

    Args:
        autoencoder: decodes latents.
        denoiser: D(x_t, t) on whitened latents.
        conditioner: prompts, and patients where the model was trained on them, to what the denoiser attends to.
        whitening: the measured scale of the latents.
        size: height and width of the images, in pixels.
        sha256: identity of the weights, for provenance.
        guidance: what the model is sampled with where a call states nothing else.
        findings: names of the findings that its training texts hold; None where the bundle does not say it.
        data: name of the collection that it was trained on.
        sampling: sampler and steps where a call states nothing else.

    Example: `TextToCXR.from_bundle("chest256")("Pleural effusion.", seeds=0, output="pil")[0].save("image.png")`.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        denoiser: Denoiser,
        conditioner: Conditioner,
        whitening: Whitening,
        size: int,
        sha256: str,
        guidance: Guidance = PLAIN,
        findings: Sequence[str] | None = None,
        data: str | None = None,
        sampling: Sampling = USUAL,
    ) -> None:
        self.autoencoder, self.denoiser, self.conditioner, self.whitening = (
            autoencoder,
            denoiser,
            conditioner,
            whitening,
        )
        self.size, self.sha256, self.findings, self.data = size, sha256, findings, data
        self.guidance, self.sampling = guidance, sampling
        self.others: dict[Precision, tuple[Denoiser, Any]] = {}  # copies, made where they are first drawn with
        self.backend: str | None = None
        for module in (denoiser, whitening, *self.parts().values()):
            module.eval()

    @classmethod
    def from_bundle(
        cls,
        bundle: Path | str | None = None,
        device: str | None = None,
        packages: Sequence[str] = (),
        outputs: Path | str = "outputs",
    ) -> "TextToCXR":
        """Load a trained model.

        Args:
            bundle: a bundle's folder, a run's folder or name, or "chest256" or "phantom" of the package; None takes the
                newest run, or chest256 where there is none, as `sample.py` does.
            device: e.g. "cpu" or "cuda"; None takes a GPU where there is one.
            packages: as in `load_bundle`.
            outputs: where runs stand.

        Raises:
            UserError: there is no such bundle, or as `load_bundle`.
        """
        chosen = naming.model_bundle(None if bundle is None else str(bundle), Path(outputs))
        return cls.of(load_bundle(chosen.folder, "ldm", packages), device)

    @classmethod
    def of(cls, bundle: Bundle, device: str | None = None) -> "TextToCXR":
        """A loaded bundle of kind "ldm"; `device` is as in `from_bundle`."""
        parts = bundle.parts
        denoiser = denoiser_of(parts["network"], parts["schedule"], parts["scaling"])
        pipeline = cls(
            parts["autoencoder"],
            denoiser,
            Conditioner(parts["text_encoder"], parts.get("attributes")),
            parts["whitening"],
            bundle.info["size"],
            bundle.sha256,
            Guidance.of_bundle(bundle.info),
            bundle.info.get("findings"),
            bundle.info.get("data", {}).get("name"),
            Sampling.of_bundle(bundle.info),
        )
        return pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def to(self, device: torch.device | str) -> "TextToCXR":
        """Move every network; returns itself."""
        for module in (self.denoiser, self.whitening, *self.parts().values()):
            channels_last(module).to(device)
        self.others.clear()
        return self

    def networks(self, precision: Precision) -> tuple[Denoiser, Autoencoder]:
        """Denoiser and autoencoder in a number format; those in float32 are the model's own, but for OpenVINO's."""
        if precision == "32" and self.backend != compiled.NAME:
            return self.denoiser, self.autoencoder
        if precision not in self.others:
            own, autoencoder = self.denoiser, self.autoencoder
            if self.backend == compiled.NAME:
                network: nn.Module = CompiledDenoiser(own.network, precision)
                decoder: Any = CompiledDecoder(autoencoder, precision)
            else:
                network, decoder = in_precision(own.network, precision), in_precision(autoencoder, precision)
                if self.backend is not None:
                    network.compile(backend=self.backend)
            self.others[precision] = denoiser_of(network, own.schedule, own.scaling).eval(), decoder
        return self.others[precision]

    def compile(self, backend: str = "inductor") -> "TextToCXR":
        """Draw by compiled networks from now on; returns itself.

        Args:
            backend: "openvino", for many images one at a time on a processor: the first of each batch size takes some
                seconds more. Or one of torch.compile: the first image of each batch size takes minutes.

        Raises:
            UserError: there is no such backend, or OpenVINO is not installed or the model not on the processor.
        """
        check_backend(backend, self.device)
        if backend != compiled.NAME:
            self.denoiser.network.compile(backend=backend)  # in place
        self.backend = backend
        self.others.clear()
        return self

    def uncompiled(self) -> "TextToCXR":
        """The same networks as PyTorch runs them, one after another, for who looks at what happens within."""
        found = copy.copy(self)
        found.backend, found.others = None, {}
        return found

    def compiled_by(self) -> dict[str, str]:
        """For records: compiled networks give pixels of their own, in the last digits; nothing where none is."""
        return {} if self.backend is None else {"compile": self.backend}

    def parts(self) -> dict[str, nn.Module]:
        """The networks by their names in the bundle."""
        found = {
            "text_encoder": self.conditioner.text_encoder,
            "attributes": self.conditioner.attributes,
            "network": self.denoiser.network,
            "autoencoder": self.autoencoder,
        }
        return {name: part for name, part in found.items() if part is not None}

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.whitening.mean.device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """L, h, w of one white latent: the live channels alone."""
        side = self.size // self.autoencoder.factor
        return self.whitening.channels, side, side

    def __repr__(self) -> str:
        def millions(module: nn.Module) -> str:
            return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.1f}M"

        sizes = ", ".join(f"{name} {millions(part)}" for name, part in self.parts().items())
        known = "not stated" if self.findings is None else ", ".join(self.findings) or "none"
        return "\n".join(
            [
                f"TextToCXR, {self.size} × {self.size} pixels, trained on {self.data or 'data not stated'}",
                f"  parameters: {sizes}; on {self.device}",
                f"  recommended guidance: {self.guidance.scale:g}; {self.sampling.said()}",
                f"  findings it knows: {known}",
            ]
        )

    def __call__(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int] | None = None,
        steps: int | None = None,
        guidance: float | Guidance | None = None,
        sampler: str | Callable[..., Tensor] | None = None,
        times: Callable[..., Tensor] | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
        patients: Patients | None = None,
        preview: Preview | None = None,
        n: int = 1,
        generator: torch.Generator | None = None,
        output: Output = "pt",
        precision: Precision | Literal["auto"] | None = None,
        original: Original | None = None,
    ) -> Any:
        """Generate `n` images for each prompt, those of one prompt behind each other.

        Args:
            prompts: a text or P of them; the empty text is the unconditional model.
            seeds: P * n of them; or one number, from which the images of each prompt count up; None draws them.
            steps: sampling steps; None takes those of the sampler in conf/sampler, or the model's where it names both.
            guidance: scale of classifier-free guidance, 1 being the plain conditional model; or all its settings;
                None takes `self.guidance`, the bundle's.
            sampler: a name of conf/sampler, such as "ddim"; or a pure sampler, see `cxr_ldm.diffusion.samplers`; None
                takes the model's, `self.sampling`.
            times: grid of times as a function of the number of steps; None takes the sampler's.
            batch_size, progress, preview: as in `draw`.
            patients: as in `draw`, one for each prompt.
            n: images of each prompt.
            generator: draws the seeds where none are given; None takes torch's own, which `torch.manual_seed` sets.
            output: "pt" for float32 `[P*n,1,H,W]` in [-1, 1] on the CPU; "np" for float32 `[P*n,H,W]` in [0, 1]; "pil"
                for a list of grey pictures.
            precision: "32", "bf16", or "auto" for bf16 where the processor has it; None takes 32.
            original: an image that is drawn anew, whole or in part, and serves every prompt.

        Raises:
            UserError: an unknown sampler or output, n below 1, or as `draw`.
        """
        texts = texts_of(prompts)
        if output not in get_args(Output):
            raise UserError(f"output={output} is not one of {', '.join(get_args(Output))}.")
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise UserError(f"n={n} must be a whole number, 1 or more.")
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} must be 1 or more.")
        if sampler is None:
            sampling = self.sampling
        else:
            sampling = Sampling.preset(sampler) if isinstance(sampler, str) else Sampling(sampler=sampler)
        rule, grid = self.guidance_of(guidance), times or sampling.times
        sampling = replace(sampling, steps=sampling.steps if steps is None else steps, guidance=rule, times=grid)
        if precision is not None:
            sampling = replace(sampling, precision=resolved(precision, self.device))
        chosen = seeds_of(seeds, texts, n, generator)
        repeated = [text for text in texts for _ in range(n)]
        whose = None if patients is None else [patient for patient in patients for _ in range(n)]
        images = self.draw(repeated, chosen, sampling, whose, batch_size, progress, preview, original)
        if output == "pt":
            return images
        if output == "np":
            return ((images[:, 0] + 1) / 2).numpy()
        return [Image.fromarray(picture) for picture in to_uint8(images[:, 0])]

    @torch.inference_mode()
    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling,
        patients: Patients | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
        preview: Preview | None = None,
        original: Original | None = None,
    ) -> Tensor:
        """Generate one image for each prompt.

        Image i is a function of its prompt and `seeds[i]`, not of its neighbours or the batch size.

        Args:
            prompts: N texts; the empty text is the unconditional model.
            seeds: N seeds.
            sampling: steps, guidance, sampler and times.
            patients: for each prompt view, age and sex, such as {"view": "AP", "age": 70}; what is missing or None is
                not known. Only for models that were trained on them.
            batch_size: images at once; bounds memory only.
            progress: called after each sampling step with the number of image-steps done in it.
            preview: called after each sampling step with the number of steps done and what the images of the batch in
                work look like so far, the decoded estimate of x_0, `[N,1,H,W]` in [-1, 1]; costs a decoding a step.
            original: images to draw from, one for each prompt or one for all; see `cxr_ldm.editing`. Where they are
                followed back to their noise, the sampler is `euler`, whose steps these are.

        Returns:
            float32 `[N,1,H,W]` in [-1, 1], on the CPU.

        Raises:
            UserError: no prompt, as many seeds as prompts are not given, more steps than noise levels, patients that
                this model cannot take, originals of another number or size, or guidance or a sampler's option out of
                range.
        """
        levels = self.denoiser.schedule.levels
        self.check(prompts, seeds, sampling, patients, original)
        attributes = self.conditioner.patients(patients or [{}] * len(prompts))
        rule, times = sampling.of_model(self.guidance).rule, sampling.times(sampling.steps, levels)
        if original is not None:
            times = shortened(times, original.strength, levels)
        device, unknown = self.device, torch.full_like(attributes[:1], torch.nan)
        denoiser, _ = self.networks(sampling.precision)
        images = []
        for start in range(0, len(prompts), batch_size):
            part = slice(start, start + batch_size)
            generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds[part]]

            def noise(step: int = 0, generators: Sequence[Generator] = generators) -> Tensor:
                return normal(generators, self.latent_shape).to(device)

            def report(step: int, x: Tensor, t: Tensor, x0: Tensor) -> None:
                if progress is not None:
                    progress(len(x))
                if preview is not None:
                    preview(step, self.decode(x0, sampling.precision))

            text = self.read(prompts[part], attributes[part], sampling.precision)
            null = self.read([rule.negative], unknown, sampling.precision)
            x, sampler, bound, given = noise(), sampling.sampler, Bound(denoiser), None
            if original is not None:
                given = original.part(part)
                bound = self.bound(denoiser, given, len(x))
                x = noised(bound.known, x, times[0].to(x), denoiser.schedule)
            if given is not None and given.source is not None:
                source, sampler = self.read(given.source, attributes[part], sampling.precision), euler
                plain = bound.held(guided(bound.denoiser, *source, *null, 1.0))
                x = inverted(plain, bound.known, times, denoiser.schedule)
            denoise = bound.held(guided(bound.denoiser, *text, *null, rule))
            # a compiled network would be compiled anew for each text that it knows
            with texts_once(denoiser.network) if self.backend is None else nullcontext():
                latents = sampler(denoise, x, times, denoiser.schedule, noise=noise, report=report)
            drawn = self.decode(latents, sampling.precision)
            if given is not None and given.hole is not None:
                # the decoder looks far, so a change within the hole shows outside it, too
                drawn = pasted(drawn, self.decode(bound.known, sampling.precision), given.hole)
            images.append(drawn)
        found = torch.cat(images)
        if not torch.isfinite(found).all():
            raise UserError(
                "the model's images are not finite: its weights, the guidance scale or the image that it draws from "
                "are beyond what its number format holds."
            )
        return found

    def check(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling,
        patients: Patients | None,
        original: Original | None,
    ) -> None:
        """Raises UserError where what `draw` is asked for does not fit together, or not this model."""
        levels, count = self.denoiser.schedule.levels, len(texts_of(prompts))
        if not prompts or count != len(seeds):
            raise UserError(f"{count} prompts and {len(seeds)} seeds: one seed is needed for each prompt.")
        if any(isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**63 for seed in seeds):
            raise UserError(f"seeds={list(seeds)[:4]} must be whole numbers from 0 on.")
        if isinstance(sampling.steps, bool) or not isinstance(sampling.steps, int) or sampling.steps < 1:
            raise UserError(f"sampler.steps={sampling.steps} must be a whole number, 1 or more.")
        if levels is not None and sampling.steps > levels:
            raise UserError(f"sampler.steps={sampling.steps} is more than the {levels} noise levels of this model.")
        if patients is not None and len(patients) != count:
            raise UserError(f"{count} prompts and {len(patients)} patients: one is needed for each prompt.")
        if original is None:
            return
        original.check(count)
        if original.source is not None and isinstance(self.denoiser, FlowMap):
            raise UserError("a student's steps cannot be followed back; take its teacher where source= is given.")

    def read(self, texts: Sequence[str], attributes: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
        """States `[N,L,D]` of texts and of the attributes of their patients, in a number format, and their mask."""
        states, mask = self.conditioner.of_prompts(texts, attributes)
        return cast(states, precision), mask

    def bound(self, denoiser: Denoiser, original: Original, count: int) -> Bound:
        """The denoiser for `count` images that are drawn from given ones, and what it is held to."""
        known = self.encode(original.pixels).expand(count, -1, -1, -1)
        hole = original.latent_hole(self.autoencoder.factor)
        if hole is None:
            return Bound(denoiser, known)
        hole = hole.to(known).expand(count, -1, -1, -1)
        if self.fills:
            denoiser = Denoiser(Filling(denoiser.network, known, hole), denoiser.schedule, denoiser.scaling)
        return Bound(denoiser.eval(), known, hole)

    @property
    def fills(self) -> bool:
        """Whether the model learnt to fill holes; another is held to what is known, which it was never shown."""
        return isinstance(self.denoiser.network, InpaintUNet)

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
        if was_edited(facts):
            raise UserError("the image was drawn from another, which its provenance does not hold.")
        try:
            sampling = Sampling.of_facts(facts)
            patients = [facts["patient"]] if "patient" in facts else None
            return self.draw([facts["prompt"]], [facts["seed"]], sampling, patients)
        except KeyError as error:
            raise UserError(f"the provenance has no {error}; an earlier version wrote it.") from None

    def reading(self, prompt: str) -> Reading:
        """What the model makes of a prompt: what it cuts off and what it does not know."""
        return read_prompt(self.conditioner.text_encoder, prompt, self.findings)

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels `[N,1,H,W]` in [-1, 1] -> white latents `[N,L,h,w]`, the posterior's mean, on the model's device.

        Raises:
            UserError: the images are of another size than the model's.
        """
        if pixels.shape[1:] != (1, self.size, self.size):
            raise UserError(f"images are {tuple(pixels.shape)}; this model takes [N, 1, {self.size}, {self.size}].")
        mean, _ = self.autoencoder.encode(pixels.to(self.device)).chunk(2, dim=1)
        return self.whitening.whiten(mean)

    @torch.inference_mode()
    def decode(self, latents: Tensor, precision: Precision = "32") -> Tensor:
        """White latents `[N,C,h,w]` -> pixels float32 `[N,1,H,W]` in [-1, 1], on the CPU.

        They are decoded a few at once: the decoder's features at full size take more memory than all that went before.
        """
        restored = cast(self.whitening.restore(latents.to(self.device)), precision)
        _, autoencoder = self.networks(precision)
        parts = restored.split(max(1, DECODED // self.size**2))
        return torch.cat([autoencoder.decode(part).float().clamp(-1.0, 1.0).cpu() for part in parts])


def texts_of(prompts: str | Sequence[str]) -> list[str]:
    """One text, or several, as a list; raises UserError where one of them is none, such as a table's empty cell."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts) if isinstance(prompts, Iterable) else [prompts]
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None or None in texts:
        raise UserError(f"a prompt is {wrong!r}, which is no text; the empty text stands for the model without one.")
    return texts


def seeds_of(
    stated: int | Sequence[int] | None, texts: Sequence[str], n: int, generator: torch.Generator | None
) -> list[int]:
    """`n` seeds for each text: those that are stated, counted up from one number, or drawn where none is."""
    if stated is None:
        return torch.randint(2**31, (len(texts) * n,), generator=generator).tolist()  # type: ignore[no-any-return]
    if isinstance(stated, bool):
        raise UserError(f"seeds={stated} must be whole numbers from 0 on.")
    if isinstance(stated, int | Integral):
        return [int(stated) + index for _ in texts for index in range(n)]
    return list(stated)


def normal(generators: Sequence[Generator], shape: tuple[int, ...]) -> Tensor:
    """Standard normal `[N,*shape]`, row i from generator i: white latents and this noise are on one scale."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])
