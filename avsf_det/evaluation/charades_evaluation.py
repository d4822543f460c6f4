"""Charades' mAP as a Detectron2 evaluator."""

from .clip_evaluation import ClipEvaluator


class CharadesEvaluator(ClipEvaluator):
    """mAP of clips with several labels, over the maximum of the scores of a clip's views.

    The mAP is the mean over the classes that have a clip. As in the official script, the AP of a
    class is the mean, over its clips, of the precision at their rank: no interpolation, no weights.
    Clips without any label do not count; equal scores rank in the order of the clip ids.
    :meth:`evaluate` returns ``{task: {"mAP": x}}``, and ``per_class_<task>.csv`` has rows
    ``index,class,clips,AP``; for the rest see :class:`ClipEvaluator`.
    """

    def __init__(self, dataset_name: str, output_dir: str) -> None:
        """Read the metadata of the dataset; for the arguments see :class:`ClipEvaluator`."""
        super().__init__(dataset_name, output_dir, view_rule="max")
