"""python -m cxr_ldm.benchmark: the findings suite from a collection to its page, and quick answers."""

import json

import pytest

from cxr_ldm.metrics.results import read_metrics

BENCHMARK = ["-m", "cxr_ldm.benchmark"]
HEADER = "uid,MeSH,Problems,image,indication,comparison,findings,impression"
ROWS = [
    "Cardiomegaly/mild,Cardiomegaly,x,,,The heart is enlarged.,Mild cardiomegaly.",
    "Pleural Effusion/left,Pleural Effusion,x,,,Left effusion.,Left effusion.",
    "Pulmonary Atelectasis,Pulmonary Atelectasis,x,,,,Atelectasis.",
    "Opacity/lung,Opacity,x,,,Opacity.,Opacity.",
    "Nodule/lung,Nodule,x,,,A nodule.,",
    "normal,normal,x,,,Clear lungs.,Normal chest.",
]


def test_the_findings_suite_writes_metrics_and_a_page(command, tmp_path):
    rows = [f"{uid},{ROWS[uid % len(ROWS)]}" for uid in range(60)]
    (tmp_path / "indiana_reports.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    page, where = tmp_path / "page.md", f"paths.outputs={tmp_path}/out"
    arguments = [*BENCHMARK, "suite=findings", "suite.run.resamples=10", f"data.root={tmp_path}", f"page={page}", where]
    printed = command(*arguments).stdout
    metrics = read_metrics(tmp_path / "out" / "benchmark" / "findings" / "metrics.json")
    assert metrics["mean_f1"]["value"] == metrics["mean_f1_development"]["value"] == 1
    assert metrics["mean_f1"]["n"] + metrics["mean_f1_development"]["n"] == 60
    assert "mean_f1" in printed
    assert "suite.run.resamples=10" in page.read_text()
    assert json.dumps(metrics["run"]["versions"]) in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "suite is not set"),
        (["suite=findigs"], "suite/findigs"),
        (["suite=findings"], "data.root is not set"),
        (["suite=findings", "suite.run.resample=3"], "did you mean 'suite.run.resamples'"),
        (["suite=findings", "data=nih", "data.root=."], "suite=findings needs data=openi"),
        (["suite=findings", "data.root=/no/such/folder"], "/no/such/folder is not a folder"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, command):
    error = command(*BENCHMARK, *arguments, code=2).stderr
    assert error.startswith("error: ")
    assert words in error


def test_help_imports_nothing_heavy(command):
    program = (
        "import runpy, sys; sys.argv = ['benchmark', '--help']\n"
        "try:\n    runpy.run_module('cxr_ldm.benchmark', run_name='__main__')\nexcept SystemExit: pass\n"
        "print('HEAVY', [m for m in ('torch', 'lightning', 'scipy', 'pandas') if m in sys.modules])"
    )
    assert "HEAVY []" in command("-c", program).stdout


@pytest.mark.campaign
def test_the_prepare_suite_measures_both_ratios(command, tmp_path):
    small = [f"suite.run.{value}" for value in ("images=12", "repeats=1", "size=64")]
    page = tmp_path / "page.md"
    command(*BENCHMARK, "suite=prepare", *small, f"page={page}", f"paths.outputs={tmp_path}")
    metrics = read_metrics(tmp_path / "benchmark" / "prepare" / "metrics.json")
    for name in ("prepare_speed_to_peer", "reading_speed_to_peer", "prepare_memory_gb"):
        assert metrics[name]["value"] > 0
        assert name in page.read_text()
    assert metrics["prepare_speed_to_peer"]["settings"]["files"].startswith("12 generated DICOM files, 2828 × 2320")


@pytest.mark.campaign
def test_the_text_encoder_suite_measures_speed_and_memory(command, tmp_path):
    sizes = ["vocab_size=50", "hidden_size=32", "num_hidden_layers=3", "num_attention_heads=2", "intermediate_size=64"]
    small = [f"suite.run.architecture.{size}" for size in sizes] + ["suite.run.repeats=1", "suite.run.tokens=16"]
    page = tmp_path / "page.md"
    command(*BENCHMARK, "suite=text_encoder", *small, f"page={page}", f"paths.outputs={tmp_path}")
    metrics = read_metrics(tmp_path / "benchmark" / "text_encoder" / "metrics.json")
    names = {f"{state}_{what}_to_uncached" for state in ("held", "freed") for what in ("speed", "memory")}
    names |= {"freed_speed_to_held", "freed_memory_to_held"}
    assert set(metrics) == names | {"run"}
    assert all(metrics[name]["value"] > 0 and f"`{name}`" in page.read_text() for name in names)


