"""Prompts in our own words: short sentences that a user would type, and no report's.

A model that has learned to copy reports can do well on the texts of a collection; these ask for one finding and nothing
else. Names are those of `cxr_ldm.data.findings.words` and, for what only labels say, of `…findings.targets`.
"""

NORMAL = (
    "Normal chest.",
    "Normal heart and clear lungs.",
    "Clear lungs and a heart of normal size.",
    "No abnormality is seen.",
    "Both lungs are clear. The heart is not enlarged.",
)
OWN_WORDS = {
    "cardiomegaly": (
        "The heart is enlarged.",
        "Cardiomegaly.",
        "Enlarged cardiac silhouette.",
        "The cardiac silhouette is too large.",
        "Heart size is increased.",
    ),
    "atelectasis": (
        "Atelectasis.",
        "Atelectasis at the lung base.",
        "There is atelectatic lung.",
        "Bands of atelectasis.",
        "Part of the lung shows atelectasis.",
    ),
    "lung opacity": (
        "Lung opacity.",
        "An opacity in the lung.",
        "There is a hazy opacity.",
        "Patchy opacities are seen.",
        "Airspace disease.",
    ),
    "pleural effusion": (
        "Pleural effusion.",
        "There is a pleural effusion.",
        "Fluid: a large pleural effusion.",
        "Effusion with a blunted costophrenic angle.",
        "A pleural effusion is seen.",
    ),
    "nodule": (
        "A nodule in the lung.",
        "Pulmonary nodule.",
        "There is a small round nodule.",
        "Lung nodules.",
        "A nodular lesion is seen: a lung nodule.",
    ),
    "emphysema": (
        "Emphysema.",
        "Hyperinflated lungs with emphysema.",
        "Emphysematous lungs with flat diaphragms.",
        "Signs of emphysema are seen.",
        "Large lungs as in emphysema.",
    ),
    "pneumonia": (
        "Pneumonia.",
        "There is pneumonia.",
        "Pneumonia in one lobe.",
        "Findings of a pneumonia.",
        "The lung shows pneumonia.",
    ),
}
# With "left" or "right" in place of {side}.
SIDED = {
    "pleural effusion": ("{Side} pleural effusion.", "There is a pleural effusion on the {side}."),
    "atelectasis": ("{Side} basilar atelectasis.", "Atelectasis on the {side}."),
    "lung opacity": ("An opacity in the {side} lung.", "{Side} lung opacity."),
    "pneumonia": ("{Side} pneumonia.", "Pneumonia in the {side} lung."),
}


def cycled(wordings: tuple[str, ...], count: int) -> list[str]:
    """`count` prompts, each wording as often as the others.

    >>> cycled(("a", "b"), 3)
    ['a', 'b', 'a']
    """
    return [wordings[place % len(wordings)] for place in range(count)]


def of_side(name: str, side: str) -> tuple[str, ...]:
    """Wordings of a finding on a side.

    >>> of_side("pneumonia", "left")[0]
    'Left pneumonia.'
    """
    return tuple(each.format(side=side, Side=side.capitalize()) for each in SIDED[name])
