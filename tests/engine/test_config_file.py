"""Reading of yaml configs and of KEY VALUE options."""

import os

import pytest
from detectron2.config import get_cfg

from avsf_det.engine.config_file import read_config_file
from avsf_det.engine.defaults import load_config
from avsf_det.structures import ConfigError
from avsf_det.utils.detectron2_zoo import import_detectron2_model_zoo

MULTIPLY = "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]\n" for i in range(1, 9))
# Text of a file -> parts of the message.
BAD_FILES = {
    '\nSEED: !!python/object/apply:os.system ["touch owned"]': ":2: the tag !!python/object/apply",
    "SEED: !!python/name:os.system": ":1: the tag !!python/name:os.system can run code",
    "? !!python/name:os.system\n: 1": ":1: the tag !!python/name",
    'MODEL: !!python/object/new:os.system ["touch owned"]': ":1: the tag !!python/object/new",
    "!!python/object:os.X {SEED: 1}": ":1: the tag !!python/object:os.X",
    'SEED: !!python/object/apply:eval ["1 + 1"]': ":1: the tag !!python/object/apply:eval",
    "": "is empty",
    "# a comment": "is empty",
    "- SEED": "has no KEY: VALUE lines",
    "SEED": "has no KEY: VALUE lines",
    "_BASE_: self.yaml": "leads back to the file itself: self.yaml -> self.yaml",
    "\n_BASE_: nowhere.yaml": "self.yaml:2: _BASE_",
    "_BASE_: [[a]]": ":1: _BASE_ is ['a']",
    "_BASE_:": ":1: _BASE_ is None",
    "k0: &k0 [1]\n" + MULTIPLY: "aliases (*) multiply",
    "SEED: &a [*a]": "aliases (*) multiply",
    "MODEL: &a {b: *a}": "aliases (*) multiply",
    "SEED: " + "[" * 1500: "nested too deeply",
    "MODEL: {DEVICE: cpu}\nMODEL: {WEIGHTS: a}": ":2: MODEL stands here twice",
    "MODEL:\n\tDEVICE: cpu": ":2: found character '\\t'",
    "SEED: 1\n---\nSEED: 2": ":2: but found another document",
    "1: 2": ":1: the key 1 is no text",
    "SEED: 2020-13-45": "is no value of its type",
    'SEED: !!int ""': "is no value of its type",
    "SEED: 1\n\0": ":2: has a character that no text has",
    "MODEL:\n  WEIGTHS: a": ":2: there is no config key 'MODEL.WEIGTHS'; the nearest is MODEL.",
    "MODEL: 5": ":1: MODEL is a group of keys",
    "SEED: {a: 1}": "there is no config key 'SEED.a'",
    "SOLVER:\n  BASE_LR:": ":2: SOLVER.BASE_LR is None; it needs a number",
    "SOLVER: {BASE_LR: .nan}": ":1: SOLVER.BASE_LR is nan; it must be at least 0",
    "SEED: '" + "x" * 5000 + "'": "it needs a whole number",
    "VERSION: 1": "VERSION is 1; it must be one of 2",
}


@pytest.mark.parametrize("text", BAD_FILES, ids=lambda text: repr(text[:30]))
def test_a_bad_file_is_one_line_and_runs_nothing(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "self.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config("self.yaml")
    message = str(error.value)
    assert BAD_FILES[text] in message
    assert "\n" not in message and len(message) <= 300
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("data", "line"), [(b"\n\n# caf\xe9\n", 3), (bytes(range(128, 256)), 1)])
def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path, data, line):
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=f"a.yaml:{line}"):
        load_config(tmp_path / "a.yaml")


def test_a_fifo_and_a_huge_file_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        load_config(tmp_path / "fifo.yaml")
    (tmp_path / "huge.yaml").write_bytes(b" " * 1_000_001)
    with pytest.raises(ConfigError, match="larger than"):
        load_config(tmp_path / "huge.yaml")


def test_bases_apply_in_their_order_and_before_the_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text("SEED: 1\nVIS_PERIOD: 1\nOUTPUT_DIR: a\n")
    (tmp_path / "b.yaml").write_text('\ufeffVIS_PERIOD: 2\n_BASE_: "sub/a.yaml"\n')
    (tmp_path / "c.yaml").write_text("OUTPUT_DIR: c\n")
    (tmp_path / "d.yaml").write_text("_BASE_: [b.yaml, c.yaml]\nSEED: 4\n")
    cfg = load_config(tmp_path / "d.yaml")
    assert (cfg.SEED, cfg.VIS_PERIOD, cfg.OUTPUT_DIR) == (4, 2, "c")
    # A file that two others are based on is no cycle.
    (tmp_path / "e.yaml").write_text("_BASE_: [b.yaml, sub/a.yaml]\n")
    assert load_config(tmp_path / "e.yaml").VIS_PERIOD == 1


