"""Files from strangers: decoded by a process of their own, within limits of size, memory and time."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cxr_ldm.errors import UserError

LARGEST_FILE = 32 * 2**20  # bytes, as maxUploadSize in .streamlit/config.toml
SECONDS = 60  # that decoding may take
REFUSED = 2  # exit code of `cxr_ldm.app.decode` for a file that it cannot use
MAGIC = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}


def decode(content: bytes, name: str, nobody: bool = False) -> np.ndarray:
    """A PNG, JPEG or DICOM radiograph as grey levels, float32 `[H,W]` in [0, 1].

    What the file is called has no say: its first bytes tell its kind. The decoder runs in a process of its own, so
    that one which crashes, hangs or asks for all memory takes nothing with it.

    Args:
        content: the bytes.
        name: for messages.
        nobody: whether a file that says that its pixels tell who it is is refused.

    Raises:
        UserError: the file is too large, none of the three, damaged, no single radiograph, or its decoder failed.
    """
    name = f"{Path(name).name[:60]}"
    if len(content) > LARGEST_FILE:
        raise UserError(f"{name} has {len(content) / 2**20:.0f} MB; at most {LARGEST_FILE // 2**20} MB can be opened.")
    suffix = next((suffix for start, suffix in MAGIC.items() if content.startswith(start)), None)
    if suffix is None and content[128:132] != b"DICM":
        raise UserError(f"{name} is no PNG, JPEG or DICOM file.")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / f"upload{suffix or '.dcm'}", Path(folder) / "grey.npy"
        source.write_bytes(content)
        command = [sys.executable, "-m", "cxr_ldm.app.decode", str(source), str(target), *["nobody"] * nobody]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise UserError(f"{name} takes longer than {SECONDS} seconds to decode.") from None
        if done.returncode == REFUSED:
            raise UserError(f"{name}: {done.stderr.strip()}")
        if done.returncode != 0:
            raise UserError(f"{name} brings its decoder down; it is damaged, or larger than memory allows.")
        return np.load(target, allow_pickle=False)
