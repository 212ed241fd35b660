"""python -m cxr_ldm.data.download: the archives of conf/download.yaml."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_ldm.commands.checking import check
from cxr_ldm.commands.schema import Download
from cxr_ldm.commands.settings import plain
from cxr_ldm.data.download import download
from cxr_ldm.errors import UserError


def main(cfg: DictConfig) -> None:
    """Fetch, check and unpack."""
    check(cfg, Download)
    if not cfg.root:
        raise UserError("root is not set; give the folder that the collection goes into: root=DIR.")
    download(Path(cfg.root), plain(cfg.archives), plain(cfg.parts), cfg.retries, cfg.pause)
