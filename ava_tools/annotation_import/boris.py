"""Read the state events of projects of BORIS."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ava_tools.annotation_import.drawn_boxes import is_number, quote, video_id_of
from ava_tools.timelines.bouts import Bout
from avsf_det.structures import AnnotationError

_NO_SUBJECT = "No focal subject"  # BORIS' name of an event without a subject
_POINTS, _MODIFIERS = "point events, which have no length", "modifiers"


def is_boris(value: object) -> bool:
    """Return whether a value from JSON is a project of BORIS."""
    return isinstance(value, dict) and {"behaviors_conf", "observations"} <= value.keys()


def read_boris(path: str, project: Mapping[str, Any], left_out: Counter[str]) -> list[Bout]:
    """Return the state events of all observations.

    The video id is the name of the media file of an observation, without its ending.

    Args:
        path: file, for messages.
        project: its content.
        left_out: counter of what has no place in a bout.

    Raises:
        AnnotationError: a malformed project, an observation of several files, or a state event
            that starts and never stops.
    """
    behaviors, observations = project["behaviors_conf"], project["observations"]
    if not isinstance(behaviors, dict) or not isinstance(observations, dict):
        raise AnnotationError(f"{path}: not a project of BORIS. Save it with BORIS 7 or later.")
    kinds = {
        str(b.get("code")): str(b.get("type")) for b in behaviors.values() if isinstance(b, dict)
    }
    bouts = []
    for name, observation in observations.items():
        place = f"{path}: observation {quote(name)}"
        if not isinstance(observation, dict) or not isinstance(observation.get("events"), list):
            raise AnnotationError(f"{place}: it has no list of events. Save it with BORIS again.")
        if observation["events"]:
            video = _video_of(place, observation)
            bouts += _read_events(place, video, observation, kinds, left_out)
    return bouts


def _video_of(place: str, observation: Mapping[str, Any]) -> str:
    players = observation.get("file")
    files = players.get("1") if isinstance(players, dict) else None
    if not isinstance(files, list) or len(files) != 1 or not isinstance(files[0], str):
        raise AnnotationError(
            f"{place}: player 1 shows the files {quote(files)}, expected one. Make an observation "
            "for each video in BORIS."
        )
    return video_id_of(files[0])


def _read_events(
    place: str,
    video: str,
    observation: Mapping[str, Any],
    kinds: Mapping[str, str],
    left_out: Counter[str],
) -> list[Bout]:
    # BORIS adds the offset of an observation to the times of its events.
    offset = observation.get("time offset") or 0.0
    events: list[tuple[float, str, str]] = []
    for event in observation["events"]:
        is_event = isinstance(event, list) and len(event) >= 3
        if not is_event or not is_number(event[0]) or not is_number(offset):
            raise AnnotationError(
                f"{place}: event {quote(event)}; it must be [seconds, subject, behavior, ...]. "
                "Correct it in BORIS."
            )
        left_out.update([_MODIFIERS] * (len(event) > 3 and bool(event[3])))
        events.append((event[0] - offset, str(event[1]), str(event[2])))
    bouts: list[Bout] = []
    started: dict[tuple[str, str], float] = {}
    for second, subject, action in sorted(events, key=lambda event: event[0]):
        if action not in kinds:
            raise AnnotationError(
                f"{place}: behavior {quote(action)} at {second:g} s is not in the ethogram. Add it "
                "there, or correct the event in BORIS."
            )
        if not kinds[action].startswith("State"):
            left_out[_POINTS] += 1
            continue
        key = ("" if subject == _NO_SUBJECT else subject.strip(), action)
        if key not in started:
            started[key] = second
        elif second > (start := started.pop(key)):
            bouts.append(Bout(video, *key, start, second))
    for (person, action), second in started.items():
        raise AnnotationError(
            f"{place}: {quote(action)} of {quote(person)} starts at {second:g} s and never stops. "
            "Add the stop in BORIS (Observations, Check state events)."
        )
    return bouts