@pytest.mark.campaign
def test_the_distances_suite_measures_speed_and_memory_and_agrees_with_its_peers(command, tmp_path):
    small = ("images=300", "features=32", "subsets=1", "subset_size=300")
    page = tmp_path / "page.md"
    arguments = [f"suite.run.{value}" for value in small]
    command(*BENCHMARK, "suite=distances", *arguments, f"page={page}", f"paths.outputs={tmp_path}")
    metrics = read_metrics(tmp_path / "benchmark" / "distances" / "metrics.json")
    speeds = ("fid_speed_to_torchmetrics", "kid_speed_to_torchmetrics", "coverage_speed_to_scikit_learn")
    assert set(metrics) == {"seconds", "memory_gb", *speeds, "run"}
    assert all(metrics[name]["value"] > 0 and f"`{name}`" in page.read_text() for name in set(metrics) - {"run"})
    for name in speeds:
        settings = metrics[name]["settings"]
        assert settings["value"] == pytest.approx(settings["peer_value"], rel=1e-6)


def test_the_watermark_suite_counts_what_is_found_and_what_is_not(command, tmp_path):
    """At a quality that the mark outlives, at one that it cannot, and without a mark; on a collection as well."""
    command("-m", "cxr_ldm.prepare", "data=phantom", "data.reader.n=30", f"paths.outputs={tmp_path}", "name=small")
    small = ("phantoms=2", "generated=2", "sizes=[64]", "qualities=[90,5]", f"folder={tmp_path}/prepared/small")
    page = tmp_path / "page.md"
    arguments = [f"suite.run.{value}" for value in small]
    command(*BENCHMARK, "suite=watermark", *arguments, f"page={page}", f"paths.outputs={tmp_path}")
    metrics = read_metrics(tmp_path / "benchmark" / "watermark" / "metrics.json")
    marked = 6 * 5  # pictures, each plain and through four presets
    assert (metrics["found_at_90"]["value"], metrics["found_at_90"]["n"]) == (1.0, marked)
    assert metrics["found_at_5"]["value"] < 0.5
    assert (metrics["false_alarms"]["value"], metrics["false_alarms"]["n"]) == (0.0, 2 * marked)
    assert metrics["psnr_lowest"]["value"] > 40
    assert "| 5 | 0." in page.read_text()
    assert "2 images of a prepared collection" in page.read_text()


@pytest.mark.campaign
def test_the_scale_suite_goes_through_all_commands_and_goes_on_where_it_was(command, tmp_path):
    small = [f"suite.run.{value}" for value in ("rows=1500", "steps=20", f"picture={tmp_path}/page.png")]
    suite = [*BENCHMARK, "suite=scale", *small, f"page={tmp_path}/page.md", f"paths.outputs={tmp_path}"]
    command(*suite)
    metrics = read_metrics(tmp_path / "benchmark" / "scale" / "metrics.json")
    assert all(0 < metrics[f"memory_gb_{name}"]["value"] < 2 for name in ("prepare", "vae", "ldm", "sample"))
    assert (tmp_path / "page.png").stat().st_size > 5000
    assert "](page.png)" in (tmp_path / "page.md").read_text()
    (tmp_path / "scale" / "sample" / "watched.json").unlink()
    command(*suite)
    again = read_metrics(tmp_path / "benchmark" / "scale" / "metrics.json")
    assert again["minutes_ldm"] == metrics["minutes_ldm"]
    assert again["minutes_sample"] != metrics["minutes_sample"]


@pytest.mark.campaign
def test_the_load_suite_serves_every_visitor_its_own_images(command, tmp_path):
    small = [f"suite.run.{value}" for value in ("visitors=3", "images=1", "steps=3", "many=16")]
    model = "suite.run.model='phantom (of the package)'"
    command(*BENCHMARK, "suite=load", *small, model, f"page={tmp_path}/page.md", f"paths.outputs={tmp_path}")
    metrics = read_metrics(tmp_path / "benchmark" / "load" / "metrics.json")
    assert (metrics["visitors_served"]["value"], metrics["visitors_of_another"]["value"]) == (3, 0)
    assert 0.2 < metrics["server_memory_gb"]["value"] < 2
    assert metrics["short_behind_long"]["value"] < 4, "behind one image of the long job, not behind sixteen"
    assert "visitors_served" in (tmp_path / "page.md").read_text()
