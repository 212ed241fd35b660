"""Findings from invented sentences: negation and its scope, doubt, side, severity; and from the phantom's reports."""

import pytest

from cxr_ldm.data.findings.cues import SEVERITIES
from cxr_ldm.data.findings.highlights import highlights
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.words import CHEXPERT
from cxr_ldm.data.phantom.reader import PhantomReader

PRESENT, ABSENT, UNCERTAIN = "present", "absent", "uncertain"


def certainties(text):
    return {found["name"]: found["certainty"] for found in read_findings(text)}


def places(text):
    return {found["name"]: (found["side"], found["severity"]) for found in read_findings(text)}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Normal chest.", "no finding"),
        ("The cardiomediastinal silhouette is widened.", "enlarged cardiomediastinum"),
        ("The heart is enlarged.", "cardiomegaly"),
        ("Cardiac silhouette size is mildly enlarged.", "cardiomegaly"),
        ("There is enlargement of the heart.", "cardiomegaly"),
        ("Patchy opacities in both bases.", "lung opacity"),
        ("Left lower lobe air space disease.", "lung opacity"),
        ("A 9 mm nodule.", "nodule"),
        ("Large mass in the right apex.", "mass"),
        ("Interstitial edema.", "edema"),
        ("Pulmonary vascular congestion.", "edema"),
        ("Lobar consolidation.", "consolidation"),
        ("Findings of pneumonia.", "pneumonia"),
        ("Plate-like atelectasis.", "atelectasis"),
        ("Collapse of the right upper lobe.", "atelectasis"),
        ("Tiny pneumothorax.", "pneumothorax"),
        ("Fluid at the left base.", "pleural effusion"),
        ("Pleural plaques.", "pleural thickening"),
        ("Old rib fractures.", "fracture"),
        ("Dual lead pacemaker.", "support device"),
    ],
)
def test_every_class_is_found(text, name):
    assert certainties(text)[name] == PRESENT


