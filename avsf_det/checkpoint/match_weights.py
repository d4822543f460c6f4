"""Match the weights of a file with a model: what is loaded, with which changes, and what is not.

Shorthand: kt is the length of a convolution kernel in frames.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from .convert_names import FUSION_STAGES
from .safe_load import CheckpointError

CLASSIFIER = r"(head\.predictors\.\w+|roi_heads\.predictor)\.(?:weight|bias)"
LAST_AUDIO_CONV = "backbone.audio.res5.0.conv3.weight"  # its outputs are the audio features
NONLOCAL = r"backbone\.slow\.res\d\.nonlocal\d+"
# Layers of the Slow pathway whose input has the channels of a lateral appended; group 1 is their
# stage.
AFTER_LATERAL = r"backbone\.slow\.(res\d)\.0\.(?:conv1|shortcut)\.weight"
FUSION_STAGE_BEFORE = dict(zip(("res2", "res3", "res4", "res5"), FUSION_STAGES, strict=True))
UNCOUNTED = "num_batches_tracked"  # not in all formats and without effect


@dataclass(frozen=True)
class LoadReport:
    """Result of loading the weights of a file, by names of the model's tensors.

    Its checks raise a CheckpointError.
    """

    matched: tuple[str, ...]  # loaded unchanged
    adapted: Mapping[str, str]  # loaded after a change, to the change
    missing: tuple[str, ...]  # only in the model
    unexpected: tuple[str, ...]  # only in the file; names after conversion
    misshaped: Mapping[str, str]  # not loaded, to the reason: the two shapes

    def check(self, min_matched: float, source: str) -> None:
        """Check that the fraction ``min_matched`` of the backbone's tensors, 0..1, was loaded.

        Non-local blocks that the file (``source``) lacks do not count.
        """
        missing = [name for name in self.missing if not re.match(NONLOCAL, name)]
        not_loaded = [n for n in (*missing, *self.misshaped) if n.startswith("backbone.")]
        loaded = sum(n.startswith("backbone.") for n in (*self.matched, *self.adapted))
        total = loaded + len(not_loaded)
        if loaded >= min_matched * total:
            return
        parts = Counter(".".join(name.split(".")[:3]) for name in not_loaded)
        listed = ", ".join(f"{part} ({count})" for part, count in parts.most_common(3))
        raise CheckpointError(
            f"{source}: fills {loaded / total:.1%} of the backbone's tensors, {min_matched:.1%} "
            "are required (MODEL.WEIGHTS_MIN_MATCHED, --min-matched); missing or of another "
            f"shape: {listed}"
        )

    def not_loaded(self, *, without: Sequence[str] = ()) -> list[str]:
        """Return the parts of the model with tensors that are not loaded, and their number.

        Names with the prefixes ``without`` do not count.
        """
        names = {*self.missing, *self.misshaped}
        names = {name for name in names if not name.startswith(tuple(without))}
        return _abbreviate(names, self._model_names())

    def _model_names(self) -> set[str]:
        return {*self.matched, *self.adapted, *self.missing, *self.misshaped}

    def check_complete(self, part: str, source: str, *, without: Sequence[str] = ()) -> None:
        """Check that all tensors that a result depends on were loaded from the file ``source``.

        ``part`` is "model", or "backbone" for results that no head takes part in. Names with the
        prefixes ``without`` do not count.
        """
        prefix = "" if part == "model" else f"{part}."
        # Two shapes say more than a missing name: they come first.
        absent = dict(self.misshaped) | dict.fromkeys(self.missing, "not in the file")
        wrong: dict[str, list[str]] = {}  # part of the model to its tensors
        for name in absent:
            if name.startswith(prefix) and not name.startswith(tuple(without)):
                kind = "backbone" if name.startswith("backbone.") else "head"
                wrong.setdefault(kind, []).append(name)
        listed = []
        for kind, (name, *others) in sorted(wrong.items()):
            more = f" and {len(others)} more" if others else ""
            listed.append(f"{kind}: {name}{more}, {absent[name]}")
        if listed:
            raise CheckpointError(
                f"{source}: lacks weights that the result depends on. {'; '.join(listed)}. Config "
                "and weights must belong together"
            )

    def __str__(self) -> str:
        """List all names, on several lines; "prefix.*" replaces all names with that prefix."""
        model = self._model_names()
        groups = {
            "matched": (self.matched, model),
            "missing": (self.missing, model),
            "unexpected": (self.unexpected, model | set(self.unexpected)),
        }
        lines = [
            f"{title} {len(group)}: {', '.join(_abbreviate(group, universe))}"
            for title, (group, universe) in groups.items()
            if group
        ]
        for title, changes in (("adapted", self.adapted), ("misshaped, left out", self.misshaped)):
            for change in dict.fromkeys(changes.values()):
                names = [name for name in changes if changes[name] == change]
                lines += [f"{title} {len(names)}, {change}: {', '.join(names)}"]
        return "\n".join(lines)


def _abbreviate(names: Collection[str], universe: Collection[str], prefix: str = "") -> list[str]:
    """Replace three or more names by "prefix.*" if they are all of that prefix in ``universe``."""
    names = set(names)
    inside = sorted(name for name in universe if name.startswith(prefix))
    if not names.intersection(inside):
        return []
    if prefix and len(inside) > 2 and names.issuperset(inside):
        return [f"{prefix}* ({len(inside)})"]
    # The next component of each name, with its dot unless it is the last.
    parts = dict.fromkeys("".join(n[len(prefix) :].partition(".")[:2]) for n in inside)
    result = []
    for part in parts:
        if part.endswith("."):
            result += _abbreviate(names, inside, prefix + part)
        elif prefix + part in names:
            result.append(prefix + part)
    return result


def match_weights(
    state: Mapping[str, torch.Tensor], model_state: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], LoadReport]:
    """Select the weights that a model can load, in its shapes where a conversion is well defined.

    - Trailing axes of length 1 are added or removed (Caffe2 blobs).
    - kt from 1 to more: the kernel is repeated and divided by kt (Carreira and Zisserman 2017),
      so that a clip of one repeated frame gives the same features.
    - A lateral to Slow that only the file has: the next stage's weights lose its input channels.
      One that only the model has: the weights of these input channels are zero.
    - A classifier that lacks the columns of the audio features, the last ones: these are zero.
    - If the file has one classifier and the model has one, they match whatever their names are.
      If the shapes differ, weight and bias are both left out.

    ``state`` has the weights of the file with this project's names; ``model_state`` is not changed.

    Returns:
        the weights to load, and the report.
    """
    state = _rename_classifier(state, model_state)
    # Tensors of the same name: load them, adapt them, or leave them out.
    loadable, adapted, misshaped = {}, {}, {}
    for name in [name for name in model_state if name in state]:
        old_shape, new_shape = state[name].shape, model_state[name].shape
        tensor, changes = _adapt_tensor(name, state, model_state)
        if tensor.shape != new_shape:
            misshaped[name] = f"{tuple(old_shape)} in the file, {tuple(new_shape)} in the model"
        else:
            loadable[name] = tensor
            if changes:
                adapted[name] = ", ".join(changes)

    # A bias alone would belong to the classes of another classifier, even where its shape matches.
    for name in [n for n in loadable if re.fullmatch(CLASSIFIER, n)]:
        if name.rpartition(".")[0] + ".weight" in misshaped:
            del loadable[name]
            adapted.pop(name, None)
            misshaped[name] = "of another classifier"

    def counted(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if not name.endswith(UNCOUNTED))

    return loadable, LoadReport(
        matched=counted(name for name in model_state if name in loadable and name not in adapted),
        adapted=adapted,
        missing=counted(name for name in model_state if name not in state),
        unexpected=counted(name for name in state if name not in model_state),
        misshaped=misshaped,
    )


def _rename_classifier(
    state: Mapping[str, torch.Tensor], model_state: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Give the only classifier of the file the name of the only classifier of the model."""
    in_file, in_model = (
        {found[1] for name in names if (found := re.fullmatch(CLASSIFIER, name))}
        for names in (state, model_state)
    )
    if len(in_file) != 1 or len(in_model) != 1:
        return state
    (old,), (new,) = in_file, in_model
    return {re.sub(rf"^{re.escape(old)}(?=\.(weight|bias)$)", new, n): x for n, x in state.items()}


