"""Looking through a collection: filters against a loop over the rows, and highlights against what the rules read."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from cxr_ldm.data.findings.highlights import highlights
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.prepared.browse import UNKNOWN, Catalogue, Query


class Collection:
    """A manifest without images."""

    def __init__(self, n):
        draw = np.random.default_rng(0)
        texts = [
            "Small right pleural effusion. No pneumothorax.",
            "Normal chest.",
            "Cardiomegaly. Possible left effusion.",
            "Clear lungs (no effusion).",
        ]
        self.rows = []
        for index in range(n):
            text = texts[draw.integers(len(texts))]
            self.rows.append(
                {
                    "image_id": f"i{index}",
                    "text": text,
                    "findings": None if index % 11 == 0 else read_findings(text),
                    "view": draw.choice(["PA", "AP", None]),
                    "sex": draw.choice(["female", "male", None]),
                    "age": None if index % 7 == 0 else float(draw.integers(0, 95)),
                    "split": draw.choice(["train", "test"]),
                    "source": "here",
                }
            )
        self.table = pa.Table.from_pylist(self.rows)

    def __len__(self):
        return len(self.rows)


@pytest.fixture(scope="module")
def collection():
    return Collection(400)


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (Query(), lambda row: True),
        (
            Query(findings=["pleural effusion"]),
            lambda row: any(
                f["name"] == "pleural effusion" and f["certainty"] == "present" for f in row["findings"] or ()
            ),
        ),
        (
            Query(findings=["pleural effusion"], certainty=["absent", "uncertain"]),
            lambda row: any(
                f["name"] == "pleural effusion" and f["certainty"] != "present" for f in row["findings"] or ()
            ),
        ),
        (
            Query(findings=["pleural effusion"], certainty=[], side="left"),
            lambda row: any(f["name"] == "pleural effusion" and f["side"] == "left" for f in row["findings"] or ()),
        ),
        (Query(views=["PA", UNKNOWN]), lambda row: row["view"] in ("PA", None)),
        (Query(sexes=["male"], splits=["test"]), lambda row: row["sex"] == "male" and row["split"] == "test"),
        (Query(ages=(20, 40)), lambda row: row["age"] is not None and 20 <= row["age"] <= 40),
        (Query(text="EFFUSION (no"), lambda row: "effusion" in row["text"].lower() and "(no" in row["text"]),
    ],
)
def test_select_agrees_with_a_loop(collection, query, matches):
    expected = [number for number, row in enumerate(collection.rows) if matches(row)]
    assert Catalogue(collection).select(query).tolist() == expected
    assert len(expected) > 0


def test_counts_are_of_the_selection(collection):
    catalogue = Catalogue(collection)
    rows = catalogue.select(Query(findings=["cardiomegaly"], views=["AP"]))
    counts = catalogue.counts(rows)
    assert counts["view"].values.tolist() == [["AP", len(rows)]]
    assert counts["finding"].set_index("finding")["images"]["cardiomegaly"] == len(rows)
    ages = [collection.rows[row]["age"] for row in rows if collection.rows[row]["age"] is not None]
    assert counts["age"]["images"].sum() == len(ages)


def test_highlights_stand_where_the_words_are():
    text = "Heart size normal.  Right and left pleural effusions, no pneumothorax. Possible NODULE in the left lung."
    found = [(text[h.start : h.end].lower(), h.name, h.certainty) for h in highlights(text)]
    assert ("pneumothorax", "pneumothorax", "absent") in found
    assert ("nodule", "nodule", "uncertain") in found
    assert any(name == "pleural effusion" and certainty == "present" for _, name, certainty in found)
    places = highlights(text)
    assert all(one.end <= other.start for one, other in itertools.pairwise(places))
    assert {h.name for h in places} == {f["name"] for f in read_findings(text)} - {"no finding"}