def test_names_have_a_class_of_chexpert():
    assert len(set(CHEXPERT.values())) == 14
    assert set(PhantomReader(n=1, size=16, seed=0).record(0).labels or []) <= {"Nodule", *CHEXPERT.values()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # what has not gone is there
        ("The effusion has not resolved.", PRESENT),
        ("The effusion hasn't yet cleared.", PRESENT),
        ("The effusion has only partially resolved.", PRESENT),
        ("The effusion is nearly gone.", PRESENT),
        ("Incomplete resolution of the effusion.", PRESENT),
        ("No significant clearing of the effusion.", PRESENT),
        ("Near complete resolution of the effusion.", PRESENT),
        ("Near-complete clearing of the effusion.", PRESENT),
        ("The effusion has yet to resolve.", PRESENT),
        ("The effusion has almost completely cleared.", PRESENT),
        ("The effusion has completely resolved.", ABSENT),
        ("Interval resolution of the effusion.", ABSENT),
        # no longer, before and after what it denies
        ("There is no longer a left effusion.", ABSENT),
        ("There is no longer evidence of effusion.", ABSENT),
        ("The left base no longer shows an effusion.", ABSENT),
        ("The effusion is no longer visible.", ABSENT),
        ("The effusion is no longer there.", ABSENT),
        ("The effusion is no longer as large.", PRESENT),
        # a verb of its own
        ("No definite consolidation, effusion is present on the left.", PRESENT),
        ("No pneumothorax, a small left effusion is seen.", PRESENT),
        ("No pneumothorax, consolidation, or effusion is seen.", ABSENT),
        ("No consolidation, or effusion is present.", ABSENT),
        ("No acute, displaced effusion is seen.", ABSENT),
        # answered
        ("Effusion: none.", ABSENT),
        ("Effusion: No.", ABSENT),
        ("Pleural effusion - no", ABSENT),
        ("Pleural effusion (-), cardiomegaly (+)", ABSENT),
        ("Pneumothorax (-), effusion (+)", PRESENT),
        ("Pleural effusion/pneumothorax: none", ABSENT),
        ("Effusion, pneumothorax: absent.", ABSENT),
        ("Effusion: present, pneumothorax: absent.", PRESENT),
        ("Effusion yes, pneumothorax no.", PRESENT),
        ("Effusion: No Pneumothorax: No", ABSENT),
        ("Effusion: no evidence.", ABSENT),
        ("Effusion: not seen.", ABSENT),
        ("Effusion absent", ABSENT),
        ("Is there an effusion? No.", ABSENT),
        ("Effusion? No pneumothorax.", UNCERTAIN),
        ("Left effusion, pneumothorax is not seen.", PRESENT),
        # denied by a verb or another word
        ("An effusion has been ruled out.", ABSENT),
        ("Effusion can be excluded.", ABSENT),
        ("The effusion has now been removed.", ABSENT),
        ("The effusion has not been removed.", PRESENT),
        ("Previous effusion resolved.", ABSENT),
        ("Effusion cannot be seen.", ABSENT),
        ("There isn't an effusion.", ABSENT),
        ("The film doesn't show an effusion.", ABSENT),
        ("Findings are inconsistent with effusion.", ABSENT),
        ("Unlikely effusion.", ABSENT),
        ("Nothing to suggest effusion.", ABSENT),
        ("Nil effusion", ABSENT),
        ("Zero effusion", ABSENT),
        ("Never had an effusion.", ABSENT),
        ("Pneumothorax w/o effusion", ABSENT),
        ("Lungs free from effusion.", ABSENT),
        ("Effusion is no more visible.", ABSENT),
        ("No more than a small effusion.", PRESENT),
        # doubted
        ("Effusion is not suspected.", ABSENT),
        ("Effusion isn't likely.", ABSENT),
        ("No effusion is suspected.", ABSENT),
        ("No pneumothorax, effusion is likely.", UNCERTAIN),
        ("Effusion not excluded.", UNCERTAIN),
        ("Effusion hasn't been completely ruled out.", UNCERTAIN),
        ("Effusion should be excluded.", UNCERTAIN),
        ("Recommend CT to exclude effusion.", UNCERTAIN),
        ("Exclude effusion.", UNCERTAIN),
        ("These films exclude effusion.", ABSENT),
        ("Doubtful effusion.", UNCERTAIN),
        ("Effusion (possible).", UNCERTAIN),
        ("Effusion, likely small.", PRESENT),
        ("Low probability of effusion.", UNCERTAIN),
        ("Effusion is much less likely.", UNCERTAIN),
        ("? effusion", UNCERTAIN),
        ("Opacity ?effusion", UNCERTAIN),
        ("Effusion, ?pneumonia", PRESENT),
        ("Effusion versus atelectasis.", UNCERTAIN),
        ("Atelectasis vs. effusion", UNCERTAIN),
        # weighed against another
        ("Effusion is less likely than atelectasis.", UNCERTAIN),
        ("Atelectasis is more likely than effusion.", UNCERTAIN),
        ("Effusion is favored over atelectasis.", UNCERTAIN),
        ("Effusion is less likely.", UNCERTAIN),
    ],
)
def test_polarity_of_an_effusion(text, expected):
    assert certainties(text)["pleural effusion"] == expected


@pytest.mark.parametrize(
    "text", ["The ET tube has been removed.", "The pacemaker was removed.", "Interval removal of the chest tube."]
)
def test_a_device_that_was_removed_is_absent(text):
    assert certainties(text)["support device"] == ABSENT


def test_a_heart_with_a_verb_of_its_own_is_not_denied_with_what_follows():
    assert certainties("The heart is enlarged, pneumothorax absent.")["cardiomegaly"] == PRESENT


def test_two_sides_with_a_verb_each():
    found = read_findings("Left effusion has increased and right effusion has resolved.")
    assert [(each["side"], each["certainty"]) for each in found] == [("left", PRESENT), ("right", ABSENT)]
    found = read_findings("Right effusion has resolved and left effusion persists.")
    assert [(each["side"], each["certainty"]) for each in found] == [("right", ABSENT), ("left", PRESENT)]


