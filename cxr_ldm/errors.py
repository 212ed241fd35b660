"""The one error a user is meant to read."""


class UserError(ValueError):
    """Bad input: one sentence naming the file or key, what is wrong, and what would be right.

    Commands print the sentence and end with exit code 2; anything else keeps its traceback.
    """


class Terminated(BaseException):
    """SIGTERM came; nothing on the way to the door of a command may take it for an error."""


class Paused(Exception):
    """A run stopped where it was asked to, before its end; the same command goes on."""
