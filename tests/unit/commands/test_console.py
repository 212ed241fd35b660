"""cxr-ldm: one name for every command, and what `import cxr_ldm` offers."""

import os
import re
import subprocess
import sys

import pytest

import cxr_ldm
from cxr_ldm.app import library, signing
from cxr_ldm.assets import CONF
from cxr_ldm.commands.console import COMMANDS, for_streamlit, main
from cxr_ldm.errors import UserError
from cxr_ldm.loggers import mode_of, wandb_logger


def run(monkeypatch, *words):
    """Exit code of `cxr-ldm WORDS`."""
    monkeypatch.setattr(sys, "argv", ["cxr-ldm", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_every_command_with_a_config_is_one_of_its_words():
    assert set(COMMANDS) == {path.stem for path in CONF.glob("[!_]*.yaml")} - {"common"} | {"app", "runs", "verify"}


def test_help_and_sentences_name_the_commands_as_they_are_called(monkeypatch, capsys):
    run(monkeypatch, "train", "--help")
    out = capsys.readouterr().out
    assert "cxr-ldm train stage=vae" in out
    assert not re.search(r"python (train|-m cxr)", out)
    assert run(monkeypatch, "trian") == 2
    assert "knows no command trian; there are prepare, train" in capsys.readouterr().err


def test_the_page_opens_the_model_that_is_named_and_says_so(monkeypatch, tmp_path, capsys):
    for name in ("CXR_LDM_BUNDLE", "CXR_LDM_OUTPUTS"):
        monkeypatch.setenv(name, "")  # so that what is set is taken back
        monkeypatch.delenv(name)
    assert for_streamlit([f"paths.outputs={tmp_path}", "--server.port=1"]) == ["--server.port=1"]
    assert "using chest256 of the package, as" in capsys.readouterr().out
    assert library.models()[0].argument == "chest256"
    assert for_streamlit(["bundle=phantom"]) == []
    assert "using phantom of the package" in capsys.readouterr().out
    assert [model.argument for model in library.models()] == ["phantom", "chest256", "chest256_fast"]
    assert run(monkeypatch, "app", "bundle=nowhere") == 2
    assert "bundle=nowhere is no bundle" in capsys.readouterr().err


def test_the_page_is_told_what_compiles_its_networks_and_an_unknown_word_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(library.OUTPUTS, str(tmp_path))
    monkeypatch.setenv(library.COMPILE, "")
    assert for_streamlit(["app.compile=openvino"]) == []
    assert os.environ[library.COMPILE] == "openvino"
    with pytest.raises(UserError, match="compile=gcc is not one of"):
        for_streamlit(["app.compile=gcc"])


def test_the_page_is_told_who_signs_and_a_folder_without_a_certificate_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(library.OUTPUTS, str(tmp_path))
    monkeypatch.setenv(signing.C2PA, "")
    assert signing.signer() is None
    assert for_streamlit(["app.c2pa=self"]) == []
    assert signing.signer() is signing.signer()
    with pytest.raises(UserError, match="holds no certificate.pem"):
        for_streamlit([f"app.c2pa={tmp_path}"])


def test_where_wandb_is_not_installed_curves_go_to_a_csv_file(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("cxr_ldm.loggers.installed", lambda: False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    logger = wandb_logger(str(tmp_path), "p")
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.save()
    assert "loss" in (tmp_path / "csv" / "metrics.csv").read_text()
    assert "pip install 'cxr-ldm[wandb]'" in capsys.readouterr().out
    with pytest.raises(UserError, match="is not installed"):
        mode_of(False)


def test_the_package_offers_its_names_and_imports_no_torch_before_one_is_asked_for():
    program = (
        "import sys, cxr_ldm; print('torch' in sys.modules, 'load_bundle' in dir(cxr_ldm));"
        "print([getattr(cxr_ldm, name).__name__ for name in cxr_ldm.OFFERED] == list(cxr_ldm.OFFERED))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
    with pytest.raises(AttributeError, match="it offers TextToCXR"):
        cxr_ldm.nothing  # noqa: B018


def test_the_page_waits_for_no_library_of_training():
    program = "import sys, cxr_ldm.app.ui; print({'lightning', 'torchmetrics', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
