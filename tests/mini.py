"""Generated datasets without what ava_tools/make_mini_dataset.py adds: processes and a manifest."""

import shutil
from pathlib import Path

from ava_tools.mini.dataset_folder import write_planned_video
from ava_tools.mini.mini_dataset import MiniDataset


def write_mini(folder: Path, planned: MiniDataset, num_rendered: int | None = None) -> None:
    """Write a generated dataset; only the first videos are rendered, the others are copies."""
    paths = [folder / name for name in planned.videos]
    for path in [*paths, *(folder / name for name in planned.annotations)]:
        path.parent.mkdir(parents=True, exist_ok=True)
    for i, (path, video) in enumerate(zip(paths, planned.videos.values(), strict=True)):
        if num_rendered is None or i < num_rendered:
            write_planned_video(video, path)
        else:
            shutil.copy(paths[i % num_rendered], path)
    for name, content in planned.annotations.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
