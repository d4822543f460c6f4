from pathlib import Path

from setuptools import find_packages, setup

ONNX = ["onnx", "onnxruntime", "onnxscript"]

setup(
    name="avsf_det",
    version="0.1.0",
    description="Audiovisual spatiotemporal action detection (AVSlowFast) on Detectron2",
    long_description=Path(__file__).with_name("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["avsf_det", "avsf_det.*"]),
    package_data={"avsf_det.utils.report": ["*.html", "*.css", "*.js"]},
    python_requires=">=3.10",
    # Detectron2 is not on the package index: ava_tools/install_detectron2.py installs it.
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "torchaudio>=2.4",
        "av>=14.2",
        "numpy>=1.24",
        "scipy>=1.10",
        "pycocotools>=2.0.6",
        "opencv-python>=4.8",
        "fvcore>=0.1.5.post20221221",
        "jinja2",
        "matplotlib>=3.7",
        "pillow>=10.1",
        "tabulate",
        "tensorboard",
        "tqdm",
    ],
    extras_require={
        "export": ONNX,
        # Peers of ava_tools/benchmark_*.py. pyslowfast is that project's AVA evaluator.
        "benchmark": ["pytorchvideo", "decord", "torchcodec", "openvino", "pyslowfast", *ONNX],
        "test": ["pytest>=7", "ruff>=0.6", "pytest-xdist", "scikit-learn", *ONNX],
    },
)
