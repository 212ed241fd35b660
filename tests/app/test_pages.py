"""Each page as its visitor uses it, and with what it must refuse."""

import base64
import gc
import io
import shlex
import shutil
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from c2pa import Reader
from opened import MAIN, RUN, healthy
from PIL import Image
from streamlit.testing.v1 import AppTest

from cxr_ldm import artifacts, content
from cxr_ldm.app import door, library, signing, ui
from cxr_ldm.app.brush import mask_of
from cxr_ldm.app.forming import Drawing
from cxr_ldm.app.generation import Request, animation, png_files
from cxr_ldm.app.turns import Turns
from cxr_ldm.app.visits import Visit
from cxr_ldm.assets import DEMO, MODELS
from cxr_ldm.bundle import load_bundle, save_again, save_bundle
from cxr_ldm.data.prepared.folder import IMAGES, Prepared, checksums
from cxr_ldm.imaging.dicom import Study, dataset
from cxr_ldm.imaging.grids import KEY, grid, to_uint8
from cxr_ldm.imaging.presets import apply, presets
from cxr_ldm.imaging.provenance import read_png
from cxr_ldm.inspection.attention import attention_maps
from cxr_ldm.inspection.layers import layers
from cxr_ldm.metrics.results import Metric, read_metrics, run_entry, write_metrics
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.quiz.score import COLUMNS
from cxr_ldm.text.attributes import PatientAttributes
from cxr_ldm.text.reading import Reading


def generated(app, prompt="Left pneumothorax.", n=2, steps=3):
    """The page after a generation."""
    app.text_area(key="prompt").set_value(prompt)
    app.number_input(key="n").set_value(n)
    app.number_input(key="steps").set_value(steps)
    app.button(key="generate").click().run()
    healthy(app)
    return app


def test_an_environment_that_names_no_model_is_one_sentence(outputs, monkeypatch):
    monkeypatch.setenv("CXR_LDM_BUNDLE", "nowhere")
    app = AppTest.from_file(str(MAIN), default_timeout=180).run()
    assert not app.exception
    assert "bundle=nowhere" in app.error[0].value


def test_generate_and_the_same_again(page, outputs, command, tmp_path):
    """The command that the page shows makes the same pixels; brackets, commas and quotes in the prompt included."""
    app = generated(page("generate"), prompt='Large "right" effusion, (no [other] finding).')
    result = app.session_state["result"]
    assert not app.error
    assert tuple(result.images.shape) == (2, 1, 64, 64)
    assert len(result.frames) == 3, "a preview for each step"
    words = shlex.split(app.code[0].value)
    assert words[:2] == ["python", "sample.py"]
    command(*words[1:], f"paths.outputs={tmp_path}", "name=again")
    for index, image in enumerate(result.images):
        again = np.asarray(Image.open(tmp_path / "samples" / "again" / f"{index:04d}.png"))
        assert np.array_equal(again, to_uint8(image[0]))
        facts = read_png(tmp_path / "samples" / "again" / f"{index:04d}.png")
        assert facts == result.facts()[index]


def test_what_is_taken_home_is_signed_where_the_page_was_told_so(page, monkeypatch, tmp_path):
    monkeypatch.setenv(signing.C2PA, "self")
    images, facts = torch.zeros(2, 1, 64, 64), [{"synthetic": True, "prompt": word} for word in "ab"]
    for (name, file), fact in zip(png_files(images, facts).items(), facts, strict=True):
        (tmp_path / name).write_bytes(file)
        assert Reader(tmp_path / name).get_validation_state() == "Valid"
        assert read_png(tmp_path / name) == fact
    monkeypatch.setenv(signing.C2PA, str(tmp_path))
    app = AppTest.from_file(str(MAIN), default_timeout=180).run()
    assert "holds no certificate.pem" in app.error[0].value


def test_every_file_says_that_it_is_synthetic():
    """PNG and DICOM are tested where they are written; here the moving pictures."""
    frames = [torch.zeros(2, 1, 64, 64), torch.ones(2, 1, 64, 64)]
    gif = Image.open(io.BytesIO(animation(frames, 2)))
    webp = Image.open(io.BytesIO(animation(frames, 2, "WEBP")))
    assert (gif.n_frames, webp.n_frames) == (2, 2)
    assert b"Not for diagnosis" in gif.info["comment"]
    assert "Not for diagnosis" in webp.getexif()[0x010E]


def test_the_page_says_what_the_model_does_not_read_or_know(page):
    app = generated(page("generate"), prompt="A photo of a dog. " + "Clear lungs. " * 40)
    said = [each.value for each in app.warning]
    assert any(text.startswith("The prompt is longer than the 64 tokens") for text in said)
    assert ui.literal("The model's vocabulary does not know: photo, dog.") in said
    app = generated(page("generate"), prompt="A photo of a dog.")
    assert ui.literal("The prompt names no finding that the model was trained on.") in [
        each.value for each in app.warning
    ]
    app = generated(page("generate"))
    assert len(app.warning) == 1, "the banner alone"


