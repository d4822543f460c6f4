"""Run the demo on a camera that OpenCV opens, with a window if asked for."""

import signal
import threading

import cv2
import numpy as np

from avsf_det.engine.predictor import PredictorError

from .demo import ActionDemo


def draw_webcam(demo: ActionDemo, number: int, output: str, show: bool) -> None:
    """Draw what a camera shows until Ctrl-C, or until q is pressed in the window.

    Args:
        demo: model and drawing options.
        number: number of the camera, as OpenCV counts them.
        output: .mp4 to write.
        show: whether to show the frames in a window.

    Raises:
        PredictorError: the camera cannot be opened, or gives no frames; ``output`` exists.
    """
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise PredictorError(f"--webcam {number}: no such camera, or another program uses it")
    stopped = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopped.set())

    def show_frame(image: np.ndarray) -> None:
        if show:
            cv2.imshow("avsf_det", image[..., ::-1])
            if cv2.waitKey(1) == ord("q"):
                stopped.set()

    print(
        "The camera's audio is not recorded: the model receives silence. Ctrl-C ends.", flush=True
    )
    print(demo.watch(capture, output, stopped.is_set, show_frame))
    capture.release()
