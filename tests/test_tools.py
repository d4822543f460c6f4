"""The command-line tools: the list of them, and the parts that a test can call."""

import argparse
import importlib
from pathlib import Path

import pytest

from ava_tools.experiments import mini_demo_results as demo

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted((ROOT / "ava_tools").glob("[a-z]*.py"))


def test_every_tool_is_in_the_readme():
    listed = (ROOT / "ava_tools" / "README.md").read_text()
    assert [tool.name for tool in TOOLS if f"`{tool.name}`" not in listed] == []


def test_summary_separates_audio_actions_from_the_rest():
    ap = dict.fromkeys(("stand", "walk", "jump", "crouch", "wave"), 0.9)
    ap |= {"sing": 0.2, "talk": 0.4, "hit": 0.6, "push": 0.8}
    summary = demo.summarize(ap)
    assert summary == pytest.approx({"mAP": 6.5 / 9, "AP_sound": 0.5, "AP_rest": 0.9})


class ParserError(Exception):
    """Raised instead of parsing, with the parser."""


@pytest.mark.parametrize("script", [*TOOLS, ROOT / "train_net.py"], ids=lambda p: p.name)
def test_help_explains_each_option(script, monkeypatch):
    def stop(parser, *args, **kwargs):
        raise ParserError(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
    if script in TOOLS:
        main = importlib.import_module(f"ava_tools.{script.stem}").main
    else:
        from avsf_det.engine.train import main
    with pytest.raises(ParserError) as found:
        main([])
    parsers, unexplained = [found.value.args[0]], []
    for parser in parsers:  # which grows by subparsers
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif len((action.help or "").split()) < 3:
                unexplained.append((action.option_strings or [action.dest])[0])
    assert unexplained == []
