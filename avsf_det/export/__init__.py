from .tracing import (
    ExportError,
    TensorModel,
    compare_with_eager,
    export_onnx,
    export_program,
    make_inputs,
    run_file,
)

__all__ = [
    "ExportError",
    "TensorModel",
    "compare_with_eager",
    "export_onnx",
    "export_program",
    "make_inputs",
    "run_file",
]
