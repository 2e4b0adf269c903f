"""Names that people give to clusters; clusters of one name are one group."""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from likewise.errors import InputError
from likewise.progress import printable_line
from likewise.runs.files import write_json

LONGEST = 80  # characters,
LONGEST_BYTES = 200  # and as many as a folder's name may have, with room for a number
NUMBERED = "cluster_"  # how the folders of clusters without a name begin
FORMULAS = ("=", "+", "-", "@")  # how a cell of a table begins that a spreadsheet computes
DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10))}


def checked_name(name: str) -> str:
    """A name that can also be a folder's, on any system, without what surrounds it.

    Raises:
        InputError: If it is none; it says why.

    Example:
        >>> checked_name("  T-shirts ")
        'T-shirts'
    """
    name = unicodedata.normalize("NFC", name).strip()
    wrong = ""
    if not name or len(name) > LONGEST or len(name.encode("utf-8", "replace")) > LONGEST_BYTES:
        wrong = f"it must have 1 to {LONGEST} characters and at most {LONGEST_BYTES} bytes"
    elif any(character in '/\\:*?"<>|' or _is_hidden(character) for character in name):
        wrong = 'it may become the name of a folder, without / \\ : * ? " < > | and control characters'
    elif name.startswith((".", *FORMULAS)) or name.casefold().startswith(NUMBERED) or name.endswith("."):
        wrong = f"it must neither begin with {' '.join(FORMULAS)} or a dot or {NUMBERED!r} nor end with a dot"
    elif name.partition(".")[0].strip().casefold() in DEVICES:
        wrong = "Windows has a device of this name"
    if wrong:
        raise InputError(f"'{printable_line(name[:LONGEST])}' cannot be the name of a cluster: {wrong}.")
    return name


def _is_hidden(character: str) -> bool:
    """Whether it is a control character, or one that ends a line or turns the direction of the text."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def read_names(path: Path, num_clusters: int) -> dict[int, str]:
    """The names in a file, by cluster; empty where there is no file.

    Raises:
        InputError: If the file is damaged, or names what cannot be.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = {int(cluster): checked_name(name) for cluster, name in found.items()}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, InputError) as error:
        raise InputError(
            f"{path} does not hold names of clusters ({error}); delete it to go on without them."
        ) from error
    if any(not 0 <= cluster < num_clusters for cluster in names):
        raise InputError(f"{path} names clusters that there are not; delete it to go on without them.")
    return names


def write_names(path: Path, names: Mapping[int, str]) -> None:
    """Replace the file; without any names there is none."""
    if names:
        write_json(path, {str(cluster): names[cluster] for cluster in sorted(names)})
    else:
        path.unlink(missing_ok=True)


def parsed_names(given: list[str], num_clusters: int) -> dict[int, str]:
    """Names as they stand on a command line, such as `["3=boots", "5="]`; an empty one takes a name away.

    Raises:
        InputError: If one is not like that, or there is no such cluster.
    """
    names: dict[int, str] = {}
    for text in given:
        cluster, separator, name = text.partition("=")
        if not (separator and cluster.strip().isdecimal() and cluster.isascii()):
            raise InputError(f"{text!r} is not like NUMBER=NAME, such as 3=boots.")
        if int(cluster) >= num_clusters:
            raise InputError(f"there is no cluster {int(cluster)}: they are 0 to {num_clusters - 1}.")
        names[int(cluster)] = checked_name(name) if name.strip() else ""
    return names
