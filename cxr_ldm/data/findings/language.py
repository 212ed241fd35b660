"""Whether a text is in English, the one language that findings are read from.

"Kein Pneumothorax" names a finding and denies it by a word that no rule here knows: read as English, it would state it.
Detectors of languages want sentences, and reports are made of Latin nouns; what tells is their small words.
"""

import re

# Words that deny, join or give a side, and stand in no English report.
OTHERS = {
    "German": "kein keine keinen keiner keinem keines ohne nicht und mit der das dem bei ist sind rechts links "
    "beidseits rechte linke rechter linker rechtsseitig rechtsseitiger linksseitig linksseitiger",
    "Spanish": "sin con los las del una ningún ninguna ambos ambas derecha derecho izquierda izquierdo",
    "Portuguese": "sem com não nao dos das uma direita direito esquerda esquerdo",
    "French": "sans avec pas aucun aucune les des du une est droit droite gauche",
    "Italian": "senza nessun nessuna della dello delle nel nella assenza destra destro sinistra sinistro",
    "Dutch": "geen zonder niet het een beiderzijds",
    "Scandinavian": "ingen inga utan och ikke uten uden højre venstre höger vänster",
    "Polish": "bez brak nie oraz prawej lewej prawy lewy",
    "Turkish": "yok ve sağ sol",
}
OF_OTHERS = frozenset(word for words in OTHERS.values() for word in words.split())
ENGLISH = (
    "the is are of and with without there for has have was or not both right left clear lungs heart chest small large "
    "mild acute evidence within limits seen unremarkable"  # not "no" and "normal", which others have
)
OF_ENGLISH = frozenset(ENGLISH.split())
WORD = re.compile(r"[^\W\d_]+")
LATIN = re.compile(r"[a-z\u00c0-\u024f]+|.")  # a single Greek letter is a unit


def in_english(text: str) -> bool:
    """Whether a text is read as English: no more of its words are of another language or script than are English.

    A text that has neither, such as "Cardiomegaly.", is.

    >>> in_english("No pneumothorax. Heart size is normal."), in_english("Kein Pneumothorax, Herz normal groß.")
    (True, False)
    >>> in_english("Пневмоторакс не выявлен."), in_english("Cardiomegaly."), in_english("")
    (False, True, True)
    """
    words = WORD.findall(text.lower())
    foreign = sum(word in OF_OTHERS or not LATIN.fullmatch(word) for word in words)
    return foreign <= sum(word in OF_ENGLISH for word in words)