def test_example_fills_the_prompt(page):
    app = page("generate")
    app.button_group(key="example").set_value("nodule").run()
    assert app.text_area(key="prompt").value == "Nodule in the left upper zone."


def test_empty_prompt_is_refused(page):
    app = generated(page("generate"), prompt="   ")
    assert [error.value for error in app.error] == ["The prompt is empty: write what the image should show."]
    assert "result" not in app.session_state


def test_several_prompts_are_drawn_one_after_another_and_their_commands_make_the_same(page):
    app = generated(page("generate"), prompt="Left pneumothorax.\n\nCardiomegaly.\n", n=2, steps=2)
    result = app.session_state["result"]
    assert [request.prompt for request in result.requests] == ["Left pneumothorax.", "Cardiomegaly."]
    assert result.images.shape[0] == len(result.facts()) == 4
    assert [facts["seed"] for facts in result.facts()] == [0, 1, 0, 1]
    assert result.captions()[3] == "seed 1, Cardiomegaly."
    twice = generated(page("generate"), prompt="Cardiomegaly.\nCardiomegaly.", n=1, steps=2)
    assert len(twice.session_state["result"].requests) == 1, "a line that stands twice is drawn once"
    assert [code.value for code in app.code][:2] == [request.command() for request in result.requests]
    app = generated(page("generate"), prompt="\n".join(f"Nodule {place}." for place in range(9)), n=2)
    assert [error.value for error in app.error] == ["9 prompts of 2 images are more than 16; ask for fewer."]


def test_the_images_move_away_from_a_text_where_guidance_is_above_one(page):
    app = page("generate")
    app.slider(key="guidance").set_value(2.0).run()
    app.text_input(key="negative").set_value("Cardiomegaly.")
    app = generated(app, n=1)
    (request,) = app.session_state["result"].requests
    assert request.facts(0, "", Reading(9))["guidance_negative"] == "Cardiomegaly."
    assert "guidance.negative=Cardiomegaly." in request.command()
    app.slider(key="guidance").set_value(1.0).run()
    assert app.text_input(key="negative").disabled
    assert "negative" not in generated(app, n=1).session_state["result"].requests[0].command()


def test_generating_again_takes_another_seed_unless_it_is_kept(page):
    app = generated(page("generate"), n=1, steps=2)
    assert app.session_state["result"].requests[0].seed == 0
    app.button(key="generate").click().run()
    again = app.session_state["result"].requests[0].seed
    assert again != 0
    app.toggle(key="locked").set_value(True).run()
    app.button(key="generate").click().run()
    assert app.session_state["result"].requests[0].seed == again
    app.toggle(key="locked").set_value(False).run()
    app.number_input(key="seed").set_value(7).run()
    app.button(key="generate").click().run()
    assert app.session_state["result"].requests[0].seed == 7, "one that was typed is taken as it is"


def test_what_was_drawn_is_there_after_a_reload_and_nobody_elses(page, outputs):
    app = generated(page("generate"), prompt="Cardiomegaly.", n=2, steps=2)
    token = app.query_params["visit"]
    kept = Visit(outputs / "app" / "visits", token).generations()
    assert [each.settings["prompt"] for each in kept] == ["Cardiomegaly."]
    assert read_png(kept[0].pictures[1])["seed"] == 1
    assert np.array_equal(kept[0].picture(0), to_uint8(app.session_state["result"].finished[0][0]))
    reloaded = AppTest.from_file(str(MAIN), default_timeout=180)
    reloaded.query_params["visit"] = token
    reloaded.run()
    healthy(reloaded)
    assert any(each.value == "**Drawn before**" for each in reloaded.markdown)
    assert not any(each.value == "**Drawn before**" for each in page("generate").markdown)
    app.switch_page("views/model.py").run()
    app.query_params.clear()  # as a browser does between pages
    app.switch_page("views/generate.py").run()
    assert app.query_params["visit"] == token


def test_what_was_done_is_kept_where_another_generation_begins(page):
    """As after Stop, or a click on Generate while images form."""
    app = generated(page("generate"), n=2, steps=2)
    drawn = app.session_state["result"]
    half = Drawing(drawn.requests[0].each(), None, None)
    half.drawn, half.frames = [drawn.images[:1]], [[drawn.images[:1]]]
    app.session_state["unfinished"] = half
    app.run()
    healthy(app)
    assert len(app.session_state["result"].images) == 1
    assert "unfinished" not in app.session_state


def test_a_damaged_collection_does_not_cost_the_images(page, outputs, monkeypatch, tmp_path):
    """What was drawn is shown and kept; why nearness is not known is said, and the next generation goes on."""
    damaged = tmp_path / "outputs"
    shutil.copytree(outputs, damaged)
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(damaged))
    images = damaged / "prepared" / "phantoms" / IMAGES
    images.write_bytes(images.read_bytes()[:-50] + bytes(50))
    app = generated(page("generate"), n=1, steps=2)
    assert any("damaged" in error.value for error in app.error)
    assert app.session_state["result"].found is None
    app.button(key="generate").click().run()
    token = app.query_params["visit"]
    assert len(Visit(damaged / "app" / "visits", token).generations()) == 2


