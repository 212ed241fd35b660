"""A prompts file is one prompt a line, whatever editor wrote it."""

import pytest

from cxr_ldm.commands.sample import read_prompts
from cxr_ldm.errors import UserError


def test_a_byte_order_mark_is_dropped_and_a_line_is_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffNormal chest.\r\nLarge\x0c effusion\u2028and edema.\r\n\r\n \rMass.\n\x0c\n".encode())
    assert read_prompts(None, str(path)) == ["Normal chest.", "Large\x0c effusion\u2028and edema.", "Mass."]


def test_a_file_without_a_prompt_is_refused(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeff\r\n".encode())
    with pytest.raises(UserError, match="holds no prompt"):
        read_prompts(None, str(path))
