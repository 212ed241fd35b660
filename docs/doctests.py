"""A griffe extension for the API reference: doctests, which stand in our docstrings without a heading, become code."""

import re

import griffe

DOCTEST = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?P=indent)\S.*|\n *\.\.\. .*)*", re.MULTILINE)


def fenced(docstring: str) -> str:
    """A docstring with each doctest as a block of code.

    >>> fenced("One.\\n\\n>>> 1 + 1\\n2")
    'One.\\n\\n```pycon\\n>>> 1 + 1\\n2\\n```'
    """
    return DOCTEST.sub(lambda test: f"{test['indent']}```pycon\n{test[0]}\n{test['indent']}```", docstring)


class Doctests(griffe.Extension):
    """Fences the doctests of every object."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring and ">>>" in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)