def test_words_of_a_link_make_no_picture_and_no_link(page):
    app = generated(page("generate"), prompt="Clear lungs. " * 40 + "![x](https://evil.example/p.png)", n=1)
    (said,) = [each.value for each in app.warning if "cut off" in each.value]
    assert "evil" in said
    assert "![x](" not in said
    assert "https://" not in said


def test_a_link_states_settings_and_what_is_impossible_in_it_is_left_out(outputs):
    stated = {"prompt": "Cardiomegaly.", "seed": "12", "steps": "9", "guidance": "2.5", "sampler": "ddim", "n": "3"}
    files = {"watermark": "1", "upscale": "0", "resolution": "128 × 128", "enhance": presets()["balanced"].label}
    app = AppTest.from_file(str(MAIN), default_timeout=180)
    for key, value in (stated | files).items():
        app.query_params[key] = value
    app.run()
    healthy(app)
    assert (app.checkbox(key="watermark").value, app.checkbox(key="upscale").value) == (True, False)
    assert [app.selectbox(key=key).value for key in ("resolution", "enhance")] == [
        files["resolution"],
        files["enhance"],
    ]
    found = {"prompt": app.text_area(key="prompt").value, "guidance": app.slider(key="guidance").value}
    found |= {key: app.number_input(key=key).value for key in ("seed", "steps", "n")}
    found["sampler"] = app.selectbox(key="sampler").value
    assert {key: str(value) for key, value in found.items()} == stated
    app = AppTest.from_file(str(MAIN), default_timeout=180)
    wrong = {"seed": "-1", "steps": "many", "guidance": "inf", "sampler": "../x", "n": "1e9", "model": "nowhere"}
    for key, value in wrong.items():
        app.query_params[key] = value
    app.run()
    healthy(app)
    assert (app.number_input(key="seed").value, app.number_input(key="n").value) == (0, 4)
    assert app.selectbox(key="model").value == RUN


def test_a_password_stands_before_every_page(outputs, monkeypatch):
    monkeypatch.setenv("CXR_LDM_PASSWORD", "très secret")
    paused = []
    monkeypatch.setattr("cxr_ldm.app.door.time.sleep", lambda seconds: paused.append((seconds, door.WRONG.locked())))
    app = AppTest.from_file(str(MAIN), default_timeout=180).run()
    assert not app.button
    app.text_input(key="password").set_value("tres secret").run()
    assert [error.value for error in app.error] == ["This is not the password."]
    assert (door.PAUSE, True) in paused, "guesses wait for each other, whatever their sessions"
    assert not app.button
    app.text_input(key="password").set_value("très secret").run()
    healthy(app)
    assert app.button(key="generate")
    monkeypatch.setenv("CXR_LDM_PASSWORD", "")
    assert not AppTest.from_file(str(MAIN), default_timeout=180).run().button, "an unset variable opens nothing"


@pytest.mark.campaign
def test_a_page_that_was_told_so_draws_by_openvino(page, monkeypatch):
    usual = generated(page("generate"), n=1).session_state["result"].images
    ui.pipeline.clear()
    monkeypatch.setenv("CXR_LDM_COMPILE", "openvino")
    app = generated(page("generate"), n=1)
    try:
        model = next(each for each in library.models() if each.argument == RUN or each.name == RUN)
        assert ui.loaded(model).backend == "openvino"
        assert (app.session_state["result"].images - usual).abs().max() < 0.2
        compiled = ui.loaded(model)
        for _ in range(2):  # the first call traces the network, the second runs what was made of it
            assert len(attention_maps(compiled, "Left pneumothorax.", 0, steps=1).words) == 3
            run = partial(compiled.uncompiled(), [""], [0], steps=1)
            assert {layer.part for layer in layers(compiled.parts(), run) if layer.shape} >= {"network", "autoencoder"}
        assert compiled.backend == "openvino"
    finally:
        ui.pipeline.clear()


def test_a_model_that_makes_room_for_another_is_no_longer_said_to_be_there(page):
    page("generate")
    model = next(each for each in library.models() if each.argument == RUN or each.name == RUN)
    found = ui.loaded(model)
    assert ui.ready(model) is found
    ui.forget(found)  # as Streamlit does when a fourth model comes
    try:
        assert ui.ready(model) is None
    finally:
        ui.loaded(model)


def test_a_model_says_how_good_it_is(page):
    app = page("generate")
    assert any("How good it is was not measured" in caption.value for caption in app.caption)
    said = library.quality(next(model for model in library.models() if model.argument == "chest256"))
    shipped = read_metrics(MODELS["chest256"].parent / "chest256_metrics.json")
    assert f"KID {shipped['kid_efficientnet_lite0']['value']:.2g} from real images (n = 500): not good yet" in said
    assert "256,000 images seen" in said


