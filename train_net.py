#!/usr/bin/env python
r"""Train and evaluate AVSlowFast models.

Example:
    python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml
    python train_net.py --config-file configs/AVA/avsf_r101_8x8.yaml --eval-only \
        MODEL.WEIGHTS output/AVA/avsf_r101_8x8/model_final.pth

Everything is in avsf_det/engine/train.py, so that the installed command avsf-train has it too.
"""

import sys

from avsf_det.engine.train import main

if __name__ == "__main__":
    sys.exit(main())
