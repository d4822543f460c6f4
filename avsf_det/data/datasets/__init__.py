"""Datasets: official files to Detectron2's dataset dicts. Importing registers the built-in ones."""
# ruff: noqa: F401

from ...structures import AnnotationError
from . import builtin
from .active_speaker import load_active_speaker, register_active_speaker
from .ava import add_detected_keyframes, load_ava_csv, register_ava_csv
from .ava_kinetics import load_ava_kinetics, register_ava_kinetics
from .charades import load_charades, register_charades
from .clip_csv import load_clip_csv, register_clip_csv
from .epic_kitchens import load_epic_kitchens, register_epic_kitchens
from .kinetics import load_kinetics, load_kinetics_classes, register_kinetics
from .tubes import load_tubes, register_tubes
from .ucf_hmdb import load_hmdb51, load_ucf101, register_hmdb51, register_ucf101