def test_another_sampler(page):
    """One that draws fresh noise in every step, so the page has to hand on more than a name."""
    usual = generated(page("generate"), steps=2)
    app = page("generate")
    app.selectbox(key="sampler").set_value("ddpm")
    app = generated(app, steps=2)
    assert not app.error
    images = app.session_state["result"].images
    assert len(images) == 2
    assert (images - usual.session_state["result"].images).abs().mean() > 0.01
    assert "sampler=ddpm" in app.code[0].value
    assert "sampler=ddpm" not in usual.code[0].value


def test_nearest_training_image_is_shown_and_a_copy_is_called_one(page, outputs, monkeypatch, tmp_path):
    """The image that the model is about to make is planted among its training images."""
    planted = tmp_path / "outputs"
    shutil.copytree(outputs, planted)
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(planted))
    (model,) = [model for model in library.models() if model.name == RUN]
    request = Request(model, "Left pneumothorax.", n=2, steps=3)
    image = request.generate(TextToCXR.from_bundle(model.folder))[0]
    folder = library.collection_of(model)
    row = Prepared(folder).rows("train")[5]
    array = np.load(folder / IMAGES)
    array[row] = to_uint8(image[0])
    np.save(folder / IMAGES, array)
    record = artifacts.read_record(folder) | {"files": checksums(folder)}
    artifacts.write_json(folder / artifacts.RECORD, content.sealed(record))

    app = generated(page("generate"))
    assert len(app.error) == 1
    assert "seed 0 is too close to a training image (correlation 1.000" in app.error[0].value
    labels = [expander.label for expander in app.expander]
    assert "Nearest training images" in labels
    assert sum(caption.value.startswith("seed ") for caption in app.caption) == 2


def test_without_the_collection_nearness_is_not_claimed(page):
    app = page("generate")
    app.selectbox(key="model").set_value(library.PACKAGED["phantom"])
    app = generated(app, n=1)
    assert any("was not checked" in caption.value for caption in app.caption)


def test_view_age_and_sex_of_a_model_that_takes_them(page, tmp_path, monkeypatch):
    """They reach the model, the command and the provenance; what is not stated is left out."""
    bundle = load_bundle(DEMO, "ldm")
    attributes = PatientAttributes(["view", "age", "sex"], bundle.parts["text_encoder"].width)
    specs = dict(bundle.spec) | {"attributes": {"_target_": f"{PatientAttributes.__module__}.PatientAttributes"}}
    specs["attributes"] |= attributes.arguments
    run = tmp_path / "ldm" / "with-patients"
    save_bundle(run / "bundle", "ldm", specs, dict(bundle.parts) | {"attributes": attributes}, bundle.info)
    artifacts.write_record(run, {}, complete=True, data="phantoms", finished="2026-01-01T00:00:00")
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(tmp_path))
    app = page("generate")
    app.selectbox(key="view").set_value("AP")
    app.number_input(key="age").set_value(70)
    app = generated(app, n=1)
    assert not app.error
    result = app.session_state["result"]
    assert result.requests[0].facts(0, "", Reading(9))["patient"] == {"view": "AP", "age": 70}
    assert "patient.view=AP patient.age=70" in app.code[0].value
    plain = replace(result.requests[0], patient={}).generate(TextToCXR.from_bundle(run / "bundle"))
    assert not torch.equal(plain, result.images)


def test_the_slider_stands_where_the_model_says(page, tmp_path, monkeypatch):
    """A bundle's own guidance is the page's default, and goes into the command and the provenance."""
    run = tmp_path / "ldm" / "guided"
    entry = {"scale": 2.5, "interval": [0.0, 0.9], "rescale": 0.0, "chosen": {"split": "val"}}
    save_again(DEMO, run / "bundle", guidance=entry)
    artifacts.write_record(run, {}, complete=True, data="phantoms", finished="2026-01-01T00:00:00")
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(tmp_path))
    app = page("generate")
    assert app.slider(key="guidance").value == 2.5
    app = generated(app, n=1)
    facts = app.session_state["result"].requests[0].facts(0, "", Reading(9))
    assert (facts["guidance"], facts["guidance_interval"]) == (2.5, [0.0, 0.9])
    assert "guidance.scale=2.5" in app.code[0].value
    app.slider(key="guidance").set_value(4.0).run()
    assert app.slider(key="guidance").value == 4.0
    app.selectbox(key="model").set_value(library.PACKAGED["phantom"]).run()
    assert app.slider(key="guidance").value == library.models()[-1].guidance.scale
    assert any("guidance 2.5 (chosen on val)" in caption.value for caption in page("model").caption)


