"""Values from a run directory, which may be a stranger's: nothing here trusts a type, a length or a character."""

import math
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

# Characters that turn the direction of the text around them, so that a name reads as what it is not.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def optional(read: Callable[[], T], missing: T, name: str, problems: list[str]) -> T:
    """What `read` returns, or `missing` with a sentence in `problems` where the file is damaged.

    Args:
        read: Reads one optional file of a run.
        missing: What stands for a file that is not there.
        name: What the file is called, for the sentence.
        problems: Where the sentence goes.
    """
    try:
        return read()
    except Exception as error:  # a damaged file can fail anywhere in its parser, and the rest is still worth showing
        problems.append(f"{name} is damaged and left out of this report ({plain(type(error).__name__)}).")
        return missing


def plain(text: str, limit: int = 300) -> str:
    """`text` without control characters and at most `limit` long, the middle left out.

    Example:
        >>> plain("a\\x00b"), plain("0123456789", 5)
        ('a\\ufffdb', '01…89')
    """
    if len(text) > limit:
        half = (limit - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return "".join("\ufffd" if _is_hidden(char) else char for char in text)


def _is_hidden(char: str) -> bool:
    return char in _TURNING or (unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char not in "\t\n")


def table(value: Any) -> dict[str, Any]:
    """`value` if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """`value` if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def text(value: Any, limit: int = 300) -> str:
    """`value` as words if it is a text or a number, else an empty text."""
    if isinstance(value, str):
        return plain(value, limit)
    if isinstance(value, bool):
        return "yes" if value else "no"
    finite = number(value)
    if finite is None:
        return ""
    return str(value) if isinstance(value, int) else f"{finite:.5g}"


def flat(source: dict[str, Any], depth: int = 3) -> Iterator[tuple[str, str]]:
    """Dotted names and values of everything in `source` that words can say, nested tables included."""
    for key, value in source.items():
        name = plain(str(key), 80)
        if isinstance(value, dict):
            if depth > 1:
                yield from ((f"{name}.{inner}", said) for inner, said in flat(value, depth - 1))
        elif isinstance(value, list | tuple):
            parts = [said for said in (text(item, 80) for item in value[:24]) if said]
            more = f", … ({len(value)} in all)" if len(value) > 24 else ""
            if parts or not value:
                yield name, ", ".join(parts) + more if parts else "none"
        else:
            said = text(value) or (str(value) if hasattr(value, "isoformat") else "")
            if said:
                yield name, said
