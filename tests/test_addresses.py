"""Everything that is read may lie behind an address: of http, or of a handler of iopath."""

import socket

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from ava_tools import demo, detect_persons, extract_features, get_ava_performance, report
from ava_tools.preparation.video_lists import videos_in, videos_of
from avsf_det.checkpoint import CheckpointError
from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.data.datasets.ava import register_ava_csv
from avsf_det.data.datasets.clip_csv import load_clip_csv
from avsf_det.data.datasets.kinetics import load_kinetics, load_kinetics_classes
from avsf_det.data.video import open_file
from avsf_det.engine import predictor
from avsf_det.engine.config_file import read_config_file
from avsf_det.engine.defaults import load_config, load_weights
from avsf_det.structures import AnnotationError, ConfigError, addresses
from avsf_det.structures.ava_csv import read_detections, read_person_boxes
from avsf_det.structures.label_map import read_label_map

from .addresses import register_mini, serve
from .engine import actions
from .media import read_number, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos a and b with annotations and boxes; and tiny.yaml, whose weights exist."""
    path = tmp_path_factory.mktemp("remote")
    actions.make_dataset(path)
    cfg = actions.make_model(path)
    (path / "tiny.yaml").write_text(cfg.dump())
    labels = ((1, "sit"), (4, "run"), (7, "sing"))
    text = "".join(f'item {{ name: "{name}" id: {i} }}\n' for i, name in labels)
    (path / "map.pbtxt").write_text(text)
    yield path
    actions.forget()


@pytest.fixture
def mini(folder, tmp_path):
    return register_mini(folder, tmp_path / "copies")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep downloads out of the user's folder; forget what earlier tests have fetched."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(addresses, "_FETCHED", {})


def test_a_video_of_http_is_read_by_ranges(tmp_path):
    write_video(tmp_path / "long one.mp4", num_frames=400, gop=20)
    padding = 1 << 26  # much more than the buffers of a few connections
    with open(tmp_path / "long one.mp4", "ab") as file:
        file.write(padding.to_bytes(4, "big") + b"free")
        file.truncate(file.tell() + padding - 8)
    with serve(tmp_path) as (address, server):
        with VideoReader(f"{address}/long%20one.mp4") as reader:
            numbers = [read_number(f) for f in reader.get_frames_played_at([6.01, 12.01])]
        assert server.sent < padding // 2
    assert numbers == [180, 360]
    assert not (tmp_path / "cache").exists()


def test_a_short_video_of_http_has_all_its_frames(tmp_path):
    write_video(tmp_path / "a.mp4", num_frames=400, gop=20)  # libav reads to the end, and goes back
    with serve(tmp_path) as (address, _), VideoReader(f"{address}/a.mp4") as reader:
        frames = reader.get_frames_played_at([i / 30 for i in range(9)])
        assert [read_number(frame) for frame in frames] == [*range(9)]


def test_a_server_that_does_not_answer_ends_in_an_error(monkeypatch):
    monkeypatch.setattr(open_file, "TIMEOUT_SEC", 0.3)
    monkeypatch.setattr(addresses, "TIMEOUT_SEC", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(VideoDecodeError, match=r"a\.mp4: file: cannot be opened \(no answer"):
            VideoReader(f"{address}.mp4")
        with pytest.raises(AnnotationError, match=r"a\.csv: cannot be read \(.*timed out"):
            read_person_boxes(f"{address}.csv")
    assert socket.getdefaulttimeout() is None


def test_texts_of_both_kinds_are_those_of_the_files(folder, mini, write):
    (folder / "unknown").mkdir(exist_ok=True)
    with serve(folder) as (address, _):
        for place in (address, "mini://"):
            prefix = place if place.endswith("/") else f"{place}/"
            rows, local = read_detections(f"{prefix}gt.csv"), read_detections(folder / "gt.csv")
            np.testing.assert_array_equal(rows.boxes, local.boxes)
            assert read_label_map(f"{prefix}map.pbtxt") == read_label_map(folder / "map.pbtxt")
            assert len(read_config_file(f"{prefix}tiny.yaml")) == 1
            for name in ("none.csv", "unknown"):
                with pytest.raises(AnnotationError, match=rf"{prefix}{name}: cannot be read \(.*"):
                    read_detections(f"{prefix}{name}")
            with pytest.raises(ConfigError, match=f"{prefix}none.yaml' cannot be read"):
                read_config_file(f"{prefix}none.yaml")
    assert mini.fetched.count("mini://gt.csv") == 1
    with pytest.raises(AnnotationError, match=r"no handler of other:// is registered .*PathManag"):
        read_detections("other://gt.csv")


def test_servers_with_equal_names_are_kept_apart(tmp_path):
    for name, second in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "boxes.csv").write_text(f"a,{second},0.1,0.1,0.5,0.5,,0.9\n")
        with serve(tmp_path / name) as (address, _):
            assert list(read_person_boxes(f"{address}/boxes.csv")) == [("a", second)]


def test_a_local_file_wins_over_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini:" / "x").mkdir(parents=True)
    (tmp_path / "mini:" / "x" / "boxes.csv").write_text("a,1,0.1,0.1,0.5,0.5,,0.9\n")
    assert list(read_person_boxes("mini://x/boxes.csv")) == [("a", 1)]


both_kinds = pytest.mark.parametrize("like_s3", [False, True])


@both_kinds
def test_a_dataset_behind_addresses_is_the_local_one(folder, mini, like_s3):
    mini.like_s3 = like_s3

    def load(name: str, root: str) -> list[dict]:
        files = (f"{root}gt.csv", f"{root}map.pbtxt", f"{root}videos")
        register_ava_csv(name, *files)
        try:
            return DatasetCatalog.get(name)
        finally:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)

    def without(dicts: list[dict], root: str) -> list[dict]:
        assert all(d["file_name"].startswith(root) for d in dicts)
        paths = ("file_name", "source")
        return [{**d, **{k: d[k].removeprefix(root) for k in paths}} for d in dicts]

    local = without(load("here", f"{folder}/"), f"{folder}/")
    assert without(load("there", "mini://"), "mini://") == local
    with serve(folder) as (address, _):  # a folder that cannot be listed
        assert without(load("far", f"{address}/"), f"{address}/") == local
    with pytest.raises(AnnotationError, match=r"MISSING: mini://no/gt\.csv, mini://no/map"):
        load("nowhere", "mini://no/")


def test_lists_of_clips_stay_in_the_folder_of_an_address(folder, mini, write):
    names = [path.name for path in sorted((folder / "videos").iterdir())]
    csv_file = write("list.csv", "video,label\n" + "".join(f"{n},0\n" for n in names))
    clips, _ = load_clip_csv(csv_file, "mini://videos")
    assert [clip["file_name"] for clip in clips] == [f"mini://videos/{name}" for name in names]
    assert list(videos_of(csv_file, "mini://videos").values()) == list(
        videos_in("mini://videos").values()
    )
    for root in ("mini://videos", "http://127.0.0.1:9/videos"):
        inside = write("inside.csv", f"video,label\n{root}/{names[0]},0\n")
        clips, _ = load_clip_csv(inside, root)
        assert [clip["file_name"] for clip in clips] == [f"{root}/{names[0]}"]
        assert clips[0]["clip_id"] == names[0].partition(".")[0]
        for path in (
            "../gt.csv",
            "/etc/a.mp4",
            "http://other/a.mp4",
            f"{root}/../a.mp4",
            "C:/a.mp4",
        ):
            outside = write("outside.csv", f"video,label\n{path},0\n")
            with pytest.raises(AnnotationError, match=r"outside\.csv:2: path .* leaves the folder"):
                load_clip_csv(outside, root)
    written = write("http.csv", "video,label\na b/%2e%2e/c?.mp4,0\n")
    clips, _ = load_clip_csv(written, "http://127.0.0.1:9/videos/")
    assert clips[0]["file_name"] == "http://127.0.0.1:9/videos/a%20b/%252e%252e/c%3F.mp4"


@both_kinds
def test_class_folders_behind_an_address(folder, mini, like_s3):
    mini.like_s3 = like_s3
    for label in ("run", "sit"):
        (folder / "classes" / label).mkdir(parents=True, exist_ok=True)
        (folder / "classes" / label / f"{label}1.mp4").touch()
    names = load_kinetics_classes("mini://classes")
    clips = load_kinetics("mini://classes", "", names)
    assert [(c["file_name"], c["labels"]) for c in clips] == [
        ("mini://classes/run/run1.mp4", {"action": 0}),
        ("mini://classes/sit/sit1.mp4", {"action": 1}),
    ]


def test_the_tools_take_addresses(folder, mini, tmp_path, monkeypatch, capsys):
    person = np.array([[0.25, 0.25, 0.75, 0.75, 0.9]], np.float32)
    monkeypatch.setattr(predictor, "PersonDetector", lambda cfg: lambda frames: [person])
    weights = load_config(str(folder / "tiny.yaml"), []).MODEL.WEIGHTS.removeprefix(f"{folder}/")

    def run(tool, *arguments) -> int:
        return tool.main([*map(str, arguments)])

    for root, output in ((f"{folder}/", "here.mp4"), ("mini://", "there.mp4")):
        options = ("--config-file", f"{root}tiny.yaml", "MODEL.WEIGHTS", f"{root}{weights}")
        video = ("--input", f"{root}videos/a.mp4")
        arguments = ("--boxes", f"{root}boxes.csv", "--json", *options)
        assert run(demo, *video, "--output", tmp_path / output, *arguments) == 0
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()
    assert run(extract_features, *video, "--output", tmp_path, *arguments[:2], *options) == 0
    assert (tmp_path / "a.npz").exists()
    (folder / "all.csv").write_text((tmp_path / "here.csv").read_text())
    files = ("-l", "mini://map.pbtxt", "-g", "mini://gt.csv")
    assert run(get_ava_performance, *files, "-d", "mini://all.csv") == 0
    page = ("--run", "a=mini://all.csv", "--videos", "mini://videos", "--max-clips", 1)
    assert run(report, *files, *page, "--output", tmp_path / "report.html") == 0
    capsys.readouterr()
    assert run(detect_persons, "--input", "mini://none.mp4", "--output", tmp_path / "x.csv") == 1
    assert "mini://none.mp4: no video there" in capsys.readouterr().err


def test_missing_weights_are_named(folder, mini):
    cfg = load_config(str(folder / "tiny.yaml"), ["MODEL.WEIGHTS", "mini://none.pth"])
    with pytest.raises(CheckpointError, match=r"mini://none\.pth: cannot be read .*give its path"):
        load_weights(None, cfg)