def with_student(outputs):
    """A run whose network is the phantom model's as it was, in the form of a student of four steps."""
    bundle = load_bundle(DEMO, "ldm")
    arguments = {key: value for key, value in bundle.spec["network"].items() if key != "part"} | {"scales": [1.0, 4.0]}
    network = StudentUNet(**arguments)
    network.load_state_dict(network.state_dict() | bundle.parts["network"].state_dict())
    info = bundle.info | {"sampling": {"sampler": "flow_map", "steps": 4}, "teacher": bundle.sha256}
    specs = bundle.spec | {"network": {"part": "StudentUNet", **arguments}}
    save_bundle(outputs / "ldm" / "quick" / "bundle", "ldm", specs, bundle.parts | {"network": network}, info)
    artifacts.write_record(outputs / "ldm" / "quick", {}, complete=True, finished="2026-01-01T00:00:00")


def sketches(app):
    """Captions and addresses of the pictures that stand on the page."""
    return [(each.caption, each.url) for found in app.get("image") for each in found.proto.imgs]


def test_a_model_with_a_student_draws_while_one_types(page, tmp_path, monkeypatch):
    """At each prompt, before anything is generated; another model, an empty prompt or the switch end it."""
    with_student(tmp_path)
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(tmp_path))
    app = page("generate")
    app.selectbox(key="model").set_value(library.PACKAGED["phantom"]).run()
    healthy(app)
    ((caption, first),) = sketches(app)
    assert caption == "seed 0, in 4 steps"
    app.text_area(key="prompt").set_value("Left pneumothorax.").run()
    ((_, second),) = sketches(app)
    assert first != second
    app.slider(key="guidance").set_value(9.0).run()  # beyond what the student learnt
    healthy(app)
    assert len(sketches(app)) == 1
    assert "result" not in app.session_state
    app.text_area(key="prompt").set_value("").run()
    assert sketches(app) == []
    app.text_area(key="prompt").set_value("Left pneumothorax.").run()
    app.toggle(key="live").set_value(False).run()
    assert sketches(app) == []
    app.toggle(key="live").set_value(True).run()
    assert library.student_of(library.models()[0]).argument == library.models()[0].argument  # a student is its own
    assert len(sketches(app)) == 1


def test_a_model_without_a_student_draws_nothing_while_one_types(page):
    app = page("generate")
    assert sketches(app) == []
    assert [toggle.key for toggle in app.toggle] == ["locked"]


def test_curves_of_an_evaluation(page, tmp_path, monkeypatch):
    """A figure and its data for each axis that was measured."""
    metrics = {
        f"kid_efficientnet_lite0_at_guidance_{scale}": Metric(0.1 * scale, 8, False, settings={}, reason="a test")
        for scale in (1, 2, 4)
    }
    entry = run_entry(composed={}, bundle_sha256=None, seed=0)
    write_metrics(tmp_path / "evaluation" / "full" / "metrics.json", metrics, entry)
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(tmp_path))
    app = page("research")
    assert app.selectbox(key="evaluation").value == "full"
    assert [button.label for button in app.download_button] == ["Figure (SVG)", "Data (CSV)"]


def test_two_visitors_take_turns():
    """The second is told that it waits, works only after the first, and a third that gives up leaves the queue."""
    turns, order = Turns(), []
    begun, go_on = threading.Event(), threading.Event()

    def first():
        with turns.turn(lambda ahead: order.append(("first waits", ahead))):
            begun.set()
            assert go_on.wait(20)
            order.append("first done")

    def second():
        with turns.turn(lambda ahead: order.append(("second waits", ahead)), every=0.01):
            order.append("second done")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    while ("second waits", 1) not in order:
        pass

    class GaveUp(Exception):
        pass

    def leave(ahead):
        assert ahead == 2
        raise GaveUp

    with pytest.raises(GaveUp), turns.turn(leave):
        pass
    assert turns.waiting == 2
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert [entry for entry in order if isinstance(entry, str)] == ["first done", "second done"]
    assert turns.waiting == 0


def test_enhance_upload_and_order(page):
    """An uploaded PNG runs through a preset; its statistics change, and order matters."""
    app = page("enhance")
    ramp = np.tile(np.linspace(60, 180, 64).astype(np.uint8), (64, 1))
    app.file_uploader(key="file").upload("a.png", png(ramp), "image/png").run()
    healthy(app)
    assert not app.error
    table = app.dataframe[0].value.set_index("statistic")
    assert table.loc["RMS contrast", "before"] == pytest.approx(ramp.std() / 255, abs=2e-3)
    assert table.loc["RMS contrast", "after"] != pytest.approx(table.loc["RMS contrast", "before"], abs=1e-4)
    for preset in app.selectbox(key="preset").options:
        app.selectbox(key="preset").set_value(preset).run()
        healthy(app)
        assert not app.error
    for view in ("side by side", "stages"):
        app.segmented_control(key="view_mode").set_value(view).run()
        healthy(app)