@pytest.mark.parametrize(
    "text",
    [
        "The lungs are not clear.",
        "The lungs are not entirely clear.",
        "Lungs aren't clear.",
        "Not a normal chest, not clear.",
    ],
)
def test_a_denied_normal_is_no_normal(text):
    found = certainties(text)
    assert "no finding" not in found
    assert "lung opacity" not in found


def test_a_heart_that_is_not_normal_is_not_absent_cardiomegaly():
    assert "cardiomegaly" not in certainties("The heart is not normal in size.")
    assert "cardiomegaly" not in certainties("The heart isn't unremarkable.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion.", {"pleural effusion": ABSENT}),
        ("Without focal consolidation or pneumothorax.", {"consolidation": ABSENT, "pneumothorax": ABSENT}),
        (
            "No focal consolidation, large effusion, nodule or pneumothorax is seen.",
            {"consolidation": ABSENT, "pleural effusion": ABSENT, "nodule": ABSENT, "pneumothorax": ABSENT},
        ),
        ("Negative for edema.", {"edema": ABSENT}),
        ("Free of infiltrate.", {"lung opacity": ABSENT}),
        ("Neither effusion nor pneumothorax.", {"pleural effusion": ABSENT, "pneumothorax": ABSENT}),
        ("Effusion and pneumothorax are not seen.", {"pleural effusion": ABSENT, "pneumothorax": ABSENT}),
        ("The effusion has resolved.", {"pleural effusion": ABSENT}),
        ("The left effusion is no longer seen.", {"pleural effusion": ABSENT}),
        ("Resolution of the pneumonia.", {"pneumonia": ABSENT}),
        ("No suspicious nodule or mass.", {"nodule": ABSENT, "mass": ABSENT}),
        ("No opacity to suggest pneumonia.", {"lung opacity": ABSENT, "pneumonia": ABSENT}),
        ("Heart size is within normal limits.", {"cardiomegaly": ABSENT}),
        ("The heart is not enlarged.", {"cardiomegaly": ABSENT}),
        ("Normal heart size and mediastinal contours.", {"cardiomegaly": ABSENT}),
        ("Cardiomediastinal silhouette is unremarkable.", {"enlarged cardiomediastinum": ABSENT}),
        ("The lungs are clear.", {"lung opacity": ABSENT}),
        ("Pneumothorax is unlikely.", {"pneumothorax": ABSENT}),
        ("No new or enlarging nodule.", {"nodule": ABSENT}),
        ("Vascular congestion appears within normal limits.", {"edema": ABSENT}),
        ("No findings consistent with pneumonia.", {"pneumonia": ABSENT}),
        # the scope ends
        ("No pneumothorax, but small effusion.", {"pneumothorax": ABSENT, "pleural effusion": PRESENT}),
        ("No pneumonia; mild cardiomegaly.", {"pneumonia": ABSENT, "cardiomegaly": PRESENT}),
        ("No effusion and mild cardiomegaly.", {"pleural effusion": ABSENT, "cardiomegaly": PRESENT}),
        ("No effusion, the heart is enlarged.", {"pleural effusion": ABSENT, "cardiomegaly": PRESENT}),
        ("No acute disease aside from atelectasis.", {"atelectasis": PRESENT}),
        ("There is an effusion without pneumothorax.", {"pleural effusion": PRESENT, "pneumothorax": ABSENT}),
        (
            "An effusion is present and a pneumothorax is not seen.",
            {"pleural effusion": PRESENT, "pneumothorax": ABSENT},
        ),
        ("No effusion. Cardiomegaly.", {"pleural effusion": ABSENT, "cardiomegaly": PRESENT}),
        # what looks like a negation
        ("No change in effusion.", {"pleural effusion": PRESENT}),
        ("No significant interval change in the left effusion.", {"pleural effusion": PRESENT}),
        ("No increase in size of the nodule.", {"nodule": PRESENT}),
        ("Without change in the atelectasis.", {"atelectasis": PRESENT}),
        # doubt
        ("Cannot exclude pneumonia.", {"pneumonia": UNCERTAIN}),
        ("Pneumonia cannot be excluded.", {"pneumonia": UNCERTAIN}),
        ("Effusion is not excluded.", {"pleural effusion": UNCERTAIN}),
        ("This may represent atelectasis.", {"atelectasis": UNCERTAIN}),
        ("Possible small effusion.", {"pleural effusion": UNCERTAIN}),
        ("Opacity suspicious for pneumonia.", {"lung opacity": PRESENT, "pneumonia": UNCERTAIN}),
        ("Opacity, likely atelectasis.", {"lung opacity": PRESENT, "atelectasis": UNCERTAIN}),
        ("Early pneumonia?", {"pneumonia": UNCERTAIN}),
        ("No effusion, possible nodule.", {"pleural effusion": ABSENT, "nodule": UNCERTAIN}),
        ("Possible nodule without effusion.", {"nodule": UNCERTAIN, "pleural effusion": ABSENT}),
        ("Pneumonia is suspected.", {"pneumonia": UNCERTAIN}),
        ("Opacity which may be due to infection.", {"lung opacity": PRESENT, "pneumonia": UNCERTAIN}),
        ("Please correlate clinically for pneumonia.", {"pneumonia": UNCERTAIN}),
        ("History of pneumothorax.", {"pneumothorax": UNCERTAIN}),
        # the surest mention wins
        ("Possible effusion. Small effusion.", {"pleural effusion": PRESENT}),
        ("No effusion. An effusion may be present.", {"pleural effusion": UNCERTAIN}),
        # words that hold others
        ("Findings consistent with edema.", {"edema": PRESENT}),
        ("Granulomatous infection of old.", {}),
        ("Pericardial effusion.", {}),
        ("A density over the left fifth rib.", {}),
    ],
)
def test_cues_reach_as_far_as_they_mean(text, expected):
    found = certainties(text)
    found.pop("no finding", None)
    assert expected.items() <= found.items()
    assert {name for name, value in found.items() if value != ABSENT} == {
        name for name, value in expected.items() if value != ABSENT
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Small right effusion.", {"pleural effusion": ("right", "small")}),
        ("Effusion on the left.", {"pleural effusion": ("left", None)}),
        ("Left pleural effusion, moderate in size.", {"pleural effusion": ("left", "moderate")}),
        ("Bilateral effusions.", {"pleural effusion": ("bilateral", None)}),
        ("Right greater than left effusions.", {"pleural effusion": ("bilateral", None)}),
        ("Bibasilar opacities.", {"lung opacity": ("bilateral", None)}),
        ("Right-sided pneumothorax.", {"pneumothorax": ("right", None)}),
        ("Right effusion and atelectasis.", {"pleural effusion": ("right", None), "atelectasis": ("right", None)}),
        ("Effusion and atelectasis on the left.", {"pleural effusion": ("left", None), "atelectasis": ("left", None)}),
        (
            "Small right effusion and left lower lobe atelectasis.",
            {"pleural effusion": ("right", "small"), "atelectasis": ("left", None)},
        ),
        ("Right effusion and edema.", {"pleural effusion": ("right", None), "edema": (None, None)}),
        ("Edema and left-sided pacemaker.", {"edema": (None, None), "support device": ("left", None)}),
        ("Bilateral ground-glass opacities.", {"lung opacity": ("bilateral", None)}),
        ("Bilateral ground-glass alveolar consolidation.", {"consolidation": ("bilateral", None)}),
        ("Bilateral interstitial opacities.", {"lung opacity": ("bilateral", None)}),
        ("Right COVID-19 pneumonia.", {"pneumonia": ("right", None)}),
        ("Nodule in the lingula.", {"nodule": ("left", None)}),
        ("Opacity of the middle lobe.", {"lung opacity": ("right", None)}),
        ("The heart is moderately enlarged.", {"cardiomegaly": (None, "moderate")}),
        ("Borderline heart size.", {"cardiomegaly": (None, "borderline")}),
        ("Trace effusion.", {"pleural effusion": (None, "minimal")}),
        ("No large right effusion.", {"pleural effusion": ("right", None)}),
        # a side is not repeated, a size is kept
        ("Right effusion. The effusion is present. Small right effusion.", {"pleural effusion": ("right", "small")}),
    ],
)
def test_side_and_severity(text, expected):
    assert places(text).items() >= expected.items()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Effusion is not present on the right but present on the left.", [("right", ABSENT), ("left", PRESENT)]),
        ("Effusion is present on the right but not on the left.", [("right", PRESENT), ("left", ABSENT)]),
        ("Left-sided effusion, none on the right.", [("left", PRESENT), ("right", ABSENT)]),
        ("No effusion on the left, but a small one on the right.", [("left", ABSENT), ("right", PRESENT)]),
        ("Effusion on the left, catheter on the right.", [("left", PRESENT)]),
        ("R effusion. L nodule.", [("right", PRESENT)]),
        ("Lt. effusion, rt. nodule", [("left", PRESENT)]),
        ("Bilat effusions, L1 fracture", [("bilateral", PRESENT)]),
        ("R/o effusion.", [(None, UNCERTAIN)]),
        ("Left hydro-pneumothorax.", [("left", PRESENT)]),
    ],
)
def test_each_side_of_an_effusion_has_its_own_certainty(text, expected):
    found = [each for each in read_findings(text) if each["name"] == "pleural effusion"]
    assert [(each["side"], each["certainty"]) for each in found] == expected


