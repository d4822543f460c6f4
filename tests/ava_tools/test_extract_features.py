import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from ava_tools import extract_features as tool

from ..media import tone, write_video

TINY = ("MODEL.SLOWFAST.WIDTH", "8", "INPUT.MIN_SIZE_TEST", "32", "MODEL.DEVICE", "cpu")


@pytest.fixture
def arguments(tmp_path, few_blocks):
    """Arguments: a detector with random weights; videos a, with audio, and b; a broken one."""
    (tmp_path / "in" / "more").mkdir(parents=True)
    write_video(tmp_path / "in" / "a.mp4", num_frames=40, fps=10, sound=tone(500, 4, 48000))
    write_video(tmp_path / "in" / "more" / "b.mp4", num_frames=30, fps=10)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    options = [*TINY, "MODEL.WEIGHTS", str(tmp_path / "weights.pth")]
    config = "configs/mini/avsf_mini.yaml"
    torch.save({"model": build_model(tool.load_config(config, [*TINY])).state_dict()}, options[-1])

    def make(*more: str, source: str = "in") -> list[str]:
        paths = ["--input", str(tmp_path / source), "--output", str(tmp_path / "out")]
        return ["--config-file", config, *paths, *more, *options]

    return make


def test_folder_with_a_broken_video(arguments, tmp_path, capsys):
    layers = ["--layers", "audio_res5,slow_res3"]
    assert tool.main(arguments(*layers)) == 1
    out, err = capsys.readouterr()
    assert "of 3 videos 2 written, 0 kept, 0 left out, 1 bad" in out
    assert "error: bad videos:" in err and "broken.mp4: file: cannot be opened" in err
    with np.load(tmp_path / "out" / "a.npz") as a, np.load(tmp_path / "out" / "more/b.npz") as b:
        # Clips of 8 frames, 8 / 30 s apart, each second.
        np.testing.assert_allclose(a["times"], 16 / 15 + np.arange(2))
        assert a["audio_res5"].shape == (2, 64) and a["slow_res3"].shape == (2, 64)
        assert a["has_audio"].all() and not b["has_audio"].any() and len(b["times"]) == 1
        assert a["window"] == pytest.approx(32 / 15) and a["hop"] == 1 and a["stride"] == 8
        assert len(str(a["config_sha256"])) == len(str(a["weights_sha256"])) == 64
    (tmp_path / "in" / "broken.mp4").unlink()
    assert tool.main(arguments(*layers)) == 0
    assert "of 2 videos 0 written, 2 kept" in capsys.readouterr().out


def test_list_with_boxes(arguments, tmp_path, capsys):
    (tmp_path / "in" / "list.csv").write_text("video,label\nmore/b.mp4,1\nmore/b.mp4,2\n")
    rows = ["b,0902,0.1,0.2,0.5,0.9,,0.95", "b,0901.5,0,0,0.5,1,,0.9", "b,0901.5,0.5,0,1,1,,0.2"]
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    boxes = ["--boxes", str(tmp_path / "boxes.csv"), "--offset", "900", "--score-threshold", "0.8"]
    assert tool.main(arguments(*boxes, source="in/list.csv")) == 0
    with np.load(tmp_path / "out" / "more" / "b.npz") as b:
        np.testing.assert_allclose(b["times"], [1.5, 2])
        np.testing.assert_allclose(b["boxes"][:, 4], [0.9, 0.95])  # 0.2 is below the limit
        assert b["head"].shape == (2, b["head_channels"].sum()) and (b["box_clip"] == [0, 1]).all()
    assert tool.main(arguments(*boxes, source="in/a.mp4")) == 1
    assert "boxes of b" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, source, problem",
    [
        ((), "in/a.mp4", "give their boxes"),
        (("--layers", "res5"), "in/a.mp4", "layer 'res5'; this model has slow_res2"),
        (("--layers", "slow_res5"), "in/none.mp4", "none.npz: there is no video"),
        (("--layers", "slow_res5"), "none.csv", "none.csv: cannot be read"),
        (("--boxes", "none.csv"), "in/a.mp4", "none.csv: cannot be read"),
    ],
)
def test_bad_input_is_told(arguments, capsys, more, source, problem):
    assert tool.main(arguments(*more, source=source)) == 1
    error = capsys.readouterr().err
    assert "error: " in error and problem in error and "Traceback" not in error