def test_enhance_takes_the_steps_in_their_order(page):
    """What is shown after is the chain as it stands on the page, and another order is another picture."""
    app = page("enhance")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    app.file_uploader(key="file").upload("a.png", png(noise), "image/png").run()
    preset = presets()["balanced"]
    app.selectbox(key="preset").set_value(preset.label).run()
    after = {}
    for steps in (preset.steps, preset.steps[::-1]):
        names = [step["step"] for step in steps]
        app.multiselect(key=f"order_{preset.label}").set_value(names).run()
        healthy(app)
        shown = app.dataframe[0].value.set_index("statistic").loc["RMS contrast", "after"]
        assert shown == pytest.approx(apply(noise / np.float32(255), steps)[-1].image.std(), abs=1e-4)
        after[tuple(names)] = shown
    assert len(after) == 2
    assert np.ptp(list(after.values())) > 1e-3


def test_enhance_reads_a_dicom_radiograph(page):
    """Its window and its polarity are followed: a MONOCHROME1 file comes out as the picture that it shows."""
    levels = np.tile(np.linspace(40, 200, 64).astype(np.uint8), (64, 1))
    header = dataset(255 - levels, {"prompt": ""}, Study.new(), 1)
    header.Modality, header.PhotometricInterpretation = "CR", "MONOCHROME1"
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    app = page("enhance")
    app.file_uploader(key="file").upload("a.dcm", buffer.getvalue(), "application/dicom").run()
    healthy(app)
    assert not app.error
    table = app.dataframe[0].value.set_index("statistic")
    low, high = np.quantile(levels / 255, [0.05, 0.95])
    expected = (high - low) / (high + low)
    assert table.loc["Michelson contrast", "before"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"hello, world" * 50, "is no PNG, JPEG or DICOM file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 500, "not a readable PNG"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 900, "broken.png: "),
    ],
)
def test_enhance_bad_uploads_give_a_sentence(page, content, sentence):
    app = page("enhance")
    app.file_uploader(key="file").upload("broken.png", content, "image/png").run()
    healthy(app)
    assert any(sentence in error.value for error in app.error), [error.value for error in app.error]
    app.file_uploader(key="file").upload("good.png", png(np.full((64, 64), 99, np.uint8)), "image/png").run()
    assert not app.error, "the page lives on"


def test_enhance_refuses_a_huge_picture(page):
    app = page("enhance")
    buffer = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    app.file_uploader(key="file").upload("bomb.png", buffer.getvalue(), "image/png").run()
    healthy(app)
    assert "30000 × 30000 pixels; at most 5000 a side" in app.error[0].value


def test_dataset_filters_and_real_beside_generated(page, outputs):
    app = page("dataset")
    assert app.markdown[0].value == "**150** of 150 images"
    app.multiselect(key="findings").set_value(["pleural effusion"]).run()
    healthy(app)
    (folder,) = library.collections().values()
    named = [
        any(each["name"] == "pleural effusion" and each["certainty"] == "present" for each in findings)
        for findings in Prepared(folder).manifest["findings"]
    ]
    assert 0 < sum(named) < 150
    assert app.markdown[0].value == f"**{sum(named)}** of 150 images"
    app.multiselect(key="findings").set_value([])
    app.text_input(key="text").set_value("no such words").run()
    healthy(app)
    assert app.markdown[0].value == "**0** of 150 images"
    assert any("Nothing matches" in info.value for info in app.info)
    app.text_input(key="text").set_value("effusion").run()
    app.session_state["chosen_row"] = int(np.flatnonzero(Prepared(folder).column("split") == "train")[0])
    app.text_input(key="text").set_value("").run()
    healthy(app)
    app.button(key="beside").click().run()
    healthy(app)
    _, image = app.session_state["beside_image"]
    assert tuple(image.shape) == (1, 64, 64)


def test_dataset_says_whose_images_it_shows(page, outputs, monkeypatch, tmp_path):
    """No page may leave radiographs of patients under a banner of synthetic images alone."""
    app = page("dataset")
    assert app.warning[0].value == ui.BANNER
    folder = tmp_path / "prepared" / "hospital"
    shutil.copytree(outputs / "prepared" / "phantoms", folder)
    record = artifacts.read_json(folder / artifacts.RECORD) | {"kind": "table", "name": "hospital"}
    artifacts.write_json(folder / artifacts.RECORD, content.sealed(record))
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(tmp_path))
    app = page("dataset")
    assert app.warning[0].value == ui.PATIENTS


def test_dataset_without_a_collection_says_how_to_make_one(page, monkeypatch, tmp_path):
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(tmp_path))
    app = page("dataset")
    assert "cxr_ldm.prepare" in app.info[0].value


