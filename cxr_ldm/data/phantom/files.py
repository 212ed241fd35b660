"""The phantom written as the Indiana collection is published, with the truth beside it.

OUT/NLMCXR_dcm/UID/UID_IM-NNNN-NNNN.dcm    one study each, of a patient of its own, as the reader takes it
OUT/ecgen-radiology/UID.xml                its report
OUT/indiana_projections.csv                says Frontal
OUT/truth/CXRUID_IM-NNNN-NNNN.json, .npz   what was drawn, and where: see `read_truth`
"""

import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from cxr_ldm.artifacts import read_json, state, write_record, write_text
from cxr_ldm.data.findings.reports import XML_FOLDER
from cxr_ldm.data.phantom.header import dicom_bytes, draw_header
from cxr_ldm.data.phantom.patient import HEADER, REPORT, first_study
from cxr_ldm.data.phantom.picture import Study, attenuation, expose, masks, parameters
from cxr_ldm.data.phantom.reader import VERSION, study_of
from cxr_ldm.data.phantom.report import headings, write_sections
from cxr_ldm.data.prepared.workers import begin, context
from cxr_ldm.data.readers.openi import DICOM_FOLDER, PROJECTIONS_CSV
from cxr_ldm.errors import UserError

TRUTH_FOLDER = "truth"
CHUNK = 16  # studies that a worker takes at once
COMPLAINTS = ("chest pain", "dyspnea", "cough", "shortness of breath", "fever", "weakness")
COMPARISONS = ("None.", "None", "None available.", "")
CAPTIONS = {
    "PA": ("Xray Chest PA", "PA chest radiograph", "Chest, PA view."),
    "AP": ("AP portable chest", "Portable AP chest radiograph", "Chest, AP view."),
}
REPORT_XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
   <meta type="rr"/>
   <uId id="CXR{uid}"/>
   <pmcId id="{uid}"/>
   <docSource>CXR</docSource>
   <IUXRId id="{uid}"/>
   <articleType>XR</articleType>
   <publisher>cxr_ldm</publisher>
   <title>Generated chest phantoms in the layout of the Indiana University Chest X-ray Collection</title>
   <MedlineCitation Owner="cxr_ldm" Status="generated">
      <Article PubModel="Electronic">
         <Abstract>
            <AbstractText Label="COMPARISON">{comparison}</AbstractText>
            <AbstractText Label="INDICATION">{indication}</AbstractText>
            <AbstractText Label="FINDINGS">{findings}</AbstractText>
            <AbstractText Label="IMPRESSION">{impression}</AbstractText>
         </Abstract>
         <Language>eng</Language>
      </Article>
   </MedlineCitation>
   <MeSH>
{majors}
   </MeSH>
   <parentImage id="{image}">
      <figureId>F1</figureId>
      <caption>{caption}</caption>
      <panel type="single">
         <url>/{image}.jpg</url>
      </panel>
   </parentImage>
