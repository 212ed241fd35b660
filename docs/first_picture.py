"""The picture below README's first command: `python docs/first_picture.py`, from the grid of docs/results/chest256.md.

Always the third column, so that nobody picks: a normal chest, a heart, an effusion, a pneumonia.
"""

from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent
COLUMN, ROWS = 2, (0, 1, 4, 6)
WIDTH, HEIGHT, PITCH = 256, 286, 260  # of a cell with its caption, and from one column to the next


def first_picture() -> Image.Image:
    """Four cells of the grid beside each other."""
    grid = Image.open(DOCS / "results" / "chest256.png").convert("L")
    picture = Image.new("L", (PITCH * len(ROWS) - (PITCH - WIDTH), HEIGHT), 255)
    for place, row in enumerate(ROWS):
        left, top = PITCH * COLUMN, HEIGHT * row
        picture.paste(grid.crop((left, top, left + WIDTH, top + HEIGHT)), (PITCH * place, 0))
    return picture


if __name__ == "__main__":
    first_picture().save(DOCS / "chest256.png", optimize=True)
