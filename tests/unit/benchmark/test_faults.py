"""Damage in every kind of file is noticed in one sentence or changes nothing."""

from cxr_ldm import content
from cxr_ldm.benchmark.faults import page, run
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.metrics.results import run_entry

READER = PhantomReader(n=20, size=16, seed=0)


def test_no_flip_and_no_cut_goes_unnoticed():
    found = run(READER, trials=40, seed=1)
    assert {name: metric.value for name, metric in found.items()} == dict.fromkeys(found, 0)
    assert len(found) == 15
    entries = {name: metric.entry() for name, metric in found.items()}
    text = page(entries | {"run": run_entry(composed={}, bundle_sha256=None, seed=0, command="x")})
    assert "Of 1,200 damaged files 0 were neither noticed nor harmless." in text
    assert "| images | `images.npy` | 40 | 0 | 0 | 0 | 40 | 0 | 0 | 0 |" in text


def test_the_measurement_sees_what_no_checksum_guards(monkeypatch):
    monkeypatch.setattr(content, "check", lambda *arguments: None)
    found = run(READER, trials=20, seed=1)
    for name in ("images", "latents cache", "text cache"):
        assert found[name].settings["counts"]["flip"]["unnoticed"] > 10, name
