"""`data` and `evaluation` know AVA's own numbers in its built-in datasets only."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "avsf_det"
# Classes, evaluated classes, frames per second, second of the cut, first and last second.
AVA_NUMBERS = {80, 60, 30, 900, 902, 1798}
AVA_ENTRIES = {"builtin.py", "builtin_meta.py"}
GENERIC_FILES = sorted(
    path
    for folder in ("data", "evaluation")
    for path in (PACKAGE / folder).rglob("*.py")
    if path.name not in AVA_ENTRIES
)


def ava_numbers(source: str) -> list[tuple[int, float]]:
    """Return (line, number) of each literal that is one of AVA's numbers."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and node.value in AVA_NUMBERS
    ]


def test_literals_are_found():
    assert ava_numbers("x = 80\ny = [f(60.0)]\nz = 81 + True") == [(1, 80), (2, 60.0)]


@pytest.mark.parametrize("path", GENERIC_FILES, ids=lambda p: p.name)
def test_generic_code_has_no_number_of_ava(path):
    assert ava_numbers(path.read_text()) == []
