"""The video of the demo: who is beside whom, and at which seconds the models score."""

import torch
from detectron2.structures import Boxes, Instances

from ava_tools.experiments import mini_demo_video as demo
from ava_tools.mini.ava_plan import plan_split
from ava_tools.mini.video_plan import ACTIONS, FPS, HEIGHT, WIDTH
from avsf_det.data import VideoReader

from ...media import tone, write_video


class Predictor:
    """Predictor that finds one action in every person, and remembers the seconds it was asked."""

    def __init__(self, action: str) -> None:
        self.action, self.asked = ACTIONS.index(action), []

    def __call__(self, path, boxes):
        for second, persons in sorted(boxes.items()):
            self.asked.append(second)
            scores = torch.zeros(len(persons), len(ACTIONS))
            scores[:, self.action] = 0.9
            corners = torch.tensor(persons[:, :4]) * torch.tensor([WIDTH, HEIGHT] * 2)
            yield (
                second,
                Instances((HEIGHT, WIDTH), pred_boxes=Boxes(corners.float()), action_scores=scores),
            )


def test_panels_show_annotation_and_models_at_every_second(tmp_path, monkeypatch):
    plan = plan_split("val", 2, 1, 0)[0]
    path = tmp_path / "a.mp4"
    sound = tone(440, plan.duration, 16000)
    frames = round(plan.duration * FPS)
    write_video(path, num_frames=frames, size=(HEIGHT, WIDTH), sound=sound, sound_rate=16000)
    drawn = []
    panel = demo._draw_panel
    monkeypatch.setattr(
        demo,
        "_draw_panel",
        lambda title, frame, found: drawn.append((title, found)) or panel(title, frame, found),
    )
    predictors = {"model": Predictor("sing"), "muted": Predictor("talk")}
    demo.draw_comparison(tmp_path / "out.mp4", [(str(path), plan)], predictors)
    for predictor in predictors.values():
        assert predictor.asked == [float(s) for s in range(int(plan.duration) + 1)]
    assert [title for title, _ in drawn[:3]] == ["annotation", "model", "muted"]
    truth = demo.annotate(plan, 2)
    at = {title: [f for t, f in drawn if t == title] for title in ("annotation", *predictors)}
    for title, action in (("annotation", None), ("model", "sing"), ("muted", "talk")):
        for (_, _, actions), scores in zip(truth, at[title][2 * FPS].action_scores, strict=True):
            best = {ACTIONS[k] for k in torch.nonzero(scores)[:, 0].tolist()}
            assert best == ({action} if action else set(actions))
    # Between two seconds the boxes move.
    i = round(2.25 * FPS)
    two, between, three = (at["muted"][k].pred_boxes.tensor for k in (2 * FPS, i, 3 * FPS))
    moved = two + (i / FPS - 2) * (three - two)
    torch.testing.assert_close(between, moved, atol=1e-3, rtol=0)
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.has_audio
        assert (reader.width, reader.height) == (3 * 352, 28 + 256 + 64)