</eCitation>
"""


def write_collection(out: Path, n: int, size: int, seed: int, workers: int | None = None) -> None:
    """Write the folder, or what an earlier, interrupted call left of it.

    Args:
        out: made where it does not exist.
        n: studies; UID 1 to n.
        size: side of the pictures in pixels.
        seed: of everything drawn.
        workers: processes; None is one for each core.

    Raises:
        UserError: a number is out of range; `out` holds something else, or was made by other settings.
    """
    from tqdm import tqdm

    _refuse(n, size, seed, workers)
    out = Path(out)
    settings = {"reader": "phantom_files", "version": VERSION, "n": n, "size": size, "seed": seed}
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file; name a folder.")
    try:
        if state(out, settings) == "complete":
            return
        write_record(out, settings, complete=False)
    except UserError as error:
        raise UserError(str(error).replace("another name=", "another out=")) from None
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror}); name another folder.") from None
    missing = [uid for uid in range(1, n + 1) if not all(path.is_file() for path in _paths(out, seed, uid))]
    with tqdm(total=n, initial=n - len(missing), desc="phantom", unit="study") as progress:
        for done in _parallel(partial(write_study, out, size, seed), missing, workers or os.cpu_count() or 1):
            progress.update(done)
    rows = [f"{uid},{image_name(seed, uid).removeprefix('CXR')}.dcm.png,Frontal\n" for uid in range(1, n + 1)]
    write_text(out / PROJECTIONS_CSV, "uid,filename,projection\n" + "".join(rows))
    write_record(out, settings, complete=True)


def _refuse(n: int, size: int, seed: int, workers: int | None) -> None:
    for name, value, least in (
        ("n", n, 1),
        ("size", size, 16),
        ("seed", seed, 0),
        ("workers", 1 if workers is None else workers, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name}={value} is not possible; use a whole number from {least}.")


def _parallel(work: Callable[[int], None], items: Sequence[int], workers: int) -> Iterable[int]:
    """Do `work` for every item, yielding how many were done; in this process where one is enough."""
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    if min(workers, len(chunks)) <= 1:
        yield from (_chunk(work, chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(workers, context(), begin) as pool:
        yield from pool.map(partial(_chunk, work), chunks)


def _chunk(work: Callable[[int], None], items: Sequence[int]) -> int:
    for item in items:
        work(item)
    return len(items)


def write_study(out: Path, size: int, seed: int, uid: int) -> None:
    """Write the four files of one study, each under its final name only when whole; the report comes last."""
    index, image = first_study(uid - 1), image_name(seed, uid)
    study = study_of(seed, index)
    total, covered = attenuation(study, size)
    picture = expose(total, study.position, np.random.default_rng(study.noise))
    shapes = masks(covered, size)
    facts = {"image_id": image, "seed": seed, "index": index, "size": size, **parameters(study, shapes)}
    comment = f"synthetic = true; cxr_ldm phantom version {VERSION}, seed {seed}, index {index}"
    mask_file, fact_file, dicom_file, report_file = _paths(out, seed, uid)
    _write_bytes(mask_file, _packed(shapes))
    write_text(fact_file, json.dumps(facts, indent=1) + "\n")
    _write_bytes(dicom_file, dicom_bytes(picture, study, draw_header(seed, index), str(uid), comment))
    write_text(report_file, report_xml(study, seed, uid))


def image_name(seed: int, uid: int) -> str:
    """Image id as in the collection: report, patient's number in the archive, series and instance.

    >>> image_name(0, 7)
    'CXR7_IM-0007-2001'
    """
    series = int(np.random.default_rng([seed, HEADER, uid, 1]).integers(1, 5))
    return f"CXR{uid}_IM-{uid % 10000:04d}-{series}001"


def _paths(out: Path, seed: int, uid: int) -> tuple[Path, Path, Path, Path]:
    """Masks, facts, DICOM file and report of one study."""
    image = image_name(seed, uid)
    truth = out / TRUTH_FOLDER
    dicom = out / DICOM_FOLDER / str(uid) / f"{image.removeprefix('CXR')}.dcm"
    return truth / f"{image}.npz", truth / f"{image}.json", dicom, out / XML_FOLDER / f"{uid}.xml"


def report_xml(study: Study, seed: int, uid: int) -> str:
    """Report of one study in the collection's XML."""
    generator = np.random.default_rng([seed, REPORT, first_study(uid - 1), 1])

    def pick(choices: Sequence[str]) -> str:
        return choices[int(generator.integers(len(choices)))]

    findings, impression = write_sections(study.findings, generator)
    person = pick(("woman", "female")) if study.anatomy.sex == "female" else pick(("man", "male"))
    texts = {
        "comparison": pick(COMPARISONS),
        "indication": f"{study.anatomy.age}-year-old {person} with {pick(COMPLAINTS)}.",
        "findings": findings,
        "impression": impression,
        "caption": pick(CAPTIONS[study.position.view]),
    }
    majors = "\n".join(f"      <major>{escape(heading)}</major>" for heading in headings(study.findings))
    escaped = {key: escape(text) for key, text in texts.items()}
    return REPORT_XML.format(uid=uid, image=image_name(seed, uid), majors=majors, **escaped)


def read_truth(folder: Path, image_id: str) -> tuple[dict[str, Any], np.ndarray]:
    """Truth of one written image: the parameters, and the masks of parameters["findings"], bool [F, H, W].

    The masks are in standard display, whatever way round the DICOM file stores the picture.

    Raises:
        UserError: the folder holds no such image.
    """
    facts = read_json(Path(folder) / TRUTH_FOLDER / f"{image_id}.json")
    with np.load(Path(folder) / TRUTH_FOLDER / f"{image_id}.npz") as file:
        return facts, np.unpackbits(file["masks"], axis=2, count=facts["size"]).astype(bool)


def _packed(shapes: np.ndarray) -> bytes:
    """Masks [F, H, W], eight pixels of a row to a byte, as a compressed .npz with the fixed date of NumPy's writer."""
    target = io.BytesIO()
    np.savez_compressed(target, masks=np.packbits(shapes, axis=2))
    return target.getvalue()


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.partial")
    part.write_bytes(content)
    os.replace(part, path)
