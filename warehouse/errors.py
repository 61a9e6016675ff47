"""What a command says when it cannot go on."""


class MiranteError(Exception):
    """A run that failed; the message is one line that names the wrong value and the way out."""

    exit_code = 1


class UsageError(MiranteError):
    """A wrong argument or setting."""

    exit_code = 2
