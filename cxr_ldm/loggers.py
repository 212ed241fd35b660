"""W&B as the logger: offline unless told otherwise, without advertisements, and never without a key."""

import os

from lightning.pytorch.loggers import WandbLogger

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Word

# WANDB_MODE and what W&B calls it; the last two are its older words.
MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "dryrun": "offline", "run": "online"}


def wandb_logger(save_dir: str, project: Word, offline: bool | None = None) -> WandbLogger:
    """A W&B run in `save_dir`.

    Args:
        offline: as of `mode_of`.
    """
    import wandb

    mode = mode_of(offline)
    wandb.setup()  # reads WANDB_SILENT, without which the next lines would be answered with hints
    return WandbLogger(save_dir=save_dir, project=project, mode=mode)


def mode_of(offline: bool | None) -> str:
    """online, offline or disabled: as the config says, else as WANDB_MODE does, else offline.

    Raises:
        UserError: WANDB_MODE is none of W&B's words, or a live run has no key.
    """
    stated = os.environ.get("WANDB_MODE") or "offline"
    if offline is None and stated not in MODES:
        raise UserError(f"WANDB_MODE={stated} is not one of {', '.join(MODES)}.")
    mode = MODES[stated] if offline is None else ("offline" if offline else "online")
    if mode == "online" and not has_key():
        raise UserError(
            "W&B logs live and has no API key; run `wandb login`, set WANDB_API_KEY, or log offline with "
            "WANDB_MODE=offline or logger.offline=true."
        )
    return mode


def has_key() -> bool:
    """Whether W&B finds an API key, without asking for one and without the network."""
    import wandb

    found: bool = wandb.login(prompt=False, verify=False)
    return found