def test_model_page_reads_the_bundle(page):
    """Parameters are those of the loaded networks, and what was not measured is not shown."""
    app = page("model")
    pipeline = TextToCXR.from_bundle(DEMO)
    table = app.dataframe[0].value.set_index("part")
    assert table.loc["network", "parameters"] == parameter_count(pipeline.denoiser.network)
    assert table.loc["autoencoder", "trainable"] == 0
    blocks = app.dataframe[1].value
    decoder = blocks[blocks["part"] == "decoder (VAE)"]
    assert decoder["parameters"].sum() == parameter_count(pipeline.autoencoder.decoder)
    assert list(blocks[blocks["attends to text"]]["part"].unique()) == ["network"]
    assert any("Not measured here" in caption.value for caption in app.caption)


def test_research_grid_attention_and_bad_lists(page):
    app = page("research")
    app.selectbox(key="rows").set_value("seed").run()
    app.text_input(key="values_rows_seed").set_value("0, 7").run()
    app.selectbox(key="columns").set_value("guidance scale").run()
    app.text_input(key="values_columns_guidance scale").set_value("1, 3").run()
    app.number_input(key="base_steps").set_value(2)
    app.button(key="compare").click().run()
    healthy(app)
    compared = app.session_state["comparison"]
    figure, data = compared.figure, compared.data
    assert data[["seed", "guidance"]].values.tolist() == [[0, 1.0], [0, 3.0], [7, 1.0], [7, 3.0]]
    picture = Image.open(io.BytesIO(figure))
    name, prompt = data.loc[0, ["model", "prompt"]]
    model = {each.name: each for each in library.models()}[name]
    cells = [(seed, guidance) for seed in (0, 7) for guidance in (1.0, 3.0)]
    pipeline = TextToCXR.from_bundle(model.folder, "cpu")
    drawn = [Request(model, prompt, 1, seed, steps=2, guidance=scale).generate(pipeline) for seed, scale in cells]
    captions = [f"seed {seed} | guidance scale {scale:g}" for seed, scale in cells]
    assert np.array_equal(np.asarray(picture), np.asarray(grid(torch.cat(drawn), 2, captions)))
    assert '"synthetic": true' in picture.info[KEY]
    assert np.array_equal(compared.pictures, to_uint8(torch.cat(drawn)[:, 0])), "what the viewer opens"
    assert (compared.captions, compared.columns) == (captions, 2)
    app.text_input(key="values_rows_seed").set_value("0, x").run()
    healthy(app)
    assert "is no list of numbers parted by commas" in app.error[0].value
    app.text_input(key="values_rows_seed").set_value("0").run()
    app.number_input(key="attention_steps").set_value(2)
    app.button(key="attention").click().run()
    healthy(app)
    assert app.session_state["maps"].words == ["Large", "right", "pleural", "effusion", "."]