def _adapt_tensor(
    name: str, state: Mapping[str, torch.Tensor], model_state: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, list[str]]:
    """Return the tensor, as near to the model's shape as is well defined, and the changes made."""
    x, shape = state[name], model_state[name].shape
    changes: list[str] = []
    # Caffe2 stores a 1 x 1 x 1 convolution as (C_out, C_in), here it is (C_out, C_in, 1, 1, 1).
    if x.dim() != len(shape) and _strip_ones(x.shape) == _strip_ones(shape):
        return x.reshape(shape), ["trailing axes of length 1"]

    # The classifier of a SlowFast in an AVSlowFast: audio has no say at first.
    audio = model_state.get(LAST_AUDIO_CONV)
    columns = shape[-1] - x.shape[-1] if x.dim() == len(shape) == 2 else 0
    if re.fullmatch(CLASSIFIER, name) and audio is not None and columns == audio.shape[0]:
        zeros = x.new_zeros(x.shape[0], columns)
        return torch.cat([x, zeros], dim=1), ["columns of the audio features set to zero"]

    # Only 3-D kernels (C_out, C_in, kt, kh, kw) that differ in C_in and kt have an adaptation.
    if x.dim() != 5 or len(shape) != 5 or x.shape[0] != shape[0] or x.shape[3:] != shape[3:]:
        return x, changes

    # C_in = channels of Slow, then those of the lateral: cutting or padding the end is exact.
    if found := re.fullmatch(AFTER_LATERAL, name):
        stage = FUSION_STAGE_BEFORE[found[1]]
        lateral = f"backbone.f2s.{stage}.conv.weight"
        if x.shape[1] > shape[1] and lateral not in model_state:
            x = x[:, : shape[1]]
            changes.append(f"input channels of the lateral after {stage} cut")
        elif x.shape[1] < shape[1] and lateral not in state:
            x = torch.cat([x, x.new_zeros(x.shape[0], shape[1] - x.shape[1], *x.shape[2:])], dim=1)
            changes.append(f"input channels of the lateral after {stage} set to zero")

    # Inflation: kt equal slices whose sum is the 2-D kernel.
    if x.shape[2] == 1 and shape[2] > 1:
        x = x.repeat(1, 1, shape[2], 1, 1) / shape[2]
        changes.append(f"temporal kernel inflated from 1 to {shape[2]}")
    return x, changes


def _strip_ones(shape: torch.Size) -> torch.Size:
    """Return a shape without the axes of length 1 at its end."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
