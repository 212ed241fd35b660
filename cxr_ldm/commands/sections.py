"""What the settings of each group of conf/ may be; `schema` says which of them a command has.

A node (a mapping with `_target_`) declares nothing here: its settings are the parameters of what it names, whose
annotations say what they may be.
"""

from typing import Annotated, Any, Literal

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


class Patient(Section):
    view: Word | None
    age: Annotated[float, Interval(ge=0, le=120)] | None
    sex: Word | None


class Enhance(Section):
    name: Word
    label: Word
    description: Word
    steps: Any  # of which the presets say what each takes


class Preparing(Section):
    dry_run: bool
    part: str | None
    join: Annotated[int, Interval(ge=1, le=10_000)] | None


class Suite(Section):
    name: Word
    run: Node
    headline: list[Word]
    page: Maker


class Archive(Section):
    url: Word
    folder: Word
    bytes: Count | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
