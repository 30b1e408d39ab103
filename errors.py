"""The one exception that means: the user's input is wrong, and here is what would be right."""


class InputError(ValueError):
    """Wrong input, found before any training.

    The message is what the user reads: what is wrong, where (file, row or key) with the value, and what would be
    right. The command line prints it without a traceback and ends with exit code 2.
    """
