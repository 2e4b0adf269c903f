"""Errors for the user: kinds, and the nearest match of an unknown name."""

import pytest

from likewise.errors import InputError, RunError, unknown_name


def test_kinds() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(RunError, RuntimeError)
    assert isinstance(unknown_name("x", "y", []), InputError)


@pytest.mark.parametrize(
    ("got", "allowed", "expected"),
    [
        ("cdd", ["center", "cdc"], "unknown method 'cdd'. Did you mean 'cdc'? Known: cdc, center."),
        ("zzz", ["center", "cdc"], "unknown method 'zzz'. Known: cdc, center."),
        ("", ["cdc"], "unknown method ''. Known: cdc."),
        ("bat", ["bar", "baz"], "unknown method 'bat'. Did you mean 'baz' or 'bar'? Known: bar, baz."),
        ("it's", ["its"], "unknown method \"it's\". Did you mean 'its'? Known: its."),
    ],
)
def test_unknown_name(got: str, allowed: list[str], expected: str) -> None:
    assert str(unknown_name("method", got, iter(allowed))) == expected


def test_long_tables_are_cut_but_searched_as_a_whole() -> None:
    text = str(unknown_name("backbone", "zebra5", [*(f"name{i:02d}" for i in range(30)), "zebra"]))
    assert "Did you mean 'zebra'?" in text
    assert "name23, ... (31 in all)." in text
    assert "name24" not in text


def test_at_most_three_are_suggested() -> None:
    assert str(unknown_name("x", "abc", ["abcd", "abce", "abcf", "abcg"])).count(" or ") == 2
