"""Bad input: one clear sentence, exit code 2, nothing half-written; and quick answers to --help and typos."""

import pytest

VAE = ["train.py", "stage=vae", "logger=csv"]
DRY = ["data.reader.n=10", "prepare.dry_run=true"]


def lines(result):
    return [line for line in result.stderr.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.py"], "choose stage=vae, ldm, classifier, distill or upscaler"),
        (["train.py", "stage=foo"], "stage/foo"),
        (["train.py", "stage=vae", "trainer.precison=16"], "did you mean 'trainer.precision'"),
        (["train.py", "stage=vae", "name=a(b"], "a(b"),
        (["train.py", "stage=vae", "data=nih"], "data.root"),
        ([*VAE, "data=nih", "data.root=/no/such/folder"], "/no/such/folder"),
        ([*VAE, "prepared=/no/such/folder"], "python -m cxr_ldm.prepare"),
        (
            [*VAE, "trainer.precision=7", "data.reader.n=100", "data.size=32"],
            "not one of 32, 16, bf16 or auto",
        ),
        ([*VAE, "data.size=36", "data.reader.n=100"], "multiple of 8"),
        ([*VAE, "trainer.accelerator=foo"], "trainer.accelerator=foo is not one of"),
        ([*VAE, "training.vae.images=0"], "training.vae.images=0 must be 1 or more"),
        ([*VAE, "trainer.compile=foo"], "trainer.compile=foo is not one of"),
        ([*VAE, "trainer.graphs=true", "training.ldm.accumulate=2"], "training.ldm.accumulate=2 do not go together"),
        ([*VAE, "training.vae.workers=-1"], "training.vae.workers=-1 must be 0 or more"),
        ([*VAE, "training.vae.ema=2"], "training.vae.ema=2 must be below 1"),
        ([*VAE, "data.size=abc"], "data.size=abc must be a whole number"),
        (["sample.py", "prompt=x", "n=abc"], "n=abc must be a whole number"),
        (["sample.py", "prompt=x", "sampler.steps=0"], "sampler.steps=0"),
        (["sample.py", "prompt=x", "guidance.interval=[0.7,0.3]"], "guidance.interval=[0.7, 0.3] must be two times"),
        (["sample.py", "prompt=x", "format=jpg"], "format=jpg is not one of png or dicom"),
        (["sample.py", "prompt=x", "resolution=5"], "resolution=5 must be a whole number of pixels from 16 to 4096"),
        (["sample.py", "prompt=x", "watermark=maybe"], "watermark=maybe must be true or false"),
        (["sample.py", "prompt=x", "enhance=blurred"], "balanced"),
        (["sample.py", "prompt=x", "enhance=balanced", "enhance.steps=[{step:blur}]"], "step 'blur' is none of window"),
        (["sample.py", "prompt=x", "guidance.rescale=2"], "guidance.rescale=2 must be 1 or less"),
        (["train.py", "stage=vae", "prompt=x"], "prompt"),
        (["train.py", "stage=ldm"], "python train.py stage=vae"),
        (["evaluate.py", "stage=ldm"], "python train.py stage=ldm"),
        (["evaluate.py", "stage=vae"], "python train.py stage=vae"),
        (["evaluate.py", "stage=vae", "bundle=phantom"], "is of kind 'ldm', and stage.name=vae measures kind 'vae'"),
        (["train.py", "stage=ldm", "tune.rank=4"], "tune.rank= says how a bundle learns on"),
        (["sample.py", "prompt=x", "upscale_from=128"], "upscale_from= is of upscale="),
        (["evaluate.py", "stage=vae", "features=[classifier,classifier]"], "names classifier twice"),
        (["evaluate.py", "stage=vae", "features=[classifier,foo]"], "there are classifier, efficientnet_lite0, "),
        (["evaluate.py", "stage=vae", "features=[]"], "features=[] chooses no extractor"),
        (["sample.py", "prompt=x", "data=nih", "data.root=/no/such/folder"], "python train.py stage=ldm"),
        (["-m", "cxr_ldm.export", "bundle=/no/such/bundle"], "out is not set"),
        (["-m", "cxr_ldm.export", "bundle=/no/such/bundle", "out=/no/such/out"], "/no/such/bundle"),
        (["sample.py", "prompt=x", "bundle=/no/such/bundle"], "/no/such/bundle"),
        (["-m", "cxr_ldm.prepare", "data=table", "data.root=/no/such/folder"], "/no/such/folder"),
        (["-m", "cxr_ldm.prepare", *DRY, "data.splits.val=0.6", "data.splits.test=0.5"], "val=0.6 and test=0.5"),
        (["-m", "cxr_ldm.prepare", *DRY, "prepare.part=9/3"], "prepare.part=9/3 names no part"),
        ([*VAE, "trainer.devices=[]"], "trainer.devices=[]"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, command, tmp_path):
    result = command(*arguments, f"paths.outputs={tmp_path}/outputs", code=2)
    (line,) = [line for line in lines(result) if line.startswith("error: ")]
    assert words in line
    assert "Traceback" not in result.stderr
    assert not [
        path for stage in ("vae", "ldm", "evaluation", "samples") for path in tmp_path.glob(f"outputs/{stage}/*")
    ]
    if "data.size=36" not in arguments:  # whether a network takes a size is known once it is built
        assert not list(tmp_path.glob("outputs/prepared/*")), "said before the hours that preparing may take"
    assert not list(tmp_path.rglob("*.partial"))


def test_an_empty_prompt_list_is_refused(command, tmp_path):
    (tmp_path / "prompts.txt").write_text("\n  \n")
    arguments = ["sample.py", f"prompts_file={tmp_path}/prompts.txt", "bundle=phantom"]
    assert "holds no prompt" in command(*arguments, code=2).stderr


def test_a_csv_without_the_named_column_is_refused(command, tmp_path):
    (tmp_path / "table.csv").write_text("file,note\na.png,Normal.\n")
    options = ["data=table", f"data.root={tmp_path}", "data.reader.csv=table.csv"]
    columns = ["data.reader.image=file", "data.reader.text=report"]
    error = command("-m", "cxr_ldm.prepare", *options, *columns, f"paths.outputs={tmp_path}/out", code=2).stderr
    assert "report" in error
    assert "note" in error


def test_an_unreadable_image_is_a_row_of_rejected_csv(command, tmp_path):
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("not an image")
    (tmp_path / "table.csv").write_text("file,note\ngood.png,Normal.\nbad.png,Normal.\n")
    options = ["data=table", f"data.root={tmp_path}", "data.reader.csv=table.csv", "data.size=32"]
    columns = ["data.reader.image=file", "data.reader.text=note", "name=two"]
    command("-m", "cxr_ldm.prepare", *options, *columns, f"paths.outputs={tmp_path}/out")
    rejected = (tmp_path / "out" / "prepared" / "two" / "rejected.csv").read_text()
    assert "bad.png" in rejected
    assert "good" not in rejected


@pytest.mark.parametrize("arguments", [["--help"], ["stage=vae", "vea=tiny"]])
def test_help_and_typos_import_nothing_heavy(arguments, command):
    """What makes them answer in about a second; seconds themselves would measure the machine."""
    program = (
        f"import sys; sys.argv = ['train.py', *{arguments!r}]; sys.path.insert(0, '.');\n"
        "from cxr_ldm.commands.cli import launch\n"
        "try:\n    launch('train')\nexcept SystemExit: pass\n"
        "print('HEAVY', [m for m in ('torch', 'lightning', 'transformers', 'pandas') if m in sys.modules])"
    )
    assert "HEAVY []" in command("-c", program).stdout
