"""Prompts to begin with, by finding; the words are those of the phantom's reports and of radiologists alike."""

EXAMPLES = {
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
