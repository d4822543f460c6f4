#!/usr/bin/env python
"""Train SlowFast and AVSlowFast on Mini-AVA, a generated data set, and compare them.

Writes summary.json, per_class_ap.png and actions.mp4 (with its sound) to the output folder. A run
that was broken off is continued; a finished step is not done again.

Example: python ava_tools/run_mini_demo.py --output output/demo
"""

import argparse
import csv
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import matplotlib.pyplot as plt
import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from tabulate import tabulate

import avsf_det  # noqa: F401  (registers the data sets)
from avsf_det.data.audio import LogMel
from avsf_det.data.mini import SOUND_PAIRS
from avsf_det.data.video import VideoReader
from avsf_det.utils.visualizer import draw_clip_frame

ROOT = Path(__file__).resolve().parents[1]
DATASET = "ava_mini_val"
# Name in the summary: config, and the options of its evaluation.
EVALUATIONS = {
    "slowfast": ("slowfast_mini", ()),
    "avsf": ("avsf_mini", ()),
    "avsf_mute": ("avsf_mini", ("TEST.AUDIO_MODE", "mute")),
    "avsf_swap": ("avsf_mini", ("TEST.AUDIO_MODE", "swap")),
}
logger = logging.getLogger("run_mini_demo")
