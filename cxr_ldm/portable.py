"""A model as ONNX graphs: text encoder, denoiser and decoder in files that onnxruntime runs with no torch beside it.

Whitening is folded into the decoder, and the schedule into the denoiser, which gives its estimate of x_0.
"""

import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from cxr_ldm import artifacts
from cxr_ldm.assets import DRAW_ONNX
from cxr_ldm.bundle import SCALE, Bundle, quantised
from cxr_ldm.card import card
from cxr_ldm.diffusion.flow_map import FlowMap
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.errors import UserError
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.register import described

SCRIPT = "draw.py"
WEIGHED = ("Conv", "Gather", "Gemm", "MatMul")  # what takes weights in a graph
INT8 = "::int8"
Shapes = dict[str, dict[int, Dim]]  # of each input the axes that are free


class Reading(nn.Module):
    """Token ids and mask `[N,L]` -> states `[N,L,D]`."""

    def __init__(self, pipeline: TextToCXR) -> None:
        super().__init__()
        self.encoder = pipeline.conditioner.text_encoder

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        cached = ids if self.encoder.from_ids else self.encoder.transformer(ids, attention_mask=mask).last_hidden_state
        return self.encoder(cached, mask)  # type: ignore[no-any-return]


class Estimate(nn.Module):
    """x_t `[N,C,h,w]`, t `[N]`, states and mask -> D `[N,C,h,w]`."""

    def __init__(self, pipeline: TextToCXR) -> None:
        super().__init__()
        self.denoiser = pipeline.denoiser

    def forward(self, x: Tensor, t: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        return self.denoiser(x, t, context, mask)  # type: ignore[no-any-return]


class Step(Estimate):
    """As `Estimate`, of a student, with the time `s [N]` where a step ends and the guidance `scale [N]`."""

    def forward(  # type: ignore[override]
        self, x: Tensor, t: Tensor, context: Tensor, mask: Tensor, s: Tensor, scale: Tensor
    ) -> Tensor:
        return self.denoiser(x, t, context, mask, s, scale)  # type: ignore[no-any-return]


class Picture(nn.Module):
    """White latents `[N,C,h,w]` -> pixels `[N,1,H,W]` in [-1, 1]."""

    def __init__(self, pipeline: TextToCXR) -> None:
        super().__init__()
        self.autoencoder, whitening = pipeline.autoencoder, pipeline.whitening
        # `Whitening.restore`, whose copy by index the exporter takes for one of a single batch size
        spread = torch.zeros(len(whitening.mean), whitening.channels, 1, 1)
        spread[whitening.live, torch.arange(whitening.channels), 0, 0] = whitening.std[whitening.live, 0, 0]
        self.register_buffer("spread", spread)
        self.register_buffer("mean", whitening.mean[:, 0, 0].clone())

    def forward(self, latents: Tensor) -> Tensor:
        restored = functional.conv2d(latents, self.spread, self.mean)  # type: ignore[arg-type]  # both are tensors
        return self.autoencoder.decode(restored).clamp(-1.0, 1.0)


def write_onnx(bundle: Bundle, folder: Path, int8: bool = False) -> None:
    """Write a model as `text_encoder.onnx`, `denoiser.onnx` and `decoder.onnx`, with what draws from them.

    Beside them stand tokenizer.json, config.json, the card, and draw.py, which draws an image from them by onnxruntime,
    tokenizers, NumPy and Pillow alone. Batch and length of the text are free. For `int8` see `narrow`.

    Raises:
        UserError: the packages are missing, `folder` exists, or the model takes patients or is no flow.
    """
    require()
    if folder.exists():
        raise UserError(f"out={folder} exists already; delete it or name another folder.")
    pipeline = TextToCXR.of(bundle, "cpu")
    if pipeline.conditioner.takes_patients:
        raise UserError("form=onnx writes models of the text alone; this one takes view, age and sex.")
    if not isinstance(pipeline.denoiser.schedule, RectifiedFlow):
        raise UserError("form=onnx writes models of diffusion=flow, whose times draw.py knows; this is another.")
    student = isinstance(pipeline.denoiser, FlowMap)
    encoder = pipeline.conditioner.text_encoder
    with torch.no_grad():
        ids, mask = encoder.tokenizer(["a text of some words", ""])
        context, _ = encoder.encode(["a text of some words", ""])
    x, t = torch.randn(2, *pipeline.latent_shape), torch.tensor([0.9, 0.4])
    batch, length = Dim("batch", max=4096), Dim("length", min=2, max=encoder.tokenizer.length)
    texts = {0: batch, 1: length}
    inputs: dict[str, Tensor] = {"x": x, "t": t, "context": context, "mask": mask}
    shapes: Shapes = {"x": {0: batch}, "t": {0: batch}, "context": texts, "mask": texts}
    if student:
        inputs |= {"s": t - 0.1, "scale": torch.tensor([1.0, 2.0])}
        shapes |= {"s": {0: batch}, "scale": {0: batch}}
    with artifacts.building(folder) as partial:
        words = {"ids": ids, "mask": mask}
        save(Reading(pipeline), words, {"ids": texts, "mask": texts}, partial / "text_encoder.onnx")
        save((Step if student else Estimate)(pipeline), inputs, shapes, partial / "denoiser.onnx")
        save(Picture(pipeline), {"latents": x}, {"latents": {0: batch}}, partial / "decoder.onnx")
        artifacts.write_text(partial / "tokenizer.json", encoder.tokenizer.definition)
        artifacts.write_json(partial / "config.json", facts(bundle, pipeline, student))
        artifacts.write_text(partial / "README.md", card({"kind": "ldm", "info": bundle.info, "software": software()}))
        shutil.copyfile(DRAW_ONNX, partial / SCRIPT)
        for graph in sorted(partial.glob("*.onnx")) if int8 else ():
            narrow(graph)


def facts(bundle: Bundle, pipeline: TextToCXR, student: bool) -> dict[str, Any]:
    """What draw.py, or another program, needs to know.

    Raises:
        UserError: the model is guided in an interval or with rescaled guidance, which the scripts do not know.
    """
    rule = Guidance.of_bundle(bundle.info)
    if tuple(rule.interval) != (0.0, 1.0) or rule.rescale:
        raise UserError(
            "the model is guided in an interval or rescaled; export it with a plain scale first (form=full)."
        )
    return {
        "synthetic": True,
        "size": pipeline.size,
        "latent_shape": list(pipeline.latent_shape),
        "length": pipeline.conditioner.text_encoder.tokenizer.length,
        "student": student,
        "steps": pipeline.sampling.steps,
        "sampler": described(pipeline.sampling.sampler)["part"],
        "guidance": rule.scale,
        "bundle_sha256": bundle.sha256,
        "software": software(),
    }


def software() -> str:
    """This version."""
    import cxr_ldm

    return f"cxr_ldm {cxr_ldm.__version__}"


def save(module: nn.Module, inputs: dict[str, Tensor], shapes: Shapes, path: Path) -> None:
    """Write one graph, its inputs called as in `inputs` and its output `out`."""
    for name in ("onnxscript", "torch.onnx"):  # which say what they skip, such as a torchvision that nobody needs
        logging.getLogger(name).setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own, about its own
        program = torch.onnx.export(
            module.eval(),
            kwargs=inputs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(inputs),
            output_names=["out"],
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.save(str(path))


def narrow(path: Path) -> None:
    """Weights of a graph's convolutions, products and tables as int8 with a scale for each row, see `bundle.quantised`.

    onnxruntime makes float32 of them as it loads the graph; other constants, such as the frequencies of times, stay.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    used = {name for node in model.graph.node if node.op_type in WEIGHED for name in node.input}
    weights = {
        each.name: torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in model.graph.initializer
        if each.name in used and len(each.dims) > 1 and each.data_type == onnx.TensorProto.FLOAT
    }
    constants = [each for each in model.graph.initializer if each.name not in weights]
    nodes = list(model.graph.node)
    stored = quantised(weights)
    for name in weights:
        parts = {name + INT8: stored[name], name + SCALE: stored[name + SCALE]}
        constants += [numpy_helper.from_array(value.numpy(), part) for part, value in parts.items()]
        nodes.insert(0, helper.make_node("DequantizeLinear", list(parts), [name], axis=0))
    for field, entries in ((model.graph.initializer, constants), (model.graph.node, nodes)):
        del field[:]
        field.extend(entries)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def require(
    names: Sequence[str] = ("onnx", "onnxscript"), form: str = "form=onnx", wheel: str = "cxr-ldm[onnx]"
) -> None:
    """Raises UserError where a package is missing."""
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(f"{form} needs {missing[0]}: run `pip install {wheel}`.")
