"""Where the time goes that a loader worker needs for a training clip."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from detectron2.config import CfgNode

from ..data import KeyframeMapper, SegmentMapper, VideoReader


def read_clips(
    mapper: KeyframeMapper | SegmentMapper, path: str | Path, seconds: Sequence[float]
) -> list[dict]:
    """Model inputs made of a video: of keyframes at the seconds, with a person each; or as many
    clips with the first class of each task, for which a training mapper draws the times."""
    common = {"file_name": str(path), "source": str(path), "video_id": "a", "clip_id": "a"}
    common |= {"offset": 0.0, "annotations": [{"bbox": [0.3, 0.1, 0.7, 0.9], "action_ids": [0]}]}
    if isinstance(mapper, SegmentMapper):
        label = [0] if mapper.multi_label else 0
        common["labels"] = dict.fromkeys(mapper.num_classes, label)
    return [mapper({**common, "image_id": f"a,{s}", "timestamp": float(s)}) for s in seconds]


def time_stages(cfg: CfgNode, path: str | Path, seconds: Sequence[float]) -> dict[str, float]:
    """Stage to seconds per clip, of training clips around the seconds."""
    spent = dict.fromkeys(["open", "frames", "clip", "convert", "sound", "log-mel"], 0.0)

    def timed(stage: str, function: Callable) -> Callable:
        def call(*args, **kwargs):
            start = time.perf_counter()
            result = function(*args, **kwargs)
            spent[stage] += time.perf_counter() - start
            return result

        return call

    class TimedReader(VideoReader):
        __init__ = timed("open", VideoReader.__init__)
        get_frames_played_at = timed("frames", VideoReader.get_frames_played_at)
        get_samples_played_in_range = timed("sound", VideoReader.get_samples_played_in_range)

        def _converter(self, height: int, width: int) -> Callable:
            return timed("convert", super()._converter(height, width))

        def _window_converter(self, window: tuple[int, int, int, int]) -> Callable:
            return timed("convert", super()._window_converter(window))

    mapper = KeyframeMapper(cfg, is_train=True)
    mapper.source.open = TimedReader
    mapper.source.read_frames = timed("clip", mapper.source.read_frames)
    mapper.clip_reader.spectrogram = timed("log-mel", mapper.clip_reader.spectrogram)
    read_clips(mapper, path, seconds[:1])
    spent.update(dict.fromkeys(spent, 0.0))
    start = time.perf_counter()
    read_clips(mapper, path, seconds)
    total = time.perf_counter() - start
    stages = {
        "open": spent["open"],
        "seek and decode": spent["frames"] - spent["convert"],
        "convert": spent["convert"],
        "sound": spent["sound"],
        "log-mel": spent["log-mel"],
        "augmentation": spent["clip"] - spent["frames"],
    }
    stages["packing, boxes"] = total - sum(stages.values())
    return {stage: duration / len(seconds) for stage, duration in stages.items()}
