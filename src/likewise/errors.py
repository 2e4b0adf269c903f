"""Errors that are addressed to the user.

`InputError` says that something was asked wrongly (the command line exits with 2), `RunError` that something went
wrong on the way (it exits with 1). Both carry a message that says what was found, what is allowed and what to do next.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """What was asked for cannot be done: a value, a name or a path is not usable."""


class RunError(RuntimeError):
    """Something failed that the user could not have known: a divergence, a full disk, a missing download."""


def unknown_name(kind: str, got: str, allowed: Iterable[str]) -> InputError:
    """An error for a name that is in no table, with the nearest names that are.

    Args:
        kind: What the name should have been, such as `"backbone"`.
        got: The name that was given.
        allowed: The names that exist.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> print(unknown_name("method", "cdd", ["cdc", "center"]))
        unknown method 'cdd'. Did you mean 'cdc'? Known: cdc, center.
    """
    names = sorted(allowed)
    close = get_close_matches(got, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
    known = ", ".join(names) if len(names) <= 24 else f"{', '.join(names[:24])}, ... ({len(names)} in all)"
    return InputError(f"unknown {kind} {got!r}.{hint} Known: {known}.")


def first_line(error: Exception) -> str:
    """What an error of another library says, or its name where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
