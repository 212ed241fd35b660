"""Grey scale of a DICOM file: modality transform, then values of interest, then polarity.

DICOM PS3.3: modality transform (C.11.1), then values of interest (C.11.2: a table, a window, or a percentile range
where a file states neither), then the display's polarity (C.7.6.3.1.2 and C.11.6).
"""

import re
from typing import TYPE_CHECKING, Literal

import numpy as np

from cxr_ldm.data.pixels.dicom_pixels import NotARadiograph, Padding, padding_of
from cxr_ldm.data.pixels.images import BLANK, Table, Window

if TYPE_CHECKING:
    from pydicom import Dataset

PERCENTILES = (0.5, 99.5)  # of the pixels: the range shown where a file states none
FEWEST_LEVELS = 8  # of 256 that a stated tone must show; a chest has more than a hundred
SAMPLED = 1_000_000  # pixels above which percentiles are taken of a sixteenth of them
DECIMALS = ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept")

Voi = int | Literal["percentile"]


def word(header: "Dataset", name: str) -> str:
    """A code string as the standard writes it, empty where it is not stated."""
    return str(header.get(name, "") or "").strip(" \0").upper()


def tidy(header: "Dataset") -> None:
    """Take out lookup tables without data, and bring decimals and words to the standard's form.

    Raises:
        NotARadiograph: a decimal of the grey scale is no number; it is named.
    """
    header.PhotometricInterpretation = word(header, "PhotometricInterpretation")  # pydicom takes capitals alone
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        if name in header:
            tables = [item for item in header[name].value or () if "LUTData" in item]
            setattr(header, name, tables)
    for name in DECIMALS:
        if name not in header:
            continue
        raw = header.get_item(name).value  # before pydicom reads it, which fails on what is no number
        text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        if isinstance(text, str):
            # of the standard's type, whatever the file says: pydicom gives a text letter by letter
            numbers = [decimal(name, part) for part in re.split(r"\\", text.strip(" \0")) if part.strip()]
            header.add_new(name, "DS", numbers)


def decimal(name: str, text: str) -> str:
    """A number with a point, from one with a point or a comma.

    >>> decimal("WindowCenter", " 20,5"), decimal("WindowCenter", "-1e3 ")
    ('20.5', '-1e3')

    Raises:
        NotARadiograph: it is no number.
    """
    number = text.strip(" \0")
    pointed = number.replace(",", ".") if re.fullmatch(r"[+-]?\d*,\d+", number) else number
    shown = re.sub(r"[^\w+.,-]", "?", number)[:16]
    try:
        value = float(pointed)
    except ValueError:
        raise NotARadiograph(f"{name} {shown!r} is not a number") from None
    if not np.isfinite(value):
        raise NotARadiograph(f"{name} {shown!r} is not finite")
    return pointed


def tone_of(header: "Dataset", values: np.ndarray, offset: int, voi: Voi) -> tuple[Window | Table, str]:
    """How stored values are shown, and where that comes from: "table", "window" or "percentile".

    A table or window beside the values, which shows hardly any difference of theirs, gives way to their range.

    Raises:
        NotARadiograph: the picture has one grey level all the same.
    """
    padding = padding_of(header, offset)
    tone, source = _stated_tone(header, values, offset, voi, padding)
    shown = levels(tone, values, padding)
    if source != "percentile" and shown < FEWEST_LEVELS:
        range_of_all = _stated_tone(header, values, offset, "percentile", padding)
        more = levels(range_of_all[0], values, padding)
        if more > shown:
            (tone, source), shown = range_of_all, more
    if shown < 2:
        raise NotARadiograph(BLANK)
    return tone, source


def levels(tone: Window | Table, values: np.ndarray, padding: Padding) -> int:
    """How many of 256 grey levels show the stored values but padding; of large pictures, where a part has enough,
    those of the part.
    """
    if isinstance(tone, Window) and not np.isfinite([tone.low, tone.high]).all():
        return 0
    if values.size > SAMPLED:
        part = levels(tone, values[::16, ::16], padding)
        if part >= FEWEST_LEVELS:
            return part
    present = np.flatnonzero(_counts(values, padding)).astype(values.dtype)
    return len(np.unique(np.rint(255 * tone.shown(tone.clipped(present)))))


def _stated_tone(
    header: "Dataset", values: np.ndarray, offset: int, voi: Voi, padding: Padding
) -> tuple[Window | Table, str]:
    inverted = word(header, "PhotometricInterpretation") == "MONOCHROME1"
    inverted = inverted or word(header, "PresentationLUTShape") == "INVERSE"
    source, bounds = "percentile", None
    if voi != "percentile" and header.get("VOILUTSequence"):
        return _voi_table(header, offset, voi, inverted), "table"
    if voi != "percentile":
        bounds = window_bounds(header, voi)
        source = "window" if bounds else source
    if header.get("ModalityLUTSequence") or (bounds and word(header, "VOILUTFunction") == "SIGMOID"):
        return _curve(header, values, offset, bounds, inverted, padding), source
    slope, intercept = _rescale(header)
    if bounds is None:
        low, high = percentile_range(values, padding)
    else:
        low, high = sorted((bound - intercept) / slope + offset for bound in bounds)
    return Window(low, high, inverted != (slope < 0)), source


