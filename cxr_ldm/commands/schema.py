"""What every setting may be, declared once in the shape of conf/; commands/checking.py holds settings against it.

A node (a mapping with `_target_`) declares nothing here: its settings are the parameters of what it names, whose
annotations say what they may be.
"""

from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval, Len
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cxr_ldm.ranges import Count, NotNegative, Pixels, Place, Positive, Proper, Seed, Several, Share, Text, Whole, Word

RULES = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def typed(value: Any) -> Any:
    """What was typed where Hydra made a number of it: name=7."""
    return str(value) if type(value) in (int, float) else value


Name = Annotated[Word, BeforeValidator(typed)]
Address = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]


Workers = Annotated[int, Interval(ge=1, le=4096)]


class Section(BaseModel):
    """A mapping of conf/, of which every key is known."""

    model_config = RULES


class Open(BaseModel):
    """One to which a lab adds keys of its own."""

    model_config = RULES | ConfigDict(extra="allow")


class Node(Open):
    """What Hydra instantiates; `check_node` looks at its settings."""

    target: Address = Field(alias="_target_")


class Maker(Node):
    """One that is a function of what is known later only."""

    partial: Literal[True] = Field(alias="_partial_")


class Paths(Section):
    outputs: Place


class Splits(Section):
    seed: Seed
    val: Share
    test: Share


class Clahe(Section):
    clip_limit: Annotated[float, Interval(gt=0, le=100)]
    tiles: Annotated[int, Interval(ge=1, le=64)]


class Data(Open):
    kind: Word
    root: Place | None
    size: Pixels
    fit: Literal["pad", "crop"]
    bits: Literal[8, 16]
    clahe: Clahe | None
    png: bool
    splits: Splits
    limit: Count | None
    adherence: Node | None
    reader: Node


class VAE(Section):
    network: Node
    reconstruction: Maker
    kl_weight: NotNegative
    adversary: Node | None


class ClassifierNetwork(Section):
    network: Node
    min_images: Count


class Diffusion(Section):
    noise_levels: Node
    weighting: Node
    schedule: Node
    scaling: Node
    uncertainty: Node | None = None


class Optimizer(Maker):
    lr: Annotated[float, Interval(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Interval(ge=0, le=10)] = 0.0


class Recipe(Section):
    batch_size: Count
    images: Count
    validate_every: Count
    checkpoint_every: Count
    accumulate: Count
    workers: Annotated[int, Interval(ge=0, le=256)]
    warmup_steps: Whole
    last_rate: Share
    ema: Annotated[float, Interval(ge=0, lt=1)] | None
    patience: Count | None
    optimizer: Optimizer


class Augment(Section):
    enabled: bool
    rotation: Annotated[float, Interval(ge=0, le=45)]
    shift: Annotated[float, Interval(ge=0, lt=1)]
    scale: Annotated[float, Interval(ge=0, lt=1)]
    intensity: Annotated[float, Interval(ge=0, lt=1)]


class Crop(Section):
    side: Pixels | None
    whole: Share


class VAERecipe(Recipe):
    crop: Crop
    latent_noise: NotNegative
    augment: Augment


class Texts(Section):
    count: Count
    short: Share
    drop_denied: bool


class Looks(Section):
    samples: Whole
    alpha: Proper


class LDMRecipe(Recipe):
    live_signal: Share
    texts: Texts
    copies: Looks
    condition_dropout: Share
    inpaint: bool


class FlowMap(Section):
    scales: Annotated[list[NotNegative], Len(2, 2)]
    longest: Proper
    instant: Share
    split: Literal["end", "half"]
    width: Positive


class DistillRecipe(Recipe):
    loss: FlowMap
    texts: Texts
    condition_dropout: Share


class UpscalerRecipe(Recipe):
    side: Pixels


class ClassifierRecipe(Recipe):
    augment: Augment


class Training(Open):
    vae: VAERecipe
    ldm: LDMRecipe
    classifier: ClassifierRecipe
    distill: DistillRecipe
    upscaler: UpscalerRecipe


class Sampler(Section):
    steps: Annotated[int, Interval(ge=1, le=10_000)]
    step: Maker
    times: Maker


class Curves(Section):
    n: Annotated[int, Interval(ge=2)]
    guidance: list[NotNegative]
    steps: list[Count]
    alone: bool = False


class Fitted(Section):
    network: Node
    optimizer: Optimizer
    epochs: Count
    batch_size: Count
    size: Pixels
    min_images: Count


class Targets(Section):
    kid: float | None
    fid_ratio: float | None
    coverage: float | None
    recall: float | None
    auroc_own: float | None
    trained_ratio: float | None
    side: float | None
    within_ssim: float | None
    copies_excess: float | None
    sharpness: Annotated[list[float], Len(2, 2)] | None


class Metrics(Section):
    n: Several
    kid_n: Several | None
    adherence_n: Count
    floor_repeats: Several
    neighbours: Count
    extraction_prompts: Whole
    extraction_samples: Several
    batch_size: Count
    cost_steps: list[Annotated[int, Interval(ge=1, le=10_000)]]
    further: dict[str, Node]
    curves: Curves | None
    own_prompts_n: Several | None
    references: bool
    synthetic: bool
    synthetic_n: Count | None
    folds: Annotated[int, Interval(ge=2, le=1000)] | None
    fitted: Fitted
    targets: Targets


class Trainer(Open):
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"]
    devices: Annotated[int, Interval(ge=1, le=10_000)] | Annotated[list[Whole], Len(min_length=1)] | Literal["auto"]
    precision: Annotated[Literal["32", "16", "bf16", "auto"], BeforeValidator(typed)]
    gradient_clip: NotNegative | None
    log_every: Count
    compile: Word | None
    graphs: bool
    max_minutes: NotNegative | None
    memory_gb: Positive | None
    checkpointing: bool


class GuidanceRule(Section):
    scale: NotNegative | None
    interval: list[Share] | None
    rescale: Share | None
    negative: Text | None


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
    features: dict[str, Node] = {}  # a command says what it lacks
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


class StageNode(Section):
    name: Word
    kind: Word | None = None
    plan: Address
    measure: Address


class Tune(Section):
    rate: Positive
    warmup_steps: Whole
    rank: Count | None
    words: Whole
    text_rate: Positive


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


class Patient(Section):
    view: Word | None
    age: Annotated[float, Interval(ge=0, le=120)] | None
    sex: Word | None


class Enhance(Section):
    name: Word
    label: Word
    description: Word
    steps: Any  # of which the presets say what each takes


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


class Preparing(Section):
    dry_run: bool
    part: str | None
    join: Annotated[int, Interval(ge=1, le=10_000)] | None


class Prepare(Command):
    prepare: Preparing


class Suite(Section):
    name: Word
    run: Node
    headline: list[Word]
    page: Maker


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


class Archive(Section):
    url: Word
    folder: Word
    bytes: Count | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class Download(Section):
    nodes: ClassVar[tuple[str, ...]] = ()

    root: Place | None
    parts: Annotated[list[Word], Len(min_length=1)]
    retries: Annotated[int, Interval(ge=1, le=1000)]
    pause: Annotated[float, Interval(ge=0, le=3600)]
    archives: dict[str, Archive]


Declared = Command | Pack | Card | Phantom | Download
