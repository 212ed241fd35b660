"""The wheel in an environment of its own, away from the repository: what a user has who typed pip install."""

import os
import subprocess
import sys
import time
import urllib.request
import zipfile

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]
TINY = ["data.reader.n=80", "data.size=32", "vae=tiny", "denoiser=tiny", "text_encoder.layers=1"]
TINY += [f"training.{stage}.{key}" for stage in ("vae", "ldm") for key in ("images=32", "validate_every=32")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def cxr_ldm(wheel, tmp_path_factory):
    """Runs `cxr-ldm WORDS` in an empty folder; without the extras app and wandb."""
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", place / "env"], check=True)
    pip = [place / "env/bin/python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, "torch==2.13.0"], check=True)
    subprocess.run([*pip, wheel], check=True)
    (place / "work").mkdir()
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words, code=0):
        done = subprocess.run(
            [place / "env/bin/cxr-ldm", *words], cwd=place / "work", env=surroundings, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    run.place, run.surroundings = place, surroundings
    return run


def test_the_wheel_holds_the_configs_no_test_and_no_weight_twice(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        weights = [entry.CRC for entry in archive.infolist() if entry.filename.endswith(".safetensors")]
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert {f"cxr_ldm/{path}" for path in configs} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"cxr_ldm"}
    assert not [name for name in names if "test" in name.lower()]
    assert len(weights) == len(set(weights))


def test_the_whole_path_runs_where_only_the_wheel_is_installed(cxr_ldm):
    cxr_ldm("prepare", *TINY)
    assert "wandb is not installed" in cxr_ldm("train", "stage=vae", *TINY).stdout
    cxr_ldm("train", "stage=ldm", *TINY)
    cxr_ldm("sample", "prompt=Right pleural effusion.", "n=1", "sampler.steps=2", *TINY)
    cxr_ldm("evaluate", "stage=ldm", "metrics.n=8", "metrics.adherence_n=2", "sampler.steps=1", *TINY)
    work = cxr_ldm.place / "work" / "outputs"
    assert list(work.glob("samples/*/0000.png"))
    assert list(work.glob("evaluation/*/metrics.json"))
    error = cxr_ldm("evaluate", "stage=vae", "data.reader.n=90", code=2).stderr
    assert "`cxr-ldm train stage=vae`" in error
    assert "pip install 'cxr-ldm[app]'" in cxr_ldm("app", code=2).stderr


def test_the_page_starts_with_its_extra(cxr_ldm, wheel):
    python = cxr_ldm.place / "env/bin/python"
    extra = [f"{wheel}[app]", "-c", ROOT / "constraints.txt"]
    subprocess.run([python, "-m", "pip", "install", "-q", *extra], check=True)
    words = ["app", "--server.port=8599", "--server.headless=true"]
    with subprocess.Popen(
        [cxr_ldm.place / "env/bin/cxr-ldm", *words], cwd=cxr_ldm.place / "work", env=cxr_ldm.surroundings
    ) as page:
        try:
            for _ in range(120):
                time.sleep(1)
                try:
                    with urllib.request.urlopen("http://127.0.0.1:8599/_stcore/health") as answer:
                        assert answer.read() == b"ok"
                        break
                except OSError:
                    assert page.poll() is None
            else:
                pytest.fail("the page did not answer within two minutes")
        finally:
            page.terminate()