def window_bounds(header: "Dataset", number: int) -> tuple[float, float] | None:
    """Modality values shown black and white by a window (PS3.3 C.11.2.1.2); None where the file states no usable one.

    LINEAR, the default, maps centre - 0.5 ± (width - 1) / 2; LINEAR_EXACT and SIGMOID centre ± width / 2.
    """
    centres, widths = (_numbers(header.get(name)) for name in ("WindowCenter", "WindowWidth"))
    # not strict: a file that states more of one than of the other still states the pairs that both have
    windows = [pair for pair in zip(centres, widths, strict=False) if np.isfinite(pair).all() and pair[1] >= 1]
    if not windows:
        return None
    centre, width = windows[number if number < len(windows) else 0]
    if word(header, "VOILUTFunction") not in ("LINEAR_EXACT", "SIGMOID"):
        centre, width = centre - 0.5, max(width - 1, 1.0)
    return centre - width / 2, centre + width / 2


def percentile_range(values: np.ndarray, padding: Padding = None) -> tuple[float, float]:
    """The values between which all but 0.5 % of the pixels lie at either end; all values where that is a single one.

    Args:
        padding: first and last of the values that do not count.

    >>> percentile_range(np.arange(1001, dtype=np.uint16)[None])
    (5.0, 995.0)
    >>> percentile_range(np.array([[0, 0, 0, 7, 7, 9, 9]], dtype=np.uint16), padding=(0, 0))
    (7.0, 9.0)
    """
    cumulative = _counts(_sample(values), padding).cumsum()
    if cumulative[-1] == 0:  # nothing but padding
        return 0.0, 0.0
    ranks = [share / 100 * (cumulative[-1] - 1) for share in PERCENTILES]
    low, high = (float(np.searchsorted(cumulative, rank, side="right")) for rank in ranks)
    if low == high:
        present = np.flatnonzero(_counts(values, padding))
        low, high = float(present[0]), float(present[-1])
    return low, high


def _sample(values: np.ndarray) -> np.ndarray:
    return values[::4, ::4] if values.size > SAMPLED else values


def _counts(values: np.ndarray, padding: Padding) -> np.ndarray:
    """How many pixels have each stored value; none has that of padding."""
    counts = np.bincount(values.ravel())
    if padding is not None:
        counts[padding[0] : padding[1] + 1] = 0
    return counts


def _rescale(header: "Dataset") -> tuple[float, float]:
    slope, intercept = (_numbers(header.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
    return (slope[0] if slope and slope[0] else 1.0), (intercept[0] if intercept else 0.0)


def _numbers(value: object) -> list[float]:
    """Values of a header entry that holds none, one or several."""
    if value is None or value == "":
        return []
    several = hasattr(value, "__iter__") and not isinstance(value, str)
    return [float(item) for item in value] if several else [float(value)]  # type: ignore[attr-defined, arg-type]


def _modality(header: "Dataset", offset: int) -> np.ndarray:
    """Modality value of every stored value, float64: by a table, else by slope and intercept, of which one may lack."""
    from pydicom.pixels import apply_modality_lut

    stored = np.arange(1 << int(header.BitsStored)) - offset
    if header.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
    slope, intercept = _rescale(header)
    return stored * slope + intercept


def _voi_table(header: "Dataset", offset: int, number: int, inverted: bool) -> Table:
    """The file's own table, from its smallest entry (black) to its largest (white)."""
    from pydicom.pixels import apply_voi

    tables = len(header.VOILUTSequence)
    # The lookup is by whole modality values, signed or not as the pixels are.
    modality = np.rint(_modality(header, offset)).astype(np.int64)
    shown = np.asarray(apply_voi(modality, header, index=number if number < tables else 0), dtype=np.float64)
    return Table.between(shown, shown.min(), shown.max(), inverted)


def _curve(
    header: "Dataset",
    values: np.ndarray,
    offset: int,
    bounds: tuple[float, float] | None,
    inverted: bool,
    padding: Padding,
) -> Table:
    """A modality table, a sigmoid window, or both."""
    modality = _modality(header, offset)
    if bounds is None:
        counts = _counts(_sample(values), padding)
        sample = np.repeat(modality[: len(counts)], counts)
        low, high = np.percentile(sample, PERCENTILES) if sample.size else (0, 0)
        bounds = float(low), float(high)
    if word(header, "VOILUTFunction") == "SIGMOID":
        centre, width = sum(bounds) / 2, bounds[1] - bounds[0]
        modality = 1 / (1 + np.exp(-4 * (modality - centre) / width))
        bounds = 0.0, 1.0
    return Table.between(modality, *bounds, inverted)
