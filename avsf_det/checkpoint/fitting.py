"""What of the weights of a file fits into a model, with which changes, and what does not.

Shorthands: kt is the length of a kernel in frames. A column is what a layer's weight has for one
input channel.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from .convert_names import JUNCTIONS
from .file_formats import CheckpointError

CLASSIFIER = r"(head\.predictors\.\w+|roi_heads\.predictor)\.(?:weight|bias)"
NONLOCAL = r"backbone\.slow\.res\d\.nonlocal\d+"
# The layers of Slow that see what a lateral concatenates to their input; the stage is group 1.
AFTER_LATERAL = r"backbone\.slow\.(res\d)\.0\.(?:conv1|shortcut)\.weight"
JUNCTION_BEFORE = dict(zip(("res2", "res3", "res4", "res5"), JUNCTIONS, strict=True))
UNCOUNTED = "num_batches_tracked"  # not in all formats and without effect


@dataclass(frozen=True)
class LoadReport:
    """What became of the weights of a file. Names are the model's, or for ``unexpected`` those
    that the file's weights have after conversion.

    Attributes:
        matched: loaded as they are.
        adapted: loaded after the change that is named.
        missing: in the model only.
        unexpected: in the file only.
        misshaped: left out, with why: the shape in the file and in the model.
    """

    matched: tuple[str, ...]
    adapted: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: Mapping[str, str]

    def backbone_share(self) -> tuple[int, int]:
        """How many of the backbone's tensors are loaded, and of how many; non-local blocks that
        the file lacks do not count."""
        loaded = [n for n in (*self.matched, *self.adapted) if n.startswith("backbone.")]
        return len(loaded), len(loaded) + len(self._wanting())

    def _wanting(self) -> list[str]:
        missing = [name for name in self.missing if not re.match(NONLOCAL, name)]
        return [n for n in (*missing, *self.misshaped) if n.startswith("backbone.")]

    def check(self, min_matched: float, source: str) -> None:
        """
        Args:
            min_matched: share of the backbone's tensors, 0..1.
            source: the file, for the message.

        Raises:
            CheckpointError: if less was loaded.
        """
        loaded, total = self.backbone_share()
        if loaded >= min_matched * total:
            return
        parts = Counter(".".join(name.split(".")[:3]) for name in self._wanting())
        listed = ", ".join(f"{part} ({count})" for part, count in parts.most_common(6))
        raise CheckpointError(
            f"{source}: fills {loaded} of the {total} tensors of the backbone, "
            f"{loaded / total:.1%}; {min_matched:.1%} are asked for. Most of what is missing or "
            f"has another shape: {listed}. Does the config fit these weights? If this is meant, "
            "lower MODEL.WEIGHTS_MIN_MATCHED (convert_checkpoint.py: --min-matched)"
        )

    def __str__(self) -> str:
        """All names, several lines. "prefix.*" stands for everything with that prefix."""
        model = {*self.matched, *self.adapted, *self.missing, *self.misshaped}
        groups = {
            "matched": (self.matched, model),
            "missing": (self.missing, model),
            "unexpected": (self.unexpected, model | set(self.unexpected)),
        }
        lines = []
        for title, (names, universe) in groups.items():
            if names:
                lines += [f"{title} {len(names)}: {', '.join(_abbreviate(names, universe))}"]
        for title, changes in (("adapted", self.adapted), ("misshaped, left out", self.misshaped)):
            for change in dict.fromkeys(changes.values()):
                names = [name for name in changes if changes[name] == change]
                lines += [f"{title} {len(names)}, {change}: {', '.join(names)}"]
        return "\n".join(lines)


def _abbreviate(names: Collection[str], universe: Collection[str], prefix: str = "") -> list[str]:
    """``names`` with "prefix.*" for three and more that are all there is with that prefix."""
    names = set(names)
    inside = sorted(name for name in universe if name.startswith(prefix))
    if not names.intersection(inside):
        return []
    if prefix and len(inside) > 2 and names.issuperset(inside):
        return [f"{prefix}* ({len(inside)})"]
    parts = dict.fromkeys(re.match(r"[^.]+\.?", n[len(prefix) :])[0] for n in inside)
    result = []
    for part in parts:
        if part.endswith("."):
            result += _abbreviate(names, inside, prefix + part)
        elif prefix + part in names:
            result.append(prefix + part)
    return result


def fit_to_model(
    state: Mapping[str, torch.Tensor], model_state: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], LoadReport]:
    """Give weights with our names the shapes that a model has, where that is well defined.

    - Trailing axes of length 1 come and go (Caffe2 blobs).
    - kt from 1 to more: the kernel is repeated and divided by kt (Carreira and Zisserman 2017),
      so that a clip that stands still gives the same.
    - A lateral to Slow that only the file has: the columns of the next stage that see it are cut.
      One that only the model has: columns of zeros.
    - The only classifier of the file is for the only one of the model, whatever it is called. With
      another shape it is left out, weight and bias.

    Args:
        state: weights by name.
        model_state: the model's; nothing in it is changed.

    Returns:
        the weights to load; and the report.
    """
    state = _rename_classifier(state, model_state)
    fitted, adapted, misshaped = {}, {}, {}
    for name in [name for name in model_state if name in state]:
        have, want = state[name].shape, model_state[name].shape
        tensor, changes = _fit_tensor(name, state, model_state)
        if tensor.shape != want:
            misshaped[name] = f"{tuple(have)} in the file, {tuple(want)} in the model"
            continue
        fitted[name] = tensor
        if changes:
            adapted[name] = ", ".join(changes)
    for name in [n for n in fitted if re.fullmatch(CLASSIFIER, n)]:
        weight = name.rpartition(".")[0] + ".weight"
        if weight in misshaped:
            del fitted[name]
            adapted.pop(name, None)
            misshaped[name] = "of another classifier"

    def named(names: Collection[str]) -> tuple[str, ...]:
        return tuple(name for name in names if not name.endswith(UNCOUNTED))

    return fitted, LoadReport(
        matched=named([name for name in model_state if name in fitted and name not in adapted]),
        adapted=adapted,
        missing=named([name for name in model_state if name not in state]),
        unexpected=named([name for name in state if name not in model_state]),
        misshaped=misshaped,
    )


def _classifiers(names: Collection[str]) -> set[str]:
    return {found[1] for name in names if (found := re.fullmatch(CLASSIFIER, name))}


def _rename_classifier(
    state: Mapping[str, torch.Tensor], model_state: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    theirs, ours = _classifiers(state), _classifiers(model_state)
    if len(theirs) != 1 or len(ours) != 1:
        return state
    (their_name,), (our_name,) = theirs, ours
    return {
        our_name + name.removeprefix(their_name) if re.fullmatch(CLASSIFIER, name) else name: value
        for name, value in state.items()
    }


def _fit_tensor(
    name: str, state: Mapping[str, torch.Tensor], model_state: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, list[str]]:
    """Returns: the tensor, as far as it can be fitted; and what was done, said for people."""
    x, want = state[name], model_state[name].shape
    changes = []
    if x.dim() != len(want) and _strip_ones(x.shape) == _strip_ones(want):
        return x.reshape(want), ["trailing axes of length 1"]
    if x.dim() != 5 or len(want) != 5 or x.shape[0] != want[0] or x.shape[3:] != want[3:]:
        return x, changes
    if found := re.fullmatch(AFTER_LATERAL, name):
        junction = JUNCTION_BEFORE[found[1]]
        lateral = f"backbone.f2s.{junction}.conv.weight"
        if x.shape[1] > want[1] and lateral not in model_state:
            x = x[:, : want[1]]
            changes.append(f"input columns of the lateral after {junction} cut")
        elif x.shape[1] < want[1] and lateral not in state:
            x = torch.cat([x, x.new_zeros(x.shape[0], want[1] - x.shape[1], *x.shape[2:])], dim=1)
            changes.append(f"input columns of the lateral after {junction} set to zero")
    if x.shape[2] == 1 and want[2] > 1:
        x = x.repeat(1, 1, want[2], 1, 1) / want[2]
        changes.append(f"temporal kernel inflated from 1 to {want[2]}")
    return x, changes


def _strip_ones(shape: torch.Size) -> tuple[int, ...]:
    shape = list(shape)
    while shape and shape[-1] == 1:
        shape.pop()
    return tuple(shape)
