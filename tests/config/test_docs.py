"""Every command of README and docs composes with settings that pass their declaration, or is known to be there."""

import ast
import functools
import importlib
import re
import shlex
import subprocess
import tomllib

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate

from cxr_ldm.assets import CONF
from cxr_ldm.commands import checking, console, schema
from cxr_ldm.commands.cli import as_it_stands, split_literal
from cxr_ldm.data.readers.nih import report
from cxr_ldm.errors import UserError
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(?P<kind>\w*)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
PROGRAM = re.compile(r"^(?:\.venv/bin/)?python (?:(?P<script>\w+)\.py|-m cxr_ldm(?:\.(?:data\.)?| )(?P<module>\w+)) ")
COMMAND = re.compile(
    r"^(\.venv/bin/)?(python|cxr-ldm|make|pip|torchrun|sbatch|docker|wandb|scontrol|split|bash|streamlit) "
)
# What needs a GPU, Slurm, the network, or another machine, and holds no command of ours that could be composed.
ELSEWHERE = re.compile(
    r"^(bash (docs/one_gpu/)?there\.sh|pip wheel|pip (un)?install (torchvision|\.)$|wandb sync|split -b)"
    r"|scontrol requeue"
)


def commands():
    """Every line of the blocks of commands, and what stands in a sentence and calls a program."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in FENCED.finditer(text):
            if block["kind"] in ("sh", "bash"):
                for line in block["code"].replace("\\\n", " ").splitlines():
                    for part in line.split(" #")[0].split("; "):
                        if part.strip() and not part.startswith("#"):
                            yield case(page, part.strip())
        for code in INLINE.findall(FENCED.sub("", text)):
            line = " ".join(code.split())
            if COMMAND.match(line):
                yield case(page, line)


def case(page, line):
    """A line as one would type it, without the words that stand for any (`…`)."""
    typed = line.removeprefix("PYTHONPATH=. ").split(" ")
    return pytest.param(" ".join(word for word in typed if "…" not in word), id=f"{page.name}: {line[:70]}")


@functools.cache
def composed(line):
    """Whether a line, or what it hands to other machines, is a command of Hydra's; such a one must compose."""
    line = re.sub(r"^torchrun .*? (?=train\.py)", "python ", line)
    if line.startswith("sbatch"):
        line = shlex.split(line)[shlex.split(line).index("--wrap") + 1].replace("$SLURM_ARRAY_TASK_ID", "1")
    line = re.sub(r"^docker run .*? cxr-ldm ", "cxr-ldm ", line)
    line = re.sub(r"^cxr-ldm (?=train|evaluate|sample)(\w+)", r"python \1.py", line)
    line = re.sub(
        r"^cxr-ldm (?=prepare|export|card|quiz|benchmark|phantom|download|pack)(\w+)", r"python -m cxr_ldm.\1", line
    )
    call = PROGRAM.match(f"{line} ")
    command = call and (call["script"] or call["module"])
    if command not in console.COMMANDS or command in ("verify", "runs", "app"):
        return False
    _, words = split_literal(shlex.split(line, comments=True))
    words = [word for word in words[1:] if re.match(r"\+?[\w./@]+=", word) and not word.startswith("--")]
    if "-m" in line.split("=")[0].split()[2:]:  # a sweep: its first run, without who starts it
        words = [word.split(",")[0] if "interval" not in word and "choice" not in word else "" for word in words]
        words = [word for word in words if word and not word.startswith("hydra")]
    words = [word for word in words if not word.startswith("hydra.searchpath") and word != "denoiser=mine"]
    words = [word for word in words if word != "denoiser=wide"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(command, [as_it_stands(word) for word in words])
        checking.check(cfg, getattr(schema, command.capitalize()))
    return True


def known(line):
    """What else a line may be: a target of make, words of cxr-ldm, an extra, a script, a module that is there."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        return not subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True).returncode
    if words[0] == "source":  # of the folder that make install makes
        return f"BIN := {words[1].removesuffix('/activate')}\n" in (ROOT / "Makefile").read_text()
    if words[0] == "cxr-ldm":
        return words[1] in console.COMMANDS
    if words[:2] == ["pip", "install"] and "cxr-ldm" in words[2]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        return set(re.findall(r"\[(.*)\]", words[2])[0].split(",")) <= extras.keys()
    if words[0] == "docker":
        return (ROOT / "Dockerfile").is_file()
    if words[0].endswith("streamlit"):
        return (ROOT / words[2]).is_file()
    if words[1] == "-m" and words[2:3] != ["cxr_ldm"]:
        return importlib.util.find_spec(words[2]) is not None
    if words[1] == "-m":
        return words[3] in console.COMMANDS
    return (ROOT / words[1]).is_file() and words[1].startswith("docs/")


@pytest.mark.parametrize("line", commands())
def test_a_command_composes_or_is_known(line):
    assert composed(line) or ELSEWHERE.search(line) or known(line), f"nothing says whether `{line}` works"


def test_most_of_what_the_docs_show_is_composed():
    assert sum(bool(composed(case.values[0])) for case in commands()) > 100


@pytest.mark.parametrize(
    "line",
    [
        "python train.py stage=ldm trainer.presicion=16",
        "python -m cxr_ldm.prepare data=nih data.raot=DIR",
        "sbatch --wrap 'python -m cxr_ldm.prepare data=mimic data.root=DIR prepare.prat=$SLURM_ARRAY_TASK_ID/16'",
        "make dosc",
        "cxr-ldm tarin stage=vae",
        "pip install 'cxr-ldm[sluurm]'",
        "python docs/hause.py",
        "python -m cxr_ldm.benchmark.proze",
    ],
)
def test_a_typing_error_in_a_page_is_found(line):
    try:
        works = composed(line) or bool(ELSEWHERE.search(line)) or known(line)
    except (UserError, HydraException):
        works = False
    assert not works


def code(kind):
    """Blocks of one language, by page."""
    for page in PAGES:
        for number, block in enumerate(FENCED.finditer(page.read_text(encoding="utf-8"))):
            if block["kind"] == kind:
                yield pytest.param(block["code"], id=f"{page.name} {number}")


@pytest.mark.parametrize("block", code("python"))
def test_what_python_of_the_docs_imports_is_there(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_denoiser_of_the_docs_is_swapped_by_one_file(tmp_path):
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    text = next(block["code"] for block in FENCED.finditer(page) if "UNet" in block["code"])
    (tmp_path / "denoiser").mkdir()
    (tmp_path / "denoiser" / "wide.yaml").write_text(text)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", ["stage=ldm", "denoiser=wide", f"hydra.searchpath=[file://{tmp_path}]"])
        checking.check(cfg, schema.Train)
    network = instantiate(cfg.denoiser, latent_channels=4, context_width=32)
    assert network.conv_in.out_channels == yaml.safe_load(text)["channels"][0]


CLASSES = "No Finding,Cardiomegaly,Edema,Pneumothorax,Enlarged Cardiomediastinum,Lung Opacity,Lung Lesion,Consolidation"
CLASSES += ",Pneumonia,Atelectasis,Pleural Effusion,Pleural Other,Fracture,Support Devices"
# A row of each collection as its publisher writes it, and files that it names.
ROWS = {
    "chexpert": {
        "train.csv": f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CLASSES}\ntrain/patient00001/study1/view1_frontal.jpg,"
        f"Female,68,Frontal,AP,,,-1.0,0.0,,,,,,,,,,\n"
    },
    "mimic": {
        "mimic-cxr-2.0.0-metadata.csv": "dicom_id,subject_id,study_id,ViewPosition\n02aa,10000032,50414267,PA\n",
        "mimic-cxr-2.0.0-chexpert.csv": f"subject_id,study_id,{CLASSES}\n10000032,50414267,,1.0,,0.0,,,,,,,,,,\n",
    },
    "kermany": {"train/PNEUMONIA/person1_bacteria_1.jpeg": ""},
    "covid": {
        "metadata.csv": "patientid,sex,age,finding,view,filename,clinical_notes\n2,M,65,COVID-19,PA,a.jpg,He coughs.\n"
    },
    "hannover": {"data.csv": "patient_id,image_id,sex,age,projection\np1,aa,f,61,pa\n"},
}
IMAGES = {
    "chexpert": "train/patient00001/study1/view1_frontal.jpg",
    "mimic": "files/p10/p10000032/s50414267/02aa.jpg",
    "covid": "images/a.jpg",
    "hannover": "png/aa.png",
}


@pytest.mark.parametrize("name", ROWS)
def test_a_collection_comes_out_as_the_data_guide_says(name, tmp_path):
    for file, text in ROWS[name].items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    if name in IMAGES:
        (tmp_path / IMAGES[name]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / IMAGES[name]).write_bytes(b"not read")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        reader = instantiate(compose("prepare", [f"data={name}", f"data.root={tmp_path}"]).data.reader)
    (record,) = reader.records()
    said = re.findall(r"\*(Chest X-ray.*?|Frontal chest X-ray.*?)\*", section(f"data={name}"), re.DOTALL)
    assert record.text.removesuffix(" He coughs.") in [" ".join(text.split()) for text in said]


def test_the_nih_sentence_of_the_data_guide_is_the_readers():
    assert report(["Cardiomegaly", "Effusion"], "PA", "58", "M") in " ".join(section("data=nih").split())


def section(command):
    """The section of the data guide whose block holds a command."""
    sections = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("\n## ")[1:]
    return next(text for text in sections if command in text)


def test_every_collection_has_a_section_with_its_one_command():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    collections = {path.stem for path in (CONF / "data").glob("*.yaml")} - {"_base", "nih512"}  # that of one recipe
    assert {name for name in collections if f"python -m cxr_ldm.prepare data={name}" not in page} == set()


def test_the_recipes_name_every_experiment_with_the_minutes_that_its_file_states():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        assert path.stem in page
        for row in page.splitlines():
            if row.startswith(f"| `experiment={path.stem}`"):
                head = path.read_text(encoding="utf-8")
                takes = row.split("|")[3]
                assert [number for number in re.findall(r"\d+", takes.replace("H100", "")) if number not in head] == []


def cells(page, row):
    """Of the first line of a result page that begins so, its cells."""
    lines = (ROOT / "docs" / "results" / page).read_text(encoding="utf-8").splitlines()
    return [cell.strip(" *") for cell in next(line for line in lines if line.startswith(row)).strip("|").split(" | ")]


def test_how_many_images_a_figure_needs_is_what_the_pages_say():
    guide = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert "500 images for a standard error under a hundredth, 200 for one above" in guide
    kid = "| `kid_efficientnet_lite0` |"
    for page in ("chest256.md", "indiana256.md"):
        assert float(cells(page, kid)[1].split("±")[1].split()[0]) < 0.01
    assert cells("chest256.md", kid)[3] == "500"
    assert float(cells("finetune.md", "| as it was |")[4].split("±")[1]) > 0.01
    assert "500 samples for five copies in a hundred, 2,000 for one" in guide
    for setting in ("250 trained on, 250 held out | {}", "1000 trained on, 250 held out | {}", "radiographs | {}"):
        alarms = {n: cells("copies.md", f"| {setting.format(n)} | exact, {share}") for n, share in ((500, "5 %"),)}
        assert float(alarms[500][5].split()[0]) == 1.0
    for trained in (250, 1000):
        assert (
            float(cells("copies.md", f"| {trained} trained on, 250 held out | 2000 | exact, 1 %")[5].split()[0]) >= 0.9
        )