def png(array):
    """An array as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_only_what_is_listed_can_be_opened(outputs, tmp_path):
    """No widget takes a path: what is chosen is a key of these lists, all below the output folder or the package."""
    listed = [model.folder for model in library.models()] + list(library.collections().values())
    assert listed
    assert all(path.is_relative_to(outputs) or path in MODELS.values() for path in listed)


def test_a_prompt_before_and_after_a_finding(page):
    app = page("edit")
    app.selectbox(key="edit_model").set_value("phantom (of the package)").run()
    app.radio(key="edit_kind").set_value("a prompt: before and after a finding").run()
    app.text_area(key="edit_prompt").set_value("Normal chest X-ray.").run()
    assert "After: Right pleural effusion." in [each.value for each in app.caption]
    app.number_input(key="edit_n").set_value(1)
    app.button(key="edit_draw").click().run()
    healthy(app)
    result = app.session_state["edited"]
    assert tuple(result.after.shape) == (1, 1, 64, 64)
    assert (result.after - result.before).abs().max() > 0.2
    assert "edit" not in result.facts[0]
    app.text_input(key="edit_finding").set_value("nodule").run()
    app.radio(key="edit_change").set_value("remove").run()
    assert [error.value for error in app.error] == [
        "remove=nodule: no sentence of the prompt names it: Normal chest X-ray."
    ]


def test_a_part_of_the_last_generated_image_is_drawn_anew_and_marked(page):
    app = generated(page("generate"), prompt="Normal chest X-ray.", n=1)
    before = app.session_state["result"].images
    app.switch_page("views/edit.py").run()
    app.selectbox(key="edit_model").set_value("phantom (of the package)").run()
    assert app.button(key="edit_draw").disabled, "nothing is painted yet"
    app.selectbox(key="edit_part").set_value("left lung").run()
    app.number_input(key="edit_n").set_value(2)
    app.button(key="edit_draw").click().run()
    healthy(app)
    result = app.session_state["edited"]
    assert result.facts[1]["edit"]["filled"] == "held"
    assert result.facts[0]["label"] == "SYNTHETIC"
    change = (result.after - before).abs()
    assert change[..., 40:60].mean() > 3 * change[..., :20].mean()
    assert not torch.equal(result.finished, result.after)


@pytest.mark.parametrize(
    "sent", [None, 7, "", "data:image/png;base64,", "data:image/png;base64,iVBORw0KGgo=", "x" * 10]
)
def test_what_a_browser_sends_as_a_mask_is_not_trusted(sent):
    assert mask_of(sent, 8) is None


def test_a_painted_mask_is_read_and_one_of_another_size_is_not():
    paint = np.zeros((8, 8, 4), np.uint8)
    paint[2:4, 2:4] = 255, 0, 0, 255
    buffer = io.BytesIO()
    Image.fromarray(paint).save(buffer, "PNG")
    sent = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert mask_of(sent, 8).sum() == 4 * 255
    assert mask_of(sent, 16) is None


def test_the_detail_of_larger_images_is_drawn_where_it_is_asked_for(page):
    app = page("generate")
    app.checkbox(key="upscale").check()
    app.selectbox(key="resolution").set_value("128 × 128")
    generated(app, n=1, steps=2)
    result = app.session_state["result"]
    assert result.finished.shape == (1, 1, 128, 128)
    averaged = torch.nn.functional.avg_pool2d(result.finished, 2)
    assert (averaged - result.images).abs().mean() < 0.01
    assert "upscale=chest_x4" in result.requests[0].command()
    app.selectbox(key="resolution").set_value("the model's own")
    app.checkbox(key="upscale").uncheck()
    assert "upscale" not in generated(app, n=1, steps=2).session_state["result"].requests[0].command()


def test_what_is_loaded_with_a_model_is_no_work_for_collections_of_garbage(outputs):
    """Streamlit has one after each run of a page, in which nobody else is served."""
    ui.pipeline.clear()
    gc.unfreeze()
    phantom = next(model for model in library.models() if model.argument == "phantom")
    ui.loaded(phantom)
    assert gc.get_freeze_count() > 100 * max(1, len(gc.get_objects()))


def test_cards_of_a_model_as_a_page(page, outputs):
    app = page("cards")
    assert [tab.label for tab in app.tabs] == ["Model card", "Synthetic data card"]
    shown = "\n".join(each.value for each in app.markdown)
    assert "Not measured: no metrics.json of exactly these weights" in shown
    assert "| train |" in shown, "the collection behind the model is here"
    app.selectbox(key="model").set_value(library.PACKAGED["phantom"]).run()
    healthy(app)
    shown = "\n".join(each.value for each in app.markdown)
    assert "| adherence_side" in shown
    assert "Not measured: no metrics.json" not in shown
    assert "By sex: not measured." in shown
    assert len(app.get("download_button")) == 4
    assert not app.get("bidi_component"), "no picture came with it"
    app.selectbox(key="model").set_value(library.PACKAGED["chest256"]).run()
    healthy(app)
    assert len(app.get("bidi_component")) == len(app.tabs), "the worst images, in the viewer"


def test_a_quiz_on_phantoms_and_the_score_of_its_answers(page, outputs):
    app = page("quiz")
    app.number_input(key="quiz_n").set_value(4).run()
    app.button(key="quiz_make").click().run()
    healthy(app)
    quiz = app.session_state["quiz"]
    assert quiz.teach
    assert len(quiz.questions) == 4
    assert len(app.get("download_button")) == 2
    rows = [
        [quiz.identity, "Ada", place + 1, 1, asked, right, 2.0]
        for place, question in enumerate(quiz.questions)
        for asked, right in question.answers.items()
    ]
    text = "\n".join(",".join(map(str, row)) for row in [COLUMNS, *rows])
    app.get("file_uploader")[0].set_value(("a.csv", text.encode(), "text/csv")).run()
    healthy(app)
    shown = "\n".join(each.value for each in app.markdown)
    assert r"| finding | Ada | 4 of 4 | 1\.0000 |" in shown
    hostile = text.replace("Ada", "![x](https://a.b) | Ada")
    app.get("file_uploader")[0].set_value(("a.csv", hostile.encode(), "text/csv")).run()
    healthy(app)
    shown = "\n".join(each.value for each in app.markdown)
    assert r"\!\[x\]\(https\:\/\/a\.b\) \| Ada" in shown
    assert "![x]" not in shown
    app.get("file_uploader")[0].set_value(("a.csv", text.replace(quiz.identity, "0" * 12).encode(), "text/csv")).run()
    assert "is of the quiz 000000000000" in app.error[0].value


def test_a_quiz_of_ones_own_collection_and_model(page, outputs):
    app = page("quiz")
    app.number_input(key="quiz_n").set_value(4).run()
    app.radio(key="quiz_kind").set_value("Which is real?").run()
    app.button(key="quiz_make").click().run()
    healthy(app)
    assert not app.error
    quiz = app.session_state["quiz"]
    assert [question.answers["which"] for question in quiz.questions].count("first") == 2
    app.radio(key="quiz_kind").set_value("Real or not, which finding, which side?").run()
    app.selectbox(key="quiz_model").set_value(library.PACKAGED["chest256"]).run()
    app.button(key="quiz_make").click().run()
    assert "could be told apart" in app.error[0].value
