"""The figure of docs/architecture.md, from the imports as they are: `python docs/house.py`."""

import re
from pathlib import Path

import grimp

PAGE = Path(__file__).parent / "architecture.md"
FIGURE = re.compile(r"\| room \| leans on \|\n(?:\|.*\n)*")
# What every room may lean on, and what is no room of its own.
GROUND = {"artifacts", "assets", "content", "errors", "naming", "register", "card", "checkpoints", "loggers"}
ADDRESSES = {"prepare", "export"}


def rooms() -> dict[str, set[str]]:
    """Which room imports which, the ground left out."""
    graph = grimp.build_graph("cxr_ldm")
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        importer = module.split(".")[1] if "." in module else ""
        for imported in graph.find_modules_directly_imported_by(module):
            room = imported.split(".")[1] if "." in imported else ""
            if importer and room and room != importer and not {importer, room} & (GROUND | ADDRESSES):
                found.setdefault(importer, set()).add(room)
                found.setdefault(room, set())
    for room in found:  # modules with an address of their own end in a line that calls the commands
        found[room] -= {"commands"}
    return found


def reached(room: str, arrows: dict[str, set[str]]) -> set[str]:
    """All that a room leans on, directly or not."""
    further = set().union(*(reached(other, arrows) | {other} for other in arrows[room])) if arrows[room] else set()
    return further


def figure() -> str:
    """The rooms as a table, from the top of the house down; what follows from others is left out."""
    arrows = rooms()
    lines = ["| room | leans on |", "| --- | --- |"]
    for room in sorted(filter(arrows.get, arrows), key=lambda room: (-len(reached(room, arrows)), room)):
        implied = set().union(*(reached(other, arrows) for other in arrows[room]), set())
        lines.append(f"| `{room}` | {', '.join(f'`{other}`' for other in sorted(arrows[room] - implied))} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(FIGURE.sub(figure(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
