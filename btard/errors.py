"""The base of all errors that are the user's to mend."""


class BtardError(Exception):
    """Something that the user can put right; the text says what is wrong and what to do, a line per problem.

    The command line prints it without a traceback and exits with status 1.
    """
