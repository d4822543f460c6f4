"""Seeded mutations of files: bytes flipped, cut or repeated, values of JSON structures replaced.

One seed gives one sequence on every machine, so that a failure can be repeated::

    for data in mutations(path.read_bytes(), count=3000, seed=0):
        ...
    for value in mutated_json(json.loads(text), count=3000, seed=0):
        ...

:func:`check_reader` runs a reader on such files and checks what a user gets.
"""

import copy
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from avsf_det.structures import AVSFError

MAX_MESSAGE = 300  # characters, without the path
MAX_SECONDS = 2.0  # for one file

# Bytes that mean something in csv, JSON, XML, protobuf text or numbers.
_TOKENS = (
    *(bytes([byte]) for byte in b"\"'<>&/\\,;:{}[]()#=-+. \t\n\r\x00\x1a\x7f\x80\xff"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", "\u0301\u202e".encode()),
    *(b"nan", b"inf", b"-1", b"1e308", b"-0", b"1_0", b"0x10", b"9" * 30, b"9" * 5000),
    *(b"null", b"true", b"<!DOCTYPE a>", b"<![CDATA[", b"<a>", b"</a>", b"&#0;", b"\r\n"),
    *("\u0663\u00bd\u2212".encode(), b"[" * 200, b"a" * 2000, b",,,,,,,,", b"\n\n"),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_NUMBERS = (b"", b"-1", b"0", b"nan", b"inf", b"1e308", b"1e-320", b"9" * 30, b"1,5", b"x")
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 2**31, 10**30, 1e308, float("nan"), float("inf")),
    *("", " ", "0", "1", "-1", "nan", "true", "\u0301\u202e", "\x00", "\ud800", "a\nb", "../a"),
    *("a" * 3000, "9" * 5000, [], [[]], [None], [1] * 9, {}, {"": None}, {"0": {"1": [2]}}),
)


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield mutated copies of a file.

    Args:
        data: the file; text of any form, or bytes.
        count: number of copies.
        seed: seed of all draws.
    """
    rng = random.Random(seed)
    for _ in range(count):
        mutated = data
        # Mostly a single change: many changes at once all fail at the first.
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            mutated = rng.choice(_BYTE_MUTATIONS)(mutated, rng)
        yield mutated


def mutated_json(value: Any, count: int, seed: int) -> Iterator[Any]:
    """Yield mutated copies of a JSON structure.

    Args:
        value: what ``json.loads`` gives; stays as it is.
        count: number of copies.
        seed: seed of all draws.
    """
    rng = random.Random(seed)
    for _ in range(count):
        root = [copy.deepcopy(value)]  # so that the value itself has a parent, too
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            places = list(_places(root))
            if not places:
                break
            parent, key = rng.choice(places)
            rng.choice(_VALUE_MUTATIONS)(parent, key, rng)
        yield root[0] if root else None


def mutated_json_files(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield mutated JSON files: half by their structure, half by their bytes."""
    values = mutated_json(json.loads(data), count - count // 2, seed)
    texts = mutations(data, count // 2, seed)
    for value in values:
        yield json.dumps(value, ensure_ascii=len(repr(value)) % 2 == 0).encode(errors="replace")
        yield from (text for _, text in zip(range(1), texts, strict=False))


def check_reader(read: Callable[[str], object], path: Path, files: Iterable[bytes]) -> int:
    """Read each file; it must give a result, or one line that names the file, in bounded time.

    Any other exception passes, so that the test shows its traceback. The file stays for a look.

    Args:
        read: reader, called with the path.
        path: where each file is written in turn.
        files: contents.

    Returns:
        number of files that were read without an error.
    """
    num_read = 0
    for number, data in enumerate(files):
        path.write_bytes(data)
        start = time.process_time()
        try:
            read(str(path))
            num_read += 1
        except AVSFError as error:
            message = str(error)
            assert len(message.splitlines()) == 1, (number, message)
            assert len(message.replace(str(path), "")) <= MAX_MESSAGE, (number, message)
            assert path.name in message, (number, message)
        assert time.process_time() - start < MAX_SECONDS, (number, data)
    return num_read


# Bytes --------------------------------------------------------------------------------------------


def _span(data: bytes, rng: random.Random, longest: int) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(start + rng.randint(1, longest), len(data))


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _delete(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, rng.choice((1, 8, 200)))
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, rng.choice((1, 8, 200)))
    return data[:end] + data[start:end] * rng.choice((1, 1, 1, 50)) + data[end:]


def _move(data: bytes, rng: random.Random) -> bytes:
    (start, end), to = _span(data, rng, 50), rng.randrange(len(data) + 1)
    rest = data[:start] + data[end:]
    return rest[:to] + data[start:end] + rest[to:]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_TOKENS) + data[at:]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _change_number(data: bytes, rng: random.Random) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(_NUMBERS) + data[match.end() :]


def _change_line(data: bytes, rng: random.Random) -> bytes:
    """Remove, repeat or join a line."""
    lines = data.splitlines(keepends=True)
    if lines:
        at = rng.randrange(len(lines))
        lines[at] = rng.choice((b"", lines[at] * 2, lines[at].rstrip(b"\r\n")))
    return b"".join(lines)


def _encode(data: bytes, rng: random.Random) -> bytes:
    """Save the text in another encoding."""
    encoding = rng.choice(("utf-8-sig", "utf-16", "utf-32", "latin-1"))
    return data.decode(errors="replace").encode(encoding, errors="replace")


_BYTE_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _delete, _repeat, _move, _insert, _insert, _cut),
    *(_change_number, _change_number, _change_line),
    # Rare: little else can be wrong in such a file.
    lambda data, rng: _encode(data, rng) if rng.random() < 0.2 else _flip(data, rng),
)


# JSON ---------------------------------------------------------------------------------------------


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (parent, key or index) of every value inside a structure."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _replace(parent: Any, key: Any, rng: random.Random) -> None:
    parent[key] = copy.deepcopy(rng.choice(_VALUES))


def _remove(parent: Any, key: Any, rng: random.Random) -> None:
    del parent[key]


def _rename(parent: Any, key: Any, rng: random.Random) -> None:
    if isinstance(parent, dict):
        parent[str(rng.choice(("", "0", "-1", "x", f"{key} ", "\u0301")))] = parent.pop(key)
    else:
        parent.append(copy.deepcopy(parent[key]))


def _wrap(parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    parent[key] = rng.choice(([value], {"0": value}, str(value), [value, value]))


def _swap(parent: Any, key: Any, rng: random.Random) -> None:
    other = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[key], parent[other] = parent[other], parent[key]


_VALUE_MUTATIONS: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    *(_replace, _replace, _replace, _remove, _rename, _wrap, _swap),
)
