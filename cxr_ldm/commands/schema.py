"""What every setting of a command may be, declared once in the shape of conf/; `checking` holds settings against it."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Interval, Len
from pydantic import BeforeValidator, Field

from cxr_ldm.commands.sections import (
    VAE,
    Archive,
    ClassifierNetwork,
    Data,
    Diffusion,
    Enhance,
    GuidanceRule,
    Maker,
    Metrics,
    Name,
    Node,
    Open,
    Paths,
    Patient,
    Preparing,
    Sampler,
    Section,
    StageNode,
    Suite,
    Trainer,
    Training,
    Tune,
    Workers,
    typed,
)
from cxr_ldm.ranges import Count, NotNegative, Pixels, Place, Positive, Seed, Whole, Word


class Command(Open):
    """What the commands share. `nodes`: the sections whose parts a command builds."""

    nodes: ClassVar[tuple[str, ...]] = ("data",)

    paths: Paths
    data: Data
    vae: VAE
    denoiser: Node
    classifier_network: ClassifierNetwork
    upscaler: Node
    text_encoder: Node
    attributes: Node | None = None
    diffusion: Diffusion
    training: Training
    sampler: Sampler
    features: dict[str, Node] = Field(default_factory=dict)  # a command says what it lacks
    metrics: Metrics
    trainer: Trainer
    logger: Maker
    name: Name | None
    seed: Seed
    prepared: Place | None
    verify: Literal["stat", "full"]
    guidance: GuidanceRule
    precision: Annotated[Literal["32", "bf16", "auto"], BeforeValidator(typed)]
    compile: Word | None
    workers: Workers | None
    bundle_packages: list[Word]


class Train(Command):
    nodes = (
        *("data", "vae", "denoiser", "classifier_network", "upscaler", "text_encoder", "attributes", "diffusion"),
        *("training", "features", "logger", "callbacks"),
    )

    stage: StageNode | None = None
    evaluate: bool
    split: Literal["val", "test"]  # the command says why it is val
    vae_bundle: Place | None
    teacher: Place | None
    init: Place | None
    tune: Tune
    stop: Literal["copies"] | None
    classifier: Place | None
    callbacks: dict[str, Node]


class Evaluate(Command):
    nodes = ("data", "sampler", "features", "metrics", "logger")

    stage: StageNode | None = None
    bundle: Place | None
    compare: list[Place] | None
    images: Place | list[Place] | dict[str, Place] | None
    real: Place | None
    trained_on: Place | None
    prompts: Place | None
    unreadable: Literal["stop", "skip"]
    size: Pixels | None
    fit: Literal["pad", "crop"]
    classifier: Place | None
    split: Literal["val", "test"] | None
    external: bool
    before: Place | None
    page: Place | None


class Sample(Command):
    nodes = ("data", "sampler")

    enhance: Enhance | None = None
    prompt: Annotated[str, BeforeValidator(typed)] | None
    prompts_file: Place | None
    patient: Patient
    image: Place | None
    strength: Annotated[float, Interval(gt=0, le=1)] | None
    box: Annotated[list[Whole], Len(4, 4)] | None
    mask: Place | None
    region: Literal["right_lung", "left_lung", "right_base", "left_base", "heart"] | None
    paste: bool
    source: Annotated[str, BeforeValidator(typed)] | None
    fit: Literal["pad", "crop"]
    add: Annotated[str, BeforeValidator(typed)] | None
    remove: Annotated[str, BeforeValidator(typed)] | None
    classifier: Place | None
    n: Annotated[int, Interval(ge=1, le=10**7)]
    batch_size: Count
    bundle: Place | None
    format: Literal["png", "dicom"]
    resolution: int | None
    upscale: Place | None
    upscale_from: Pixels | None
    watermark: bool
    c2pa: Place | None


Written = Literal["half", "int8", "full", "onnx", "onnx_int8", "diffusers"]
Read = Literal["taesd", "taesd3", "autoencoder_kl", "stable_diffusion"]  # what others published, into a bundle


class Export(Command):
    bundle: Place | None
    out: Place | None
    form: Literal[Written, Read]
    hub: Word | None
    private: bool
    decoder: Place | None
    # also an evaluation's folder, or a scale
    guidance: GuidanceRule | NotNegative | Place  # type: ignore[assignment]


class Quiz(Command):
    nodes = ("data", "sampler")

    kind: Literal["pair", "single"] | None
    ask: Annotated[list[Literal["real", "finding", "side"]], Len(min_length=1)]
    n: Annotated[int, Interval(ge=2, le=1000)]
    teach: bool
    bundle: Place | None
    split: Literal["val", "test"]
    phantom_size: Annotated[int, Interval(ge=32, le=1024)]
    answers: Annotated[list[Place], Len(min_length=1)] | None
    key: Place | None


class Prepare(Command):
    prepare: Preparing


class Benchmark(Command):
    nodes = ("data", "suite")

    suite: Suite | None = None
    bundle: Place | None
    external: bool
    page: Place | None


class Pack(Section):
    nodes: ClassVar[tuple[str, ...]] = ()

    folder: Place | None
    file: Place | None
    out: Place | None
    limit_mb: Positive


class Card(Section):
    nodes: ClassVar[tuple[str, ...]] = ()

    paths: Paths
    bundle: Place | None
    out: Place | None
    evaluation: Place | None
    prepared: Place | None


class Phantom(Section):
    nodes: ClassVar[tuple[str, ...]] = ()

    out: Place | None
    n: Annotated[int, Interval(ge=1, le=10**7)]
    size: Annotated[int, Interval(ge=16, le=4096)]
    seed: Seed
    workers: Workers | None


class Download(Section):
    nodes: ClassVar[tuple[str, ...]] = ()

    root: Place | None
    parts: Annotated[list[Word], Len(min_length=1)]
    retries: Annotated[int, Interval(ge=1, le=1000)]
    pause: Annotated[float, Interval(ge=0, le=3600)]
    archives: dict[str, Archive]


Declared = Command | Pack | Card | Phantom | Download
