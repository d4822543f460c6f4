from itertools import pairwise
from random import Random

from ava_tools.mini.audio_synthesis import AUDIO_KINDS
from ava_tools.mini.scenes import SCENES, plan_scenes


def test_scenes_follow_one_another():
    seen = set()
    for seed in range(50):
        scenes = plan_scenes(Random(seed), 5)
        assert scenes[0].start == 0
        assert scenes[-1].end == 5
        for one, other in pairwise(scenes):
            assert one.end == other.start
            assert one.scene is not other.scene
        assert all(0 < part.end - part.start <= 2.2 for part in scenes)
        assert all(part.end - part.start > 1.19 for part in scenes[1:-1])
        seen |= {part.scene for part in scenes}
    assert seen == set(SCENES)


def test_ambient_noises_can_be_synthesised():
    assert {scene.audio_kind for scene in SCENES} - set(AUDIO_KINDS) == {None}
