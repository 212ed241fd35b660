"""The report shows what metrics.json says, and nothing else."""

import json
import re

import pytest
from PIL import Image
from rich.console import Console

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, read_metrics, run_entry, with_seal, write_metrics
from cxr_ldm.report.figures import curve_figure
from cxr_ldm.report.html import sections, write_html
from cxr_ldm.report.markdown import figures, render_markdown, write_page
from cxr_ldm.report.terminal import print_table, rows


@pytest.fixture
def folder(tmp_path):
    metrics = {
        "fid_net": Metric(29.4321, 500, False, reason="biased", settings={"extractor": "net"}),
        "fid_net_floor": Metric(21.0, 500, False, reason="overlap"),
        "kid_net_difference": Metric(
            0.0123456, 500, False, ci95=(0.011, 0.0137), settings={"standard_error": 0.0007}, over="patients"
        ),
        "adherence_side": Metric(
            0.9531,
            64,
            True,
            ci95=(0.87, 0.98),
            settings={"prompts": {"a": "<b>Right</b>"}, "chance": 0.5},
            over="seeds of fixed prompts",
        ),
        "near_copies": Metric(0, 500, False, reason="a count"),
    }
    run = run_entry(
        composed={}, bundle_sha256=None, seed=0, stage="ldm", data={"name": "phantom", "images": 9, "size": 64}
    )
    write_metrics(tmp_path / "metrics.json", metrics, run)
    Image.new("L", (8, 8)).save(tmp_path / "grid.png")
    return tmp_path


def test_terminal_table_has_each_metric_once(folder):
    console = Console(width=140, record=True, file=None, quiet=False)
    with console.capture() as capture:
        print_table(read_metrics(folder / "metrics.json"), console)
    text = capture.get()
    assert text.count("fid_net_floor") == 1
    assert "0.9531" in text
    assert "0.0123 ± 0.0007" in text
    assert "0.8700 to 0.9800" in text
    assert "seeds of fixed prompts" in text


def test_at_80_columns_nothing_is_cut(folder):
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as capture:
        print_table(read_metrics(folder / "metrics.json"), console)
    text = capture.get()
    assert "…" not in text
    assert {"0.9531", "0.0123 ± 0.0007", "0.8700 to 0.9800"} <= set(re.findall(r"\S+(?: (?:±|to) \S+)?", text))
    assert max(map(len, text.splitlines())) <= 80


def test_html_is_self_contained_and_escaped(folder):
    text = write_html(folder).read_text()
    assert "29.43" in text
    assert "<br><small>over seeds of fixed prompts</small>" in text
    assert "by chance 0.5000" in text
    assert "data:image/png;base64," in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "<b>Right</b>" not in text
    assert "Evaluation of ldm on phantom" in text


def test_html_sorts_by_section_and_sets_real_images_beside_what_they_belong_to(folder):
    content = json.loads((folder / "metrics.json").read_text())
    rows_of = {section["title"]: section["rows"] for section in sections(content, {})}
    (fid, difference) = rows_of["Distance from real images"]
    assert (fid["name"], fid["value"], fid["real"]) == ("fid_net", "29.43", "21.00")
    assert (difference["name"], difference["real"]) == ("kid_net_difference", "–")
    assert [row["name"] for row in rows_of["Memory of the training images"]] == ["near_copies"]
    shown = [row["name"] for each in rows_of.values() for row in each]
    assert sorted(shown) == sorted(name for name in content if name not in ("run", "fid_net_floor"))


def test_a_comparison_shows_its_p_value_and_whole_reports_stand_beside_real_images_of_any_finding(folder):
    content = json.loads((folder / "metrics.json").read_text())
    side = content["adherence_side"]
    content["adherence_side_texts_difference"] = side | {"settings": {"p_value": 0.0312}}
    content |= {"adherence_side_texts": side | {"value": 0.8}, "adherence_side_real_all": side | {"value": 0.99}}
    shown = {row["name"]: row for each in sections(content, {}) for row in each["rows"]}
    assert shown["adherence_side_texts_difference"]["interval"] == "0.8700 to 0.9800, p = 0.0312"
    assert (shown["adherence_side_texts"]["real"], shown["adherence_side"]["real"]) == ("0.9900", "–")
    assert "0.8700 to 0.9800, p = 0.0312 |" in render_markdown(content, "x")


def test_html_says_what_was_not_measured_and_draws_the_curves_it_has(folder):
    content = json.loads((folder / "metrics.json").read_text())
    content["run"]["not_measured"] = {"inception": "torch-fidelity is not installed"}
    for steps, value in ((5, 0.3), (10, 0.25), (40, 0.2)):
        content[f"kid_net_at_steps_{steps}"] = content["kid_net_difference"] | {"value": value, "ci95": [0.1, 0.4]}
    assert curve_figure(content, "guidance") is None
    drawing = curve_figure(content, "steps")
    assert drawing.startswith(b"<?xml")
    changed = json.loads(json.dumps(content).replace("0.25", "0.29"))
    assert curve_figure(changed, "steps") != drawing
    (folder / "metrics.json").write_text(json.dumps(with_seal(content)))
    text = write_html(folder).read_text()
    assert "torch-fidelity is not installed" in text
    assert text.count("data:image/svg+xml") == 1


def test_page_shows_generated_images_only_when_none_is_a_near_copy(folder):
    page = write_page(folder, folder / "docs" / "small.md")
    text = page.read_text()
    assert "![generated images](small.png)" in text
    assert (folder / "docs" / "small.png").exists()
    assert "| `adherence_side` | 0.9531 | 0.8700 to 0.9800 | 64 |" in text
    (folder / "own.png").write_bytes(b"prompts in our own words")
    write_page(folder, folder / "docs" / "small.md")
    assert (folder / "docs" / "small.png").read_bytes() == b"prompts in our own words"
    content = json.loads((folder / "metrics.json").read_text())
    for copies, why in ((2, "near copies"), (None, "free of real images")):
        changed = {key: value for key, value in content.items() if key != "near_copies" or copies is not None}
        if copies:
            changed["near_copies"]["value"] = copies
        (folder / "metrics.json").write_text(json.dumps(with_seal(changed)))
        text = write_page(folder, page).read_text()
        assert why in text
        assert "![" not in text
        assert not (folder / "docs" / "small.png").exists()


def test_every_number_of_the_page_comes_from_the_file(folder):
    content = read_metrics(folder / "metrics.json")
    changed = json.loads(json.dumps(content).replace("0.9531", "0.1234"))
    one, two = render_markdown(content, "x"), render_markdown(changed, "x")
    assert one != two
    assert one.replace("0.9531", "0.1234") == two
    assert [row["name"] for row in rows(content)] == [name for name in content if name != "run"]


def test_a_page_shows_the_figures_of_an_earlier_page_beside_its_own(folder):
    first = write_page(folder, folder / "docs" / "first.md")
    second = write_page(folder, folder / "docs" / "second.md", before=first).read_text()
    name, value = next(iter(figures(first).items()))
    assert "| n | before | interval over | meaning |" in second
    (row,) = [line for line in second.splitlines() if line.startswith(f"| `{name}`")]
    assert row.split(" | ")[1] == row.split(" | ")[4] == value
    assert "before" not in first.read_text().split("## Settings")[0]
    (folder / "else.md").write_text("# Something else")
    with pytest.raises(UserError, match="holds no table of metrics"):
        write_page(folder, folder / "docs" / "third.md", before=folder / "else.md")
