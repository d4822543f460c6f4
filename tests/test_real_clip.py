"""A real clip through the reader, the log-mel spectrogram and the widest AVA model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from avsf_det import add_avsf_config
from avsf_det.data import KeyframeMapper
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

pytestmark = pytest.mark.xdist_group("long")
ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT.parent / "shared" / "data" / "video" / "v_ZNVhz7ctTq0.mp4"


def load_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / "AVA" / "avsf_r101_8x8.yaml"))
    # A 101-layer network would take 10 s. Its non-local blocks are one, behind the first block.
    options = ("MODEL.SLOWFAST.NONLOCAL.RES4", [0], *options)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *options])
    return cfg


@pytest.mark.skipif(not CLIP.exists(), reason="the folder of real clips is not here")
def test_scores_of_a_real_clip_depend_on_its_sound(monkeypatch):
    monkeypatch.setitem(BLOCKS_PER_STAGE, 101, (1, 1, 1, 1))
    keyframe = {
        "file_name": str(CLIP),
        "video_id": "v",
        "image_id": "v,905",
        "timestamp": 905.0,
        "offset": 900.0,
        "source": "test",
        "annotations": [],
        "proposals": {
            "boxes": np.array([[0.2, 0.1, 0.6, 0.9], [0.5, 0.2, 0.9, 0.8]], np.float32),
            "scores": np.array([0.95, 0.85], np.float32),
        },
    }
    cfg = load_cfg()
    clip = KeyframeMapper(cfg, is_train=False)(keyframe)
    muted = KeyframeMapper(load_cfg("TEST.AUDIO_MODE", "mute"), is_train=False)(keyframe)
    assert clip["frames"].shape == (3, 32, 256, 341)
    assert clip["audio"].shape == (1, 128, 40)
    assert (clip["has_audio"], muted["has_audio"]) == (True, False)

    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        instances, silent = (model([x])[0]["instances"] for x in (clip, muted))
    assert instances.action_scores.shape == (2, 80)
    assert ((instances.action_scores > 0) & (instances.action_scores < 1)).all()
    assert (instances.action_scores - silent.action_scores).abs().max() > 1e-3
    height, width = 360, 480
    expected = torch.from_numpy(keyframe["proposals"]["boxes"]) * torch.tensor(
        [width, height, width, height]
    )
    torch.testing.assert_close(instances.pred_boxes.tensor, expected, atol=0.01, rtol=0)
    torch.testing.assert_close(instances.scores, torch.tensor([0.95, 0.85]))
