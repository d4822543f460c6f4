"""Names of the layers of an R50 or R101 in each project, written down layer by layer.

They share nothing with the tables under test.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

STATISTICS = ("weight", "bias", "running_mean", "running_var")
CAFFE2_SUFFIX = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
NUM_BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
NUM_BLOCKS_R101 = {**NUM_BLOCKS, 4: 23}
PATHWAYS = ("slow", "fast", "audio")
NONLOCAL = ((3, 1), (4, 2))  # stage, block


@dataclass
class Layer:
    """Names of a convolution and its norm in each project; None where one is absent."""

    ours: tuple[str | None, str | None]
    pyslowfast: tuple[str | None, str | None]
    caffe2: tuple[str | None, str | None] | None = None
    pytorchvideo: tuple[str | None, str | None] | None = None
    torchvision: tuple[str | None, str | None] | None = None
    mmaction2: tuple[str | None, str | None] | None = None
    biased: bool = False

    def names(self, project: str) -> list[str]:
        conv, norm = getattr(self, project)
        if project == "caffe2":
            names = [f"{conv}_w"] + [f"{conv}_b"] * self.biased if conv else []
            return names + ([f"{norm}_{CAFFE2_SUFFIX[x]}" for x in STATISTICS] if norm else [])
        names = [f"{conv}.weight"] + [f"{conv}.bias"] * self.biased if conv else []
        return names + ([f"{norm}.{x}" for x in STATISTICS] if norm else [])


def visual_layers(pathways: int = 2, num_blocks_of: dict[int, int] = NUM_BLOCKS) -> Iterator[Layer]:
    """Yield Slow, and with 2 pathways Fast; PyTorchVideo has other names for Slow alone."""
    for p in range(pathways):
        t = ("", "t_")[p]
        path = f".multipathway_blocks.{p}" if pathways == 2 else ""
        stem = f"backbone.{PATHWAYS[p]}.stem.conv1"
        mm = f"backbone.{PATHWAYS[p]}_path" if pathways == 2 else "backbone"
        yield Layer(
            (stem, f"{stem}.norm"),
            (f"s1.pathway{p}_stem.conv", f"s1.pathway{p}_stem.bn"),
            (f"{t}conv1", f"{t}res_conv1_bn"),
            (f"blocks.0{path}.conv", f"blocks.0{path}.norm"),
            ("conv1", "bn1"),
            (f"{mm}.conv1.conv", f"{mm}.conv1.bn"),
        )
        for stage, num_blocks in num_blocks_of.items():
            for block in range(num_blocks):
                ours = f"backbone.{PATHWAYS[p]}.res{stage}.{block}"
                pyslowfast = f"s{stage}.pathway{p}_res{block}"
                pytorchvideo = f"blocks.{stage - 1}{path}.res_blocks.{block}"
                torchvision = f"layer{stage - 1}.{block}"
                if block == 0:
                    yield Layer(
                        (f"{ours}.shortcut", f"{ours}.shortcut.norm"),
                        (f"{pyslowfast}.branch1", f"{pyslowfast}.branch1_bn"),
                        (f"{t}res{stage}_0_branch1", f"{t}res{stage}_0_branch1_bn"),
                        (f"{pytorchvideo}.branch1_conv", f"{pytorchvideo}.branch1_norm"),
                        (f"{torchvision}.downsample.0", f"{torchvision}.downsample.1"),
                        (
                            f"{mm}.{torchvision}.downsample.conv",
                            f"{mm}.{torchvision}.downsample.bn",
                        ),
                    )
                for i, x in ((1, "a"), (2, "b"), (3, "c")):
                    caffe2 = f"{t}res{stage}_{block}_branch2{x}"
                    yield Layer(
                        (f"{ours}.conv{i}", f"{ours}.conv{i}.norm"),
                        (f"{pyslowfast}.branch2.{x}", f"{pyslowfast}.branch2.{x}_bn"),
                        (caffe2, f"{caffe2}_bn"),
                        (f"{pytorchvideo}.branch2.conv_{x}", f"{pytorchvideo}.branch2.norm_{x}"),
                        (f"{torchvision}.conv{i}", f"{torchvision}.bn{i}"),
                        (f"{mm}.{torchvision}.conv{i}.conv", f"{mm}.{torchvision}.conv{i}.bn"),
                    )


def fast_to_slow_layers(norm: str = "bn", *, last_block: int = 5) -> Iterator[Layer]:
    """Yield all four laterals; ``norm`` is "bn_f2s" in the authors' files."""
    caffe2 = ("t_pool1_subsample", "t_res2_2_branch2c_bn_subsample")
    caffe2 += ("t_res3_3_branch2c_bn_subsample", f"t_res4_{last_block}_branch2c_bn_subsample")
    for i, stage in enumerate(("pool1", "res2", "res3", "res4")):
        ours = f"backbone.f2s.{stage}.conv"
        fusion = f"blocks.{i}.multipathway_fusion"
        yield Layer(
            (ours, f"{ours}.norm"),
            (f"s{i + 1}_fuse.conv_f2s", f"s{i + 1}_fuse.{norm}"),
            (caffe2[i], f"{caffe2[i]}_bn"),
            (f"{fusion}.conv_fast_to_slow", f"{fusion}.norm"),
        )


