"""Every setting is declared, and nonsense is refused by its key before anything heavy."""

import re

import pytest
from hydra import initialize_config_dir

from cxr_ldm.assets import CONF
from cxr_ldm.commands import checking
from cxr_ldm.errors import UserError
from tests.leaves import COMMANDS, trials


@pytest.fixture(autouse=True)
def conf():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def refusal(values, stated, declared):
    """What is said against these settings; nothing where they pass."""
    try:
        checking.check_container(values, stated, declared)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_value_is_refused_by_its_key(command):
    """Values that pass are run by the campaign."""
    declared, _ = COMMANDS[command]
    said = {(key, value): refusal(*values, declared) for key, value, *values in trials(command)}
    bad = {trial: words for trial, words in said.items() if words}
    assert not {
        trial: words for trial, words in bad.items() if not re.search(rf"\b{trial[0]}[=.]", words) or "\n" in words
    }
    assert len(bad) > 2 * (len(said) - len(bad))
