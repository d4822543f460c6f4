from .tracing import (
    ExportError,
    TensorModel,
    export_onnx,
    export_program,
    make_inputs,
)

__all__ = [
    "ExportError",
    "TensorModel",
    "export_onnx",
    "export_program",
    "make_inputs",
]
