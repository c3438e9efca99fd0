"""User errors: reported in one line, without a traceback."""


class UserError(Exception):
    """Bad input. The message is one line: the key or file, what is wrong with it, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class Preempted(Exception):
    """The run received SIGTERM and has saved its state. The command line exits with status 42."""


def first_line(error: BaseException, limit: int = 200) -> str:
    """Shortens an exception's message to its first line, at most `limit` characters; its type's name if empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:limit]
