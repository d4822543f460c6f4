"""Damaged media files are read, or refused in one line: no other error, no crash, bounded work."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from .media_fuzz import AUDIO_FILES, NAMES, VIDEOS, Reader, damage, write_sources

SOAK_SEEDS = range(200)
# Each was a finding: a stream that its header does not declare.
FAST_SEEDS = {name: [0] for name in NAMES} | {"h264_aac.ts": [7, 16]}


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> dict[str, bytes]:
    return write_sources(tmp_path_factory.mktemp("media"))


@pytest.fixture
def reader(request) -> Iterator[Reader]:
    reader = Reader(request.param)
    yield reader
    reader.close()


def read_damaged(
    reader: Reader, sources: dict[str, bytes], name: str, seeds: Iterable[int], folder: Path
) -> tuple[Counter, list[str]]:
    """Return how many files had which outcome, and a text for each finding."""
    counts: Counter = Counter()
    findings = []
    path = folder / name
    for seed in seeds:
        path.write_bytes(damage(sources, name, seed))
        outcome = reader.read(path)
        kind = outcome.split()[0].rstrip(":")
        counts[kind] += 1
        if kind not in ("read", "refused"):
            last = "\n".join(outcome.splitlines()[-4:])
            findings.append(f"{name} seed {seed}: {last}")
    return counts, findings


@pytest.mark.parametrize("reader", ["fork"], indirect=True)
def test_files_as_they_were_written(reader, sources, tmp_path):
    """The fuzzer would find nothing in files that are refused anyway."""
    for name in NAMES:
        path = tmp_path / name
        path.write_bytes(sources[name])
        outcome = reader.read(path)
        if name in VIDEOS:
            assert outcome == "read"
        assert outcome.startswith("refused: ") == (name in AUDIO_FILES), outcome


@pytest.mark.parametrize("reader", ["fork"], indirect=True)
def test_a_few_damaged_files(reader, sources, tmp_path, record_counts):
    counts: Counter = Counter()
    findings = []
    for name, seeds in FAST_SEEDS.items():
        found = read_damaged(reader, sources, name, seeds, tmp_path)
        counts += found[0]
        findings += found[1]
    record_counts("damaged media, fast part", "0, 7, 16", _text(counts))
    assert findings == []


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reader", ["spawn"], indirect=True)
def test_damaged_files(reader, sources, name, tmp_path, record_counts):
    counts, findings = read_damaged(reader, sources, name, SOAK_SEEDS, tmp_path)
    record_counts(f"damaged {name}", f"0..{SOAK_SEEDS.stop - 1}", _text(counts))
    assert findings == []


def test_a_file_depends_on_its_name_and_seed_alone(sources):
    one, same, other = (damage(sources, "h264_aac.mp4", seed) for seed in (5, 5, 6))
    assert one == same != other


def _text(counts: Counter) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
