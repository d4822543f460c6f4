import logging
import warnings

from ava_tools.charts.class_differences import draw_class_differences


def test_names_of_classes_are_literal_and_a_missing_font_is_one_line(tmp_path, caplog):
    names = ["$\\foo$", "\u0411\u0435\u0433", "\u0939\u093f\u0928", "\u0939\u093f \ud800"]
    path = tmp_path / "chart.png"
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, "avsf_det"):
        warnings.simplefilter("error")
        # Matplotlib before 3.9 says so of the script, with any font.
        warnings.filterwarnings("ignore", "Matplotlib currently does not support")
        draw_class_differences(names, [1, 2, 3, 4], str(path), title="$x$ against $\\bar$")
    assert path.stat().st_size > 1000
    assert len([r for r in caplog.records if "DEVANAGARI" in r.getMessage()]) <= 1
