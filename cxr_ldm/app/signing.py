"""PNG files to take home, signed where whoever started the page names a certificate."""

import os
from functools import cache
from typing import Any

from torch import Tensor

from cxr_ldm.imaging.provenance import png_bytes
from cxr_ldm.imaging.signature import Signer, signer_of

C2PA = "CXR_LDM_C2PA"  # of the environment: a folder or self, as c2pa= takes them; cxr-ldm app app.c2pa=… sets it

known = cache(signer_of)  # one key for all visitors, where the certificate is made for the process


def signer() -> Signer | None:
    """Who signs what this page hands on; raises UserError where the certificate is not what it should be."""
    return known(os.environ.get(C2PA) or None)


def png_file(pixels: Tensor, facts: dict[str, Any], name: str) -> bytes:
    """An image `[1,H,W]` in [-1, 1] as a PNG that carries `facts`, and a signature over them."""
    content, found = png_bytes(pixels, facts), signer()
    return content if found is None else found.signed(content, name)
