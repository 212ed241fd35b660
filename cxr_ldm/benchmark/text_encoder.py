"""What a training step costs in the text encoder, with the cache below the layers that train and without it.

The encoder is BERT-base with random weights, written and loaded as a downloaded BioBERT is: what a step costs does not
depend on what the weights say.
"""

import multiprocessing
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxr_ldm.benchmark.turns import in_turns, ratio, seconds
from cxr_ldm.metrics.results import Metric
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.ranges import Count, Seed, Whole
from cxr_ldm.report.markdown import render_markdown
from cxr_ldm.text.encoders import TextEncoder, pretrained
from cxr_ldm.text.unfreezing import Unfreezing

INTRO = """One training step of the text encoder alone: forward, backward and AdamW. *Held* is a step before the top
layers are freed, when the projection alone trains; *freed* is one after. The peer does the same and runs the frozen
layers from token ids at every step, where ours reads their states from the cache.

- `…_speed_to_uncached`: how many times the peer's speed is ours, the median over pairs of steps in turn in one process.
- `…_memory_to_uncached`: the most memory that two steps take beyond the loaded encoder, as a share of the peer's, each
  in a process of its own.
- `freed_speed_to_held`, `freed_memory_to_held`: what freeing the layers costs, both sides with the cache."""

Batch = tuple[Tensor, Tensor]


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    return render_markdown(content, "Cost of a text encoder that is frozen, then partly unfrozen", INTRO)


def run(
    architecture: Mapping[str, Count], freed: Whole, batch: Count, tokens: Count, repeats: Count, seed: Seed
) -> dict[str, Metric]:
    """Ratios of seconds and of memory.

    Args:
        architecture: sizes of the BERT, named as transformers names them.
        freed: top layers that train later.
        batch: texts in a step, each of `tokens` tokens.
        repeats: pairs of steps.
        seed: of weights and tokens.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        torch.manual_seed(seed)
        write_bert(folder, architecture)
        encoder = load(folder, tokens, freed)
        stated = {
            "encoder": f"{parameter_count(encoder):,} parameters, the top {freed} layers freed later",
            "projection": parameter_count(encoder.projection),
            "batch": batch,
            "tokens": tokens,
        }
        speeds = _speeds(encoder, batch, tokens, repeats, stated)
        del encoder
        return speeds | _memories(folder, freed, batch, tokens, stated)


def write_bert(folder: Path, architecture: Mapping[str, int]) -> None:
    """A folder as `huggingface-cli download` leaves a BERT: config, random weights, and a vocabulary of that size."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    config = BertConfig(**architecture)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "normal", "chest", "effusion"]
    words += [f"word{number}" for number in range(config.vocab_size - len(words))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    BertModel(config).save_pretrained(folder)


def load(folder: Path, tokens: int, freed: int) -> TextEncoder:
    """The encoder of a folder, its top layers to be freed."""
    return pretrained([], str(folder), tokens, Unfreezing(freed, 1, 0.1))


def stepper(encoder: TextEncoder, batch: int, tokens: int, frees: bool, cached: bool) -> Callable[[], None]:
    """A training step of the text path: its top layers train or not, the frozen states are cached or not."""
    ids = torch.randint(5, encoder.tokenizer.vocabulary, (batch, tokens))
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    below = encoder.frozen(ids, mask) if cached else None
    optimizer = torch.optim.AdamW([{"params": part.parameters()} for part in (encoder.projection, encoder.top)])

    def step() -> None:
        encoder.top_trains = frees
        states = encoder(encoder.frozen(ids, mask) if below is None else below, mask)
        states.square().mean().backward()
        if not frees:
            encoder.top.zero_grad()  # as callbacks/unfreeze.py
        optimizer.step()
        optimizer.zero_grad()

    return step


def _speeds(encoder: TextEncoder, batch: int, tokens: int, repeats: int, stated: dict[str, Any]) -> dict[str, Metric]:
    metrics, cached = {}, {}
    for name, frees in (("held", False), ("freed", True)):
        cached[name] = stepper(encoder, batch, tokens, frees, cached=True)
        peer = stepper(encoder, batch, tokens, frees, cached=False)
        pairs = in_turns(cached[name], peer, repeats, f"{name}, and uncached")
        metrics[f"{name}_speed_to_uncached"] = ratio(pairs, repeats, stated | seconds(pairs))
    pairs = in_turns(cached["freed"], cached["held"], repeats, "freed and held")
    return metrics | {"freed_speed_to_held": ratio(pairs, repeats, stated | seconds(pairs))}


def _memories(folder: Path, freed: int, batch: int, tokens: int, stated: dict[str, Any]) -> dict[str, Metric]:
    grown = {}
    context = multiprocessing.get_context("spawn")
    for frees in (False, True):
        for cached in (False, True):
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                grown[frees, cached] = pool.submit(growth, folder, freed, batch, tokens, frees, cached).result()

    def share(ours: tuple[bool, bool], peer: tuple[bool, bool]) -> Metric:
        settings = stated | {"megabytes": round(grown[ours] / 1e6), "peer_megabytes": round(grown[peer] / 1e6)}
        return Metric(grown[ours] / grown[peer], 1, False, settings=settings, reason="single maxima")

    return {
        "held_memory_to_uncached": share((False, True), (False, False)),
        "freed_memory_to_uncached": share((True, True), (True, False)),
        "freed_memory_to_held": share((True, True), (False, True)),
    }


def growth(folder: Path, freed: int, batch: int, tokens: int, frees: bool, cached: bool) -> int:
    """Most bytes that two steps hold beyond what the process held before them; Linux only."""
    step = stepper(load(folder, tokens, freed), batch, tokens, frees, cached)
    before, most, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    step()
    step()
    done.set()
    watcher.join()
    return max(1, most[0] - before)


def resident() -> int:
    """Bytes of memory that this process holds."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