def test_anchors_and_merge_keys_are_read_as_yaml_says(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "SOLVER: &numbers {MAX_ITER: 5, BASE_LR: 1}\n"
        "MODEL: {PIXEL_MEAN: &three [1, 2, 3], PIXEL_STD: *three}\n"
        "SEED: 7\n"
    )
    cfg = load_config(tmp_path / "a.yaml")
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (5, 1.0)
    assert cfg.MODEL.PIXEL_STD == cfg.MODEL.PIXEL_MEAN == [1, 2, 3]
    (tmp_path / "b.yaml").write_text("TEST:\n  <<: {EVAL_PERIOD: 3}\n  EVAL_PERIOD: 4\n")
    assert load_config(tmp_path / "b.yaml").TEST.EVAL_PERIOD == 4


def test_the_tag_of_detectron2s_own_zoo_gives_its_value():
    path = import_detectron2_model_zoo().get_config_file(
        "COCO-Detection/retinanet_R_50_FPN_3x.yaml"
    )
    theirs = get_cfg()
    theirs.merge_from_file(path)
    found = {s.key: s.value for source in read_config_file(path) for s in source}
    assert found["MODEL.ANCHOR_GENERATOR.SIZES"] == theirs.MODEL.ANCHOR_GENERATOR.SIZES


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        (["SOLVER.MAX_ITER", "4"], "MAX_ITER", 4),
        (["SOLVER.MAX_ITER=4"], "MAX_ITER", 4),
        (["SOLVER.MAX_ITER", "=", "4"], "MAX_ITER", 4),
        (["SOLVER.MAX_ITER", "1e3"], "MAX_ITER", 1000),
        (["SOLVER.BASE_LR", "1"], "BASE_LR", 1.0),
        (["SOLVER.STEPS", "[2, 3]"], "STEPS", (2, 3)),
        (["SOLVER.STEPS=(2, 3)"], "STEPS", (2, 3)),
        (["SOLVER.NESTEROV", "true"], "NESTEROV", True),
        (["SOLVER.WEIGHT_DECAY_BIAS", "0.5"], "WEIGHT_DECAY_BIAS", 0.5),
        (["SOLVER.MAX_ITER", 4, "SOLVER.MAX_ITER=5"], "MAX_ITER", 5),
    ],
)
def test_options_are_taken_in_each_form(options, key, value):
    found = load_config(options=options).SOLVER[key]
    assert (found, type(found)) == (value, type(value))


def test_text_that_looks_like_a_number_stays_text():
    cfg = load_config(options=["OUTPUT_DIR", "2024", "MODEL.WEIGHTS=a=b.pth"])
    assert (cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS) == ("2024", "a=b.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MODEL.WEIGTHS", "w"], "nearest is MODEL.WEIGHTS"),
        (["max_iter=4"], "nearest is SOLVER.MAX_ITER"),
        (["SOLVER.MAX_ITER"], "'SOLVER.MAX_ITER' has no value"),
        (["SEED", "1", "foo"], "'foo' has no value"),
        (["SOLVER.MAX_ITER", "SOLVER.BASE_LR", "0.1"], "has no value; SOLVER.BASE_LR follows"),
        (["SOLVER.STEPS", "(1,", "2)"], r"SOLVER.STEPS is '\(1,'; it needs a tuple"),
        (["DATASETS.TRAIN", "ava"], "it needs a tuple such as"),
        (["SOLVER", "4"], "is a group of keys"),
        (["SOLVER.MAX_ITER", "1.5"], "needs a whole number"),
        (["SOLVER.NESTEROV", "1"], "needs True or False"),
        (["SOLVER.BASE_LR", "None"], "needs a number"),
        (["SEED", "(" * 9999], "needs a whole number"),
        (["_BASE_", "a.yaml"], "no config key"),
        (["", "1"], "no config key"),
        (["=", "1"], "no config key"),
    ],
)
def test_a_bad_option_is_one_line_that_names_it(options, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_config(options=options)
    assert len(str(error.value)) <= 300
