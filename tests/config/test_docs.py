"""Every command of README and docs composes, with settings that pass their declaration."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir

from cxr_ldm.assets import CONF
from cxr_ldm.commands import checking, schema
from cxr_ldm.commands.cli import as_it_stands, split_literal
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
CALL = re.compile(
    r"^(?:\.venv/bin/)?python (?:(?P<script>\w+)\.py|-m cxr_ldm(?:\.(?:data\.)?| )(?P<module>\w+))(?: |$)"
)


def lines():
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                call = CALL.match(line)
                if call and (call["script"] or call["module"]) not in ("imaging", "runs", "verify"):
                    yield pytest.param(line, call["script"] or call["module"], id=f"{page.name}: {line[:60]}")


@pytest.mark.parametrize(("line", "command"), lines())
def test_a_command_composes(line, command):
    _, words = split_literal(shlex.split(line, comments=True))
    words = [word for word in words[1:] if "=" in word]
    if "-m" in line.split("=")[0].split()[2:]:  # a sweep: its first run
        words = [word.split(",")[0] for word in words]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(command, [as_it_stands(word) for word in words])
        checking.check(cfg, getattr(schema, command.capitalize()))


def test_most_of_what_the_docs_show_is_looked_at():
    assert len(list(lines())) > 40
