"""The code blocks of the documentation, what each one is, and the commands in it.

The comment above a block (``<!-- ... -->``) says what it is: ``file: PATH`` and ``result: PATH`` of
the text of a file that is given or made; ``needs ...`` of commands that the tests cannot run;
``tested by PATH`` of those that another test runs; ``run with OPTIONS`` of those that are run, with
options that make them short. Blocks of bash and Python without a comment are run.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
NEEDS = ("time", "a network", "real data", "a camera")
_BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```\n", re.S
)


class Block(NamedTuple):
    note: str
    language: str
    text: str

    @property
    def is_code(self) -> bool:
        return self.language in ("bash", "python")

    @property
    def is_run(self) -> bool:
        return self.is_code and (not self.note or bool(self.options))

    @property
    def options(self) -> list[str]:
        """What is added to each command when it is run."""
        return self.note.split()[2:] if self.note.startswith("run with ") else []


def blocks_of(page: Path) -> list[Block]:
    return [Block(**match.groupdict(default="")) for match in _BLOCK.finditer(page.read_text())]


def files_of(page: Path, kind: str) -> dict[str, str]:
    """Path -> text of the blocks of a kind, "file" or "result"."""
    notes = ((block.note.split(": "), block.text) for block in blocks_of(page))
    return {note[1]: text for note, text in notes if note[0] == kind}


def commands_of(block: Block) -> list[tuple[str, list[str]]]:
    """(DETECTRON2_ENV_MODULE, arguments) of each call of Python in a block of bash.

    Bash expands loops, braces and quotes; no command runs. It works in a temporary folder, because
    redirections of the block do write their files.
    """
    record = (
        'python() { printf "%s\\0" "$DETECTRON2_ENV_MODULE" "$@"; printf "\\n\\0"; }\n'
        "pip() { :; }\nmake() { :; }\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [shutil.which("bash"), "-euc", f"DETECTRON2_ENV_MODULE=\n{record}{block.text}"],
            cwd=folder,
            env={"PATH": "/nowhere"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    commands = [call.split("\0") for call in done.stdout.split("\0\n\0")]
    return [(first, rest) for first, *rest in commands if rest]
