"""All pages of the documentation: commands, links and images."""

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from avsf_det.engine import train
from avsf_det.engine.defaults import load_config

from .blocks import NEEDS, PAGES, ROOT, Block, blocks_of, commands_of

pytestmark = pytest.mark.xdist_group("commands")  # the reader reads once
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def id_of(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@by_page
def test_code_is_run_or_says_why_not(page: Path):
    for block in blocks_of(page):
        kind, _, what = block.note.partition(" ")
        if block.is_run or not block.is_code or kind == "file:":
            continue
        if kind == "tested":
            assert (ROOT / what.removeprefix("by ")).is_file(), block.note
        else:
            assert kind == "needs" and what in NEEDS, block.note


@by_page
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
            assert anchor in map(id_of, titles), target


class ParsedError(Exception):
    """Parsed arguments of a command line, raised instead of the run."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments


def unrun_commands() -> list[tuple[str, list[str]]]:
    blocks = [(page, block) for page in PAGES for block in blocks_of(page)]
    return [
        (f"{page.stem}: {' '.join(arguments)}", arguments)
        for page, block in blocks
        if block.language == "bash" and not block.is_run
        for _, arguments in commands_of(block)
        if arguments[0].endswith(".py")
    ]


@pytest.mark.parametrize(
    "arguments", [pytest.param(rest, id=name) for name, rest in unrun_commands()]
)
def test_commands_that_are_not_run_are_understood(arguments, monkeypatch):
    """The tool knows its options, and the config and its keys exist."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self, *args, **kwargs):
        raise ParsedError(parse(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.chdir(ROOT)
    if arguments[0] == "train_net.py":

        def main():
            train.build_parser().parse_args()
    else:
        name = arguments[0].removesuffix(".py").replace("/", ".")
        main = importlib.import_module(name).main
    with pytest.raises(ParsedError) as found:
        main()
    got = found.value.arguments
    config = getattr(got, "config_file", None)
    if config and not config.startswith("mine/"):
        load_config(config, getattr(got, "opts", []), notes=[])


def test_a_reader_gets_what_the_pages_promise(reader):
    results = json.loads((reader / "output/demo/avsf_eval/inference/ava_results.json").read_text())
    assert len(results["per_class_by_name"]) == 9
    made = [
        *("check.csv", "data.png", "report.html", "results.png", "boxes.csv", "avsf.pyth"),
        "detected/inference/ava_predictions.csv",
    ]
    assert [name for name in made if not (reader / "output" / name).is_file()] == []
    assert len(list((reader / "output/features").glob("**/*.npz"))) == 2
    for suffix in ("mp4", "jsonl", "csv"):
        assert len(list((reader / "output/drawn").glob(f"*.{suffix}"))) == 2


def test_the_notebook_trains_and_evaluates(reader):
    results = json.loads((reader / "output/quickstart/inference/ava_results.json").read_text())
    assert len(results["per_class_by_name"]) == 9


def test_commands_are_taken_apart_as_bash_does():
    text = 'for i in 1 2; do python a.py --x "$i b" {c,d}.npz  # no\ndone\npip install e\n'
    block = Block("", "bash", "export DETECTRON2_ENV_MODULE=m.py\n" + text)
    assert commands_of(block) == [
        ("m.py", ["a.py", "--x", f"{i} b", "c.npz", "d.npz"]) for i in (1, 2)
    ]
