"""Charades' mAP as a Detectron2 evaluator."""

from .clip_evaluation import ClipEvaluator


class CharadesEvaluator(ClipEvaluator):
    """mAP of clips with several labels, over the maximum of the scores of a clip's views.

    The mAP is the mean over the classes that have a clip. The AP of a class is the mean, over its
    clips, of the precision at their rank, as in the official script: no interpolation, no weights;
    clips without any label do not count; equal scores rank in the order of the clip ids.
    :meth:`evaluate` returns ``{task: {"mAP": x}}``, and ``per_class_<task>.csv`` has rows
    ``index,class,clips,AP``; for the rest see :class:`ClipEvaluator`.
    """

    view_rule = "max"
