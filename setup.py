"""Copy the configs into the package while it is built; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithConfigs(build_py):
    """Put ``configs/`` into ``avsf_det/model_zoo/`` of a wheel, as Detectron2 does with its own.

    An editable installation gets no copy: there ``model_zoo`` reads the files of the checkout.
    """

    def run(self) -> None:
        """Build the package, then add the configs."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "avsf_det" / "model_zoo" / "configs"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / "configs", target)


setup(cmdclass={"build_py": BuildWithConfigs})
