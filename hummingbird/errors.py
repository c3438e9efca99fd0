"""Errors that are the user's to mend."""


class UserError(Exception):
    """Bad input. The message is one line: the key or file, what is wrong with it, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class Preempted(Exception):
    """The run was asked to stop (SIGTERM) and has saved its state. The command line exits with status 42."""