def test_the_other_sides_size_is_its_own():
    found = read_findings("Small effusion on the right but a large one on the left.")
    assert [(each["side"], each["severity"]) for each in found] == [("right", "small"), ("left", "large")]


@pytest.mark.parametrize("word", ["Pneumothorax", "Pneumo-thorax", "Hydro-pneumothorax", "Haemopneumothorax", "PTX"])
def test_a_pneumothorax_by_any_spelling(word):
    assert certainties(f"{word} on the left.")["pneumothorax"] == PRESENT


def test_two_sides_are_two_findings():
    found = read_findings("Small right effusion. Large left effusion. No right pneumothorax. Left pneumothorax.")
    assert [tuple(each.values()) for each in found] == [
        ("pleural effusion", "right", "small", PRESENT),
        ("pleural effusion", "left", "large", PRESENT),
        ("pneumothorax", "right", None, ABSENT),
        ("pneumothorax", "left", None, PRESENT),
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("History: effusion 3 weeks ago. No edema.", {"edema"}),
        ("Comparison: film with left effusion. Findings: No edema.", {"edema"}),
        ("Indication: rule out effusion. No edema.", {"edema"}),
        ("CLINICAL HISTORY: effusion COMPARISON: nodule FINDINGS: No edema IMPRESSION: no mass", {"edema", "mass"}),
        ("Clinical information: CHF. Old nodule. Findings: No effusion.", {"pleural effusion"}),
        ("Reason for exam: effusion? Technique: AP. Impression: No edema.", {"edema"}),
        ("HISTORY\neffusion\n\nFINDINGS\nNo edema.", {"edema"}),
        ("History - effusion. No edema.", {"edema"}),
        # an impression may follow findings that have no heading
        ("Indication: nodule. No effusion. Impression: no edema.", {"pleural effusion", "edema"}),
        # words within a sentence are no heading
        ("In comparison: the effusion is larger.", {"pleural effusion"}),
        ("Larger than on the film taken for comparison\nThere is an effusion.", {"pleural effusion"}),
    ],
)
def test_what_was_asked_or_known_before_is_not_seen(text, named):
    assert {name for name in certainties(text) if name != "no finding"} == named
    assert {each.name for each in highlights(text)} == named


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Lungs are clear. No effusion.", True),
        ("Clear lungs. Pacemaker.", True),
        ("No acute disease. Scoliosis.", False),
        ("No acute disease. Possible nodule.", False),
        ("No scoliosis or granuloma.", True),
        ("Comparison with the earlier film.", False),
        # of the whole chest, or every sentence
        ("Heart size normal.", True),
        ("PA and lateral views of the chest. Lungs are well-expanded and clear. No displaced fracture.", True),
        ("No free subdiaphragmatic air. Lungs clear.", True),
        ("No airspace consolidation is seen. The lungs are clear.", True),
        ("Swyer-James syndrome. No acute cardiopulmonary abnormality.", True),
        ("Swyer-James syndrome. The chest is within normal limits.", True),
        ("Swyer-James syndrome. Unremarkable.", True),
        ("Swyer-James syndrome. Heart size normal.", False),
        ("Swyer-James syndrome. No acute abnormality of the spine.", False),
        ("Swyer-James syndrome. The chest wall is normal.", False),
        ("Hepatomegaly. Lungs clear.", False),
        ("Changes in both lungs. No effusion.", False),
        ("NO REPORT", False),
        ("No hay derrame pleural. Corazón normal.", False),
        # abnormal, by no class's name
        ("Tuberculosis. No acute disease.", False),
        ("Lung cancer. No acute disease.", False),
        ("Metastases. No acute disease.", False),
        ("COVID-19. No acute disease.", False),
        ("Pulmonary embolism. No acute disease.", False),
        ("Pneumomediastinum. No acute disease.", False),
        ("Free air under the diaphragm. No acute disease.", False),
        ("Haziness in the right base. No acute disease.", False),
        ("White-out of the left hemithorax. No acute disease.", False),
        ("Dextrocardia. No acute disease.", False),
        ("Surgical clips. No acute disease.", False),
        ("No evidence of tuberculosis. No acute disease.", True),
        ("", False),
    ],
)
def test_no_finding_needs_a_statement_and_nothing_abnormal(text, normal):
    assert ("no finding" in certainties(text)) == normal


