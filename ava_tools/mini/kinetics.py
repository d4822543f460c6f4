"""Mini-Kinetics and Mini-Places: one person, one action per clip, in Kinetics' format.

The classes are Mini-AVA's actions. The frames show which audio pair a clip belongs to, and only its
audio shows which of the two actions, so all clips of these classes in the validation split are
audible. In some clips of the other actions somebody sings, talks, hits or pushes off screen.

Clips of Mini-Places last five seconds instead of three. Steps, jumps, waves and creaking floors are
audible, and a clip cuts between scenes, each with a colour and an ambient noise. Audio and frames
change together, so models can learn from their synchronisation without labels.
"""

from random import Random

from ava_tools.mini.action_segments import AudioTrack, build_video, plan_segment
from ava_tools.mini.mini_dataset import MiniDataset, csv_text
from ava_tools.mini.scenes import plan_scenes
from ava_tools.mini.video_plan import ACTIONS, AUDIBLE_ACTIONS, VideoPlan, sample_balanced

CLIP_SECONDS, PLACES_CLIP_SECONDS = 3, 5
HEADER = ("label", "youtube_id", "time_start", "time_end", "split")

# Proportions of the audio tracks among the clips of each action.
_TRACKS: tuple[AudioTrack, ...] = (*("audible",) * 12, "silent", "none")
_OFFSCREEN_FRACTION = 0.2  # of the clips of actions outside the audio pairs


def plan_kinetics(
    num_train: int = 396, num_val: int = 126, seed: int = 0, *, with_scenes: bool = False
) -> MiniDataset:
    """Return Mini-Kinetics, balanced over actions: 44 and 14 clips of each by default.

    Args:
        num_train: number of training clips.
        num_val: number of validation clips.
        seed: seed of the dataset.
        with_scenes: return Mini-Places instead.
    """
    videos, annotations = {}, {}
    duration = PLACES_CLIP_SECONDS if with_scenes else CLIP_SECONDS
    for split, count in (("train", num_train), ("val", num_val)):
        rng = Random(f"{seed}/kinetics/{split}")
        rows = []
        tracks = {action: iter(sample_balanced(rng, _TRACKS, count)) for action in ACTIONS}
        for i, action in enumerate(sample_balanced(rng, ACTIONS, count)):
            youtube_id = f"mini_{split[:2]}{i:04d}"  # 11 characters, as on YouTube
            track = next(tracks[action])
            if split == "val" and action in AUDIBLE_ACTIONS:
                track = "audible"
            video = _plan_clip(youtube_id, seed, action, track, duration, with_scenes)
            start = rng.randrange(600)
            end = start + duration
            rows.append((action, youtube_id, start, end, split))
            videos[f"videos/{split}/{action}/{youtube_id}_{start:06d}_{end:06d}.mp4"] = video
        annotations[f"annotations/{split}.csv"] = csv_text([HEADER, *sorted(rows)])
    return MiniDataset(videos, annotations)


def plan_places(num_train: int = 396, num_val: int = 126, seed: int = 0) -> MiniDataset:
    """Return Mini-Places; see :func:`plan_kinetics`."""
    return plan_kinetics(num_train, num_val, seed, with_scenes=True)


def _plan_clip(
    youtube_id: str, seed: int, action: str, track: AudioTrack, duration: int, with_scenes: bool
) -> VideoPlan:
    rng = Random(f"{seed}/{youtube_id}")
    segment = plan_segment(rng, action, 0.0, duration)
    has_offscreen = action not in AUDIBLE_ACTIONS and rng.random() < _OFFSCREEN_FRACTION
    return build_video(
        youtube_id,
        seed,
        duration,
        [segment],
        track=track,
        offscreen=rng.choice(AUDIBLE_ACTIONS) if has_offscreen else None,
        scenes=plan_scenes(rng, duration) if with_scenes else (),
        with_motion_audio=with_scenes,
    )