def bare_laterals() -> Iterator[Layer]:
    """Yield MMAction2's laterals, which have no norm."""
    for ours, theirs in (("pool1", "conv1"), *((f"res{i + 1}", f"layer{i}") for i in (1, 2, 3))):
        names = (f"backbone.slow_path.{theirs}_lateral.conv", None)
        yield Layer((f"backbone.f2s.{ours}.conv", None), (None, None), mmaction2=names)


def nonlocal_layers(places: tuple[tuple[int, int], ...] = NONLOCAL) -> Iterator[Layer]:
    for stage, block in places:
        ours = f"backbone.slow.res{stage}.nonlocal{block}"
        pyslowfast = f"s{stage}.pathway0_nonlocal{block}"
        caffe2 = f"nonlocal_conv{stage}_{block}"
        for x in ("theta", "phi", "g", "out"):
            norms = (f"{ours}.out.norm", f"{pyslowfast}.bn", f"{caffe2}_bn")
            norms = norms if x == "out" else (None, None, None)
            yield Layer(
                (f"{ours}.{x}", norms[0]),
                (f"{pyslowfast}.conv_{x}", norms[1]),
                (f"{caffe2}_{x}", norms[2]),
                biased=True,
            )


def audio_layers(block_kind: str) -> Iterator[Layer]:
    yield Layer(("backbone.audio.stem.conv_t", None), ("s1.pathway2_stem.conv_t", None))
    yield Layer(
        ("backbone.audio.stem.conv_f", "backbone.audio.stem.norm"),
        ("s1.pathway2_stem.conv_f", "s1.pathway2_stem.bn"),
    )
    layers = {"conv1": "a", "conv2": "b", "conv3": "c"}
    separate = {
        "v1": {"conv_t": "t", "conv_f": "f", "conv3": "out"},
        "v2": {"conv1": "a", "conv_t": "b_t", "conv_f": "b_f", "conv3": "c"},
    }[block_kind]
    for stage, num_blocks in NUM_BLOCKS.items():
        for block in range(num_blocks):
            ours = f"backbone.audio.res{stage}.{block}"
            theirs = f"s{stage}.pathway2_res{block}"
            if block == 0:
                yield Layer(
                    (f"{ours}.shortcut", f"{ours}.shortcut.norm"),
                    (f"{theirs}.branch1", f"{theirs}.branch1_bn"),
                )
            for name, x in (separate if stage < 4 else layers).items():
                yield Layer(
                    (f"{ours}.{name}", f"{ours}.{name}.norm"),
                    (f"{theirs}.branch2.{x}", f"{theirs}.branch2.{x}_bn"),
                )


def audio_to_visual_layers() -> Iterator[Layer]:
    for i, stage in enumerate(("pool1", "res2", "res3", "res4")):
        for j in range(2):
            ours = f"backbone.a2fs.{stage}.conv{j + 1}"
            yield Layer(
                (ours, f"{ours}.norm"),
                (f"s{i + 1}_fuse.conv_a2fs_{j}", f"s{i + 1}_fuse.bn_a2fs_{j}"),
            )


def classifier(ours: str = "head.predictors.action", *, slow_only: bool = False) -> Layer:
    return Layer(
        (ours, None),
        ("head.projection", None),
        ("pred", None),
        (f"blocks.{5 if slow_only else 6}.proj", None),
        ("fc", None),
        ("roi_head.bbox_head.fc_cls", None),
        biased=True,
    )


def pairs(layers: list[Layer], project: str) -> dict[str, str]:
    """Map our name to the other project's, for all tensors except num_batches_tracked."""
    return {
        ours: theirs
        for layer in layers
        for ours, theirs in zip(layer.names("ours"), layer.names(project), strict=True)
    }


def random_like(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def tensors_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the state that all formats have: without num_batches_tracked."""
    return {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
