"""Table of what the robustness tests counted, printed after the run."""

from collections.abc import Callable

import pytest

HEADER = ("test", "seeds", "counts")


@pytest.fixture
def record_counts(record_property) -> Callable[[str, str, str], None]:
    """Return a function that adds a row to the table: what was tested, seeds, counts or growth."""

    def record(test: str, seeds: str, counts: str) -> None:
        record_property("robustness", [test, seeds, counts])

    return record


def pytest_terminal_summary(terminalreporter) -> None:
    # Properties travel with the reports, also from the processes of pytest-xdist.
    rows = [
        value
        for key in ("passed", "failed")
        for report in terminalreporter.stats.get(key, [])
        for name, value in getattr(report, "user_properties", [])
        if name == "robustness"
    ]
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    terminalreporter.section("robustness")
    for row in [HEADER, *sorted(rows)]:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        terminalreporter.write_line(line.rstrip())
