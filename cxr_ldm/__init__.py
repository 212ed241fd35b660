"""cxr_ldm: text-to-chest-X-ray latent diffusion, from raw radiographs to measured samples.

`from cxr_ldm import TextToCXR` and the other names of OFFERED; nothing heavy is imported before one is asked for.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

OFFERED = {
    "TextToCXR": "cxr_ldm.pipeline",
    "load_bundle": "cxr_ldm.bundle",
    "load_prepared": "cxr_ldm.data.prepared.dataset",
    "evaluate": "cxr_ldm.commands.python",
    "UserError": "cxr_ldm.errors",
    "FrechetDistance": "cxr_ldm.metrics.modular",
    "KernelDistance": "cxr_ldm.metrics.modular",
    "PrecisionRecallDensityCoverage": "cxr_ldm.metrics.modular",
}


def __getattr__(name: str) -> Any:
    if name not in OFFERED:
        raise AttributeError(f"module cxr_ldm has no attribute {name}; it offers {', '.join(OFFERED)}")
    return getattr(import_module(OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *OFFERED])
