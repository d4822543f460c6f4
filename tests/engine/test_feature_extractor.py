"""Features against forward hooks on the model, and against its scores."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from avsf_det.data import KeyframeMapper, SegmentMapper
from avsf_det.engine.feature_extractor import FeatureError, FeatureExtractor, clip_middles
from avsf_det.structures import AVSFError

from ..media import tone, write_video
from ..modeling.builders import make_cfg, randomize

pytestmark = pytest.mark.usefixtures("few_blocks")
PERSONS = {
    1.0: np.array([[0.1, 0.1, 0.6, 0.9, 0.9], [0.5, 0.2, 1.0, 1.0, 0.8]], np.float32),
    1.5: np.zeros((0, 5), np.float32),
    0.5: np.array([[0, 0, 0.5, 1, 1]], np.float32),
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Video of 2 s, with silence in the second one."""
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    sound = np.pad(tone(700, 1, 16000), ((0, 0), (0, 16000)))
    write_video(path, num_frames=40, fps=20, sound=sound, sound_rate=16000)
    return str(path)


def prepare(folder, meta="ActionDetector", backbone="build_avslowfast_backbone"):
    """Config and model, whose weights are in the config's file. Clips are of 0.4 s."""
    cfg = make_cfg(audio=True)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE.NAME = meta, backbone
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [6]
    cfg.INPUT.CLIP.NUM_FRAMES, cfg.INPUT.CLIP.STRIDE, cfg.INPUT.CLIP.FPS = 8, 1, 20
    cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS = 32, 8
    cfg.INPUT.MIN_SIZE_TEST = 32
    cfg.TEST.VIEWS.TEMPORAL = cfg.TEST.VIEWS.SPATIAL = 1
    torch.manual_seed(0)
    model = randomize(build_model(cfg)).eval()
    cfg.MODEL.WEIGHTS = str(folder / "weights.pth")
    torch.save({"model": model.state_dict()}, cfg.MODEL.WEIGHTS)
    return cfg, model


def hooked(model, names, clips):
    """Outputs of modules in ``model(clips)``, and what that gives."""
    seen = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: output})
        )
    with torch.no_grad():
        return seen, model(clips)


def test_persons_of_a_detector(video, tmp_path):
    cfg, model = prepare(tmp_path)
    layers = ["head", "slow_res5", "fast_res2", "audio_res4"]
    found = FeatureExtractor(cfg, layers, batch_size=2)(video, persons=PERSONS)
    np.testing.assert_array_equal(found["times"], [0.5, 1, 1.5])
    np.testing.assert_array_equal(found["has_audio"], [True, True, False])
    np.testing.assert_array_equal(found["box_clip"], [0, 1, 1])
    np.testing.assert_array_equal(found["boxes"], np.concatenate([PERSONS[0.5], PERSONS[1.0]]))

    clips = [
        KeyframeMapper(cfg, is_train=False)(
            {
                **{"file_name": video, "video_id": "a", "image_id": f"a,{t}", "source": ""},
                **{"timestamp": t, "offset": 0, "annotations": []},
                "proposals": {"boxes": PERSONS[t][:, :4], "scores": PERSONS[t][:, 4]},
            }
        )
        for t in (0.5, 1.0, 1.5)
    ]
    stages = {name: "backbone." + name.replace("_", ".") for name in layers[1:]}
    seen, outputs = hooked(model, [*stages.values(), "roi_heads.dropout"], clips)
    np.testing.assert_allclose(found["head"], seen["roi_heads.dropout"], atol=1e-5)
    for name, stage in stages.items():
        mean = seen[stage].mean(dim=tuple(range(2, seen[stage].dim())))
        assert mean.shape[0] == 3 and mean.std() > 0.01
        np.testing.assert_allclose(found[name], mean, atol=1e-5)
    scores = model.roi_heads.predictor(torch.from_numpy(found["head"])).sigmoid()
    expected = torch.cat([output["instances"].action_scores for output in outputs])
    torch.testing.assert_close(scores, expected)


