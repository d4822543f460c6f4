"""Two videos of six seconds with numbered frames and a click a second, annotated on second 102 to
105 of a clock that is 100 s ahead, and two runs on them."""

from pathlib import Path

from ...media import clicks, write_video

OFFSET = 100.0
LABELS = {1: "sit", 2: 'talk <to> & "fro"', 3: "sing", 4: "never"}
LEFT, RIGHT = "0.0,0.0,0.4,1.0", "0.6,0.0,1.0,1.0"
CLICKS = [k + 0.5 for k in range(6)]


def write_small_set(folder: Path) -> dict[str, str]:
    """Returns the paths of "labels", "truth", "videos" and of the runs "good" and "poor"."""
    videos = folder / "videos"
    videos.mkdir()
    for name, sound in (("one", clicks(CLICKS, 6, 48000)), ("two", None)):
        write_video(videos / f"{name}.mp4", num_frames=150, fps=25, size=(64, 96), sound=sound)
    labels = "".join(f"item {{\n  name: '{name}'\n  id: {i}\n}}\n" for i, name in LABELS.items())
    truth, good, poor = [], [], []
    for video in ("one", "two"):
        for second in range(102, 106):
            second_class = 2 if second % 2 else 3
            truth += [f"{video},{second:04},{LEFT},1,0", f"{video},{second:04},{RIGHT},1,1"]
            truth += [f"{video},{second:04},{LEFT},{second_class},0"]
            for place, box in enumerate((LEFT, RIGHT)):
                start = f"{video},{second:04},{box}"
                score = (second - 100) / 10 + (video == "one") / 20
                right = score if place == 0 else score / 10
                good += [f"{start},1,{0.9 - place / 10}", f"{start},{second_class},{right:.4f}"]
                poor += [f"{start},1,{0.9 - place / 10}", f"{start},{5 - second_class},{right:.4f}"]
                poor += [f"{start},{second_class},{right / 2:.4f}"]
    good[0:2] = []  # nobody is seen at the left of the first keyframe
    texts = {"labels": [labels], "truth": truth, "good": good, "poor": poor}
    paths = {"videos": str(videos)}
    for name, lines in texts.items():
        path = folder / f"{name}.{'pbtxt' if name == 'labels' else 'csv'}"
        path.write_text("\n".join(lines) + "\n")
        paths[name] = str(path)
    return paths
