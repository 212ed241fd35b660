"""cxr-ldm runs: the list, two beside each other, and what hangs on a run that is deleted."""

import pytest

from cxr_ldm import artifacts
from cxr_ldm.bundle import bundle_sha256
from cxr_ldm.commands.runs import main
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, run_entry, write_metrics


def made(folder, settings, figure, value, bundle=True):
    """A complete run; the identity of its bundle."""
    folder.mkdir(parents=True)
    facts = {"finished": f"2026-01-0{len(folder.name)}T00:00:00"}
    if bundle:
        facts["data"] = "phantom-32"
    artifacts.write_record(folder, settings, complete=True, **facts)
    metrics = {figure: Metric(value, 9, False, reason="one pass")}
    # an evaluation says its data in its metrics, and a run in its record
    data = {} if bundle else {"data": {"name": "phantom-32", "images": 9, "size": 32}}
    write_metrics(folder / "metrics.json", metrics, run_entry(composed={}, bundle_sha256=None, seed=0, **data))
    if bundle:
        (folder / "bundle").mkdir()
        artifacts.write_json(folder / "bundle" / "config.json", {"info": {"size": 32}})
        (folder / "bundle" / "SHA256SUMS").write_text(folder.name)
        return bundle_sha256(folder / "bundle")
    return None


@pytest.fixture
def outputs(tmp_path):
    vae = made(tmp_path / "vae" / "v", {"training": {"images": 64}}, "val_psnr", 30.5)
    for name, rate in (("aa", 0.1), ("bbb", 0.2)):
        settings = {"training": {"images": 3200, "lr": rate}, "vae_bundle": vae}
        model = made(tmp_path / "ldm" / name, settings, "val_loss", rate)
    made(tmp_path / "evaluation" / "page", {"bundle": model}, "kid_x", 0.25, bundle=False)
    artifacts.write_record(tmp_path / "ldm" / "bbb", settings, complete=False, data="phantom-32")
    return tmp_path


def lines(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_list_has_a_line_for_each_with_its_figure_and_its_state(outputs, capsys):
    main(["--outputs", str(outputs)])
    head, vae, first, second, evaluation = lines(capsys)
    assert head[2:8] == ["size", "images", "seen", "loss", "KID", "PSNR"]
    assert vae[1:] == ["phantom-32", "32", "64", "–", "–", "30.50", "2026-01-01", "00:00"]
    assert first[1:6] == ["phantom-32", "32", "3,200", "0.1000", "–"]
    assert second[-1] == "unfinished"
    assert evaluation[1:6] == ["phantom-32", "32", "–", "–", "0.2500"]
    assert (vae[0], evaluation[0]) == (f"{outputs}/vae/v", f"{outputs}/evaluation/page")
    main(["--outputs", str(outputs / "nowhere")])
    assert "holds no run yet" in capsys.readouterr().out


def test_two_runs_are_compared_by_what_differs_and_all_their_figures(outputs, capsys):
    main(["--outputs", str(outputs), "compare", "aa", "ldm/bbb"])
    assert [line for line in lines(capsys) if line] == [
        ["aa", "bbb"],
        ["training.lr", "0.1", "0.2"],
        ["val_loss", "0.1000", "0.2000"],
    ]


def test_a_run_is_deleted_once_what_was_made_from_it_is_said(outputs, capsys):
    with pytest.raises(UserError, match="ldm/aa, ldm/bbb were made from v; --force deletes it"):
        main(["--outputs", str(outputs), "rm", "v"])
    with pytest.raises(UserError, match="evaluation/page was made from bbb"):
        main(["--outputs", str(outputs), "rm", "bbb"])
    with pytest.raises(UserError, match="there is no run cc; there are v, aa, bbb, page"):
        main(["--outputs", str(outputs), "rm", "cc"])
    main(["--outputs", str(outputs), "rm", "page"])
    main(["--outputs", str(outputs), "rm", "v", "--force"])
    assert "made from it: ldm/aa, ldm/bbb" in capsys.readouterr().out
    assert not (outputs / "vae" / "v").exists()
    assert (outputs / "ldm" / "aa").exists()
