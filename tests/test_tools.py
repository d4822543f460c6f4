"""The command-line tools: help with an example, and the parts that a test can call."""

import os
from pathlib import Path

import pytest

from ava_tools.experiments import mini_demo_results as demo

from .commands import run_script

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted((ROOT / "ava_tools").glob("[a-z]*.py"))


@pytest.mark.parametrize("script", [*TOOLS, ROOT / "train_net.py"], ids=lambda p: p.name)
def test_help_shows_an_example(script):
    done = run_script(str(script.relative_to(ROOT)), "--help", environment=os.environ)
    assert done.returncode == 0, done.stderr
    assert script.name in done.stdout.split("xample")[-1]


def test_every_tool_is_in_the_readme():
    listed = (ROOT / "ava_tools" / "README.md").read_text()
    assert [tool.name for tool in TOOLS if f"`{tool.name}`" not in listed] == []


def test_summary_separates_audio_actions_from_the_rest():
    ap = dict.fromkeys(("stand", "walk", "jump", "crouch", "wave"), 0.9)
    ap |= {"sing": 0.2, "talk": 0.4, "hit": 0.6, "push": 0.8}
    summary = demo.summarize(ap)
    assert summary == pytest.approx({"mAP": 6.5 / 9, "AP_sound": 0.5, "AP_rest": 0.9})
