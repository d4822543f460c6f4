#!/usr/bin/env python
"""Write a trained model into a folder that others can use, and upload it to Hugging Face.

The folder has config.yaml, model.safetensors, a model card (README.md) with data, recipe, figures
measured in the run, hashes and versions, and the label map of a detector. MODEL.WEIGHTS,
--config-file and avsf_det.model_zoo take the folder, or hf://org/name of its repository. Fill in
the fields of the card that say FILL IN before --upload.
"""

import argparse
import sys
from pathlib import Path

from avsf_det.engine.defaults import make_parser, run_command

EXAMPLES = """examples:
  python ava_tools/publish_model.py output/demo/avsf --output published/avsf_mini
  python ava_tools/publish_model.py --output published/avsf_mini --upload org/avsf_mini"""


def run(args: argparse.Namespace) -> None:
    """Write the folder, or upload it."""
    from ava_tools.publishing.publish import CARD_NAME, upload_folder, write_folder

    folder = Path(args.output)
    if args.run:
        files = write_folder(Path(args.run), folder, weights=args.weights, label_map=args.label_map)
        print(f"{folder}: {', '.join(files)}. Fill in the card: {folder / CARD_NAME}")
    else:
        print(f"Uploaded {folder} to {upload_folder(folder, args.upload)}")


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("run", nargs="?", default="", metavar="RUN", help="OUTPUT_DIR of a training")
    add("--output", required=True, metavar="FOLDER", help="folder to write, or to upload")
    add("--weights", default="", metavar="FILE", help="the last checkpoint of the run by default")
    add("--label-map", default="", metavar="FILE", help="of actions, if not that of DATASETS.TEST")
    add("--upload", default="", metavar="ORG/NAME", help="repository of Hugging Face, made private")
    args = parser.parse_args(argv)
    if bool(args.run) == bool(args.upload):
        parser.error("give either a RUN to write or --upload: the card is filled in between")
    return run_command(run, args)


if __name__ == "__main__":
    sys.exit(main())