def test_the_phantoms_reports_say_what_was_drawn():
    """The wording is varied, the truth is known: every finding with its side, and its severity where it is named."""
    reader = PhantomReader(n=1500, size=16, seed=5)
    for record in reader.records():
        read = [found for found in read_findings(record.text) if found["certainty"] == PRESENT]
        normal = [found for found in read if found["name"] == "no finding"]
        ill = [found for found in record.findings or [] if found["name"] != "support device"]
        assert bool(normal) == (not ill), record.text
        drawn = {(found["name"], found["side"]): found["severity"] for found in record.findings or []}
        told = {(found["name"], found["side"]): found["severity"] for found in read if found not in normal}
        assert told.keys() == drawn.keys(), record.text
        assert all(severity in (None, drawn[key]) for key, severity in told.items()), record.text


def test_findings_hold_known_words_only():
    reader = PhantomReader(n=200, size=16, seed=6)
    for record in reader.records():
        for found in read_findings(record.text):
            assert list(found) == ["name", "side", "severity", "certainty"]
            assert found["name"] in CHEXPERT
            assert found["side"] in (None, "right", "left", "bilateral")
            assert found["severity"] in (None, *SEVERITIES)
            assert found["certainty"] in (PRESENT, ABSENT, UNCERTAIN)


@pytest.mark.parametrize(
    "text",
    [
        "Kein Pneumothorax.",
        "Herz normal. Kein Infiltrat, keine Pleuraergüsse.",
        "Pneumothorax rechts, Drain in situ.",
        "Sin evidencia de pneumothorax.",
        "Cardiomegalia sin edema.",
        "Pas de pneumothorax.",
        "Non si osserva pneumothorax nel lobo superiore.",
        "Geen pneumothorax.",
        "Sem consolidação.",
        "Bez cech pneumothorax.",
        "Pneumothorax yok.",
        "Пневмоторакса нет. Pneumothorax?",
        "未见气胸 (pneumothorax)。",
    ],
)
def test_nothing_is_read_in_another_language(text):
    assert read_findings(text) == []


@pytest.mark.parametrize(
    "text", ["Pneumothorax.", "Tiny pneumothorax, no edema.", "Pneumothorax; die-cut pacemaker is seen."]
)
def test_latin_words_and_english_ones_are_read(text):
    assert certainties(text)["pneumothorax"] == PRESENT
