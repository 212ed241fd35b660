"""Prompts to begin with, by finding, in the words that a model was trained on."""

# those of the phantom's reports and of radiologists alike
REPORTED = {
    "no finding": "Normal chest X-ray, clear lungs (no effusion).",
    "pleural effusion": "Large right pleural effusion.",
    "pneumothorax": "Left pneumothorax.",
    "cardiomegaly": "The heart is enlarged. Cardiomegaly.",
    "consolidation": "Consolidation in the right lower zone.",
    "atelectasis": "Plate-like atelectasis at the left base.",
    "nodule": "Nodule in the left upper zone.",
    "edema": "Pulmonary edema with vascular congestion.",
    "pacemaker": "Dual lead pacemaker. Lungs are clear.",
}
# those of labels, view, age and sex, which name no side
LABELLED = {
    "no finding": "Chest X-ray, PA view, adult female. No acute cardiopulmonary abnormality.",
    "pleural effusion": "Chest X-ray, AP view, adult male. Pleural effusion.",
    "pneumothorax": "Chest X-ray, AP view, adult male. Pneumothorax.",
    "cardiomegaly": "Chest X-ray, PA view, adult female. Cardiomegaly.",
    "consolidation": "Chest X-ray, AP view, adult male. Consolidation.",
    "atelectasis": "Chest X-ray, PA view, adult male. Atelectasis.",
    "nodule": "Chest X-ray, PA view, adult male. Lung nodule.",
    "edema": "Chest X-ray, AP view, adult female. Pulmonary edema.",
    "pneumonia of a child": "Chest X-ray, child. Bacterial pneumonia.",
}
KINDS = {"free256": LABELLED, "nih": LABELLED}


def examples_of(kind: str) -> dict[str, str]:
    """Prompts by finding for a model of data of this kind.

    >>> examples_of("phantom")["pleural effusion"], examples_of("free256")["nodule"]
    ('Large right pleural effusion.', 'Chest X-ray, PA view, adult male. Lung nodule.')
    """
    return KINDS.get(kind, REPORTED)