def test_clips_of_a_classifier(video, tmp_path):
    cfg, model = prepare(tmp_path, "ClipClassifier")
    extractor = FeatureExtractor(cfg, ["head", "audio_res5"], batch_size=3)
    found = extractor(video, hop=0.35)
    np.testing.assert_allclose(found["times"], 0.2 + 0.35 * np.arange(5))
    np.testing.assert_array_equal(found["has_audio"], [True, True, True, False, False])
    assert (found["fps"], found["duration"]) == (20, 2)
    mapper = SegmentMapper(cfg, is_train=False)
    clips = [
        mapper(
            {
                **{"file_name": video, "clip_id": "a", "labels": {}, "view": 0, "source": ""},
                **{"start_sec": 0.35 * i, "end_sec": 0.35 * i + 0.4},
            }
        )
        for i in range(5)
    ]
    assert clips[0]["frames"].shape == (3, 8, 32, 32)
    seen, outputs = hooked(model, ["head.dropout", "backbone.audio.res5"], clips)
    np.testing.assert_allclose(found["head"], seen["head.dropout"].mean(dim=1), atol=1e-5)
    np.testing.assert_allclose(
        found["audio_res5"], seen["backbone.audio.res5"].mean(dim=(2, 3)), atol=1e-5
    )
    scores = model.head.predictors["action"](torch.from_numpy(found["head"])).softmax(dim=1)
    expected = torch.stack([output["scores"]["action"] for output in outputs])
    torch.testing.assert_close(scores, expected)
    assert sum(extractor.settings["head_channels"]) == found["head"].shape[1]
    slow, fast, _ = extractor.settings["head_channels"]
    parts = np.split(found["head"], [slow, slow + fast], axis=1)[2]
    assert not parts[3:].any() and parts[:3].any()  # silence has no features


@pytest.mark.parametrize("backbone", ["build_audio_backbone", "build_slowfast_backbone"])
def test_one_modality_alone(backbone, video, tmp_path):
    cfg, model = prepare(tmp_path, "ClipClassifier", backbone)
    found = FeatureExtractor(cfg, ["head"])(video)
    assert found["head"].shape == (2, model.head.predictors["action"].in_features)


def test_a_pretrained_backbone_and_a_short_video(tmp_path):
    cfg, model = prepare(tmp_path, "AVPretrainer")
    write_video(tmp_path / "short.mp4", num_frames=4, fps=20)
    found = FeatureExtractor(cfg, ["slow_res2", "head"])(str(tmp_path / "short.mp4"))
    assert found["times"].tolist() == [0.1] and found["slow_res2"].shape == (1, 32)
    channels = sum(shape.channels for shape in model.backbone.output_shape().values())
    assert found["head"].shape == (1, channels)


def test_clips_fit_into_the_video():
    assert clip_middles(10, 2, 1) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert clip_middles(9.99, 2, 2) == [1, 3, 5, 7]
    assert clip_middles(3, 2, 0.5) == [1, 1.5, 2]
    assert clip_middles(0.7, 0.4, 0.1) == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert clip_middles(1, 2, 0.5) == [0.5]


def test_settings_distinguish_models(tmp_path):
    cfg, model = prepare(tmp_path)
    settings = FeatureExtractor(cfg, ["slow_res5"]).settings
    assert settings["window"] == pytest.approx(0.4) and settings["stride_fps"] == 20
    cfg.MODEL.DEVICE, cfg.OUTPUT_DIR = "cpu:0", "elsewhere"  # makes no difference
    assert FeatureExtractor(cfg, ["slow_res5"]).settings == settings
    cfg.TEST.AUDIO_MODE = "mute"
    other = FeatureExtractor(cfg, ["slow_res5"]).settings
    assert {k for k in other if other[k] != settings[k]} == {"config_sha256"}
    model.roi_heads.predictor.bias.data += 1
    torch.save({"model": model.state_dict()}, cfg.MODEL.WEIGHTS)
    other = FeatureExtractor(cfg, ["slow_res5"]).settings
    assert other["weights_sha256"] != settings["weights_sha256"]


def test_what_cannot_be_had(video, tmp_path):
    cfg, _ = prepare(tmp_path)
    with pytest.raises(FeatureError, match=r"'slow_stem'; this model has slow_res2, .*res5, head"):
        FeatureExtractor(cfg, ["slow_stem"])
    with pytest.raises(FeatureError, match="give their boxes"):
        FeatureExtractor(cfg, ["head"])(video)
    cfg.TEST.AUDIO_MODE = "swap"
    with pytest.raises(AVSFError, match="swap"):
        FeatureExtractor(cfg, ["head"])
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(AVSFError, match="WEIGHTS is empty"):
        FeatureExtractor(cfg, ["head"])
    cfg, _ = prepare(tmp_path, "ClipClassifier")
    with pytest.raises(FeatureError, match="'ActionDetector'"):
        FeatureExtractor(cfg, ["head"])(video, persons=PERSONS)
