"""A config's model in other runtimes: AOTInductor, OpenVINO, ONNX Runtime."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch

from avsf_det.export import export_onnx, export_program, make_inputs
from avsf_det.layers import fold_batch_norms

from .model_variants import Bench, Variant, autocast_options, name_of


def export_variants(bench: Bench, folder: Path) -> Iterator[tuple[str, Variant]]:
    """Yield name and variant of the model with folded batch norms, for each installed runtime."""
    example = make_inputs(bench.cfg, tuple(bench.batch), (bench.crop, bench.crop))
    inputs = {name: x.to(bench.device) for name, x in example.items()}
    for dtype in bench.rates:
        name = name_of(dtype)
        model = bench.build(*autocast_options(dtype))
        fold_batch_norms(model.model)
        program = export_program(model, inputs)
        yield f"AOTInductor {name}", _ahead_of_time(program, folder, dtype, bench.batch)
        if bench.device.type == "cpu" and find_spec("openvino"):
            yield f"OpenVINO {name}", _openvino(program, dtype, bench.batch)
        if bench.device.type == "cpu" and dtype == torch.float32 and find_spec("onnxruntime"):
            export_onnx(model, program, folder / "model.onnx")
            yield f"ONNX Runtime {name}", _onnx_runtime(folder / "model.onnx", bench.batch)


@torch.no_grad()  # with gradients, no weight would be frozen
def _ahead_of_time(
    program: torch.export.ExportedProgram, folder: Path, dtype: torch.dtype, batch: dict
) -> Variant:
    from torch._inductor import aoti_compile_and_package, aoti_load_package  # slow to import

    path = aoti_compile_and_package(
        program,
        package_path=str(folder / f"{name_of(dtype)}.pt2"),
        inductor_configs={"freezing": True},  # weights may be reordered
    )
    run = aoti_load_package(path)
    call = torch.no_grad()(lambda: next(iter(run(**batch).values())))
    return Variant(dtype, call, call)


def _openvino(program: torch.export.ExportedProgram, dtype: torch.dtype, batch: dict) -> Variant:
    import openvino  # an extra

    hint = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    compiled = openvino.compile_model(
        openvino.convert_model(program), "CPU", {"INFERENCE_PRECISION_HINT": hint}
    )
    arrays = [x.numpy() for x in batch.values()]
    return Variant(dtype, lambda: compiled(arrays), lambda: torch.from_numpy(compiled(arrays)[0]))


def _onnx_runtime(path: Path, batch: dict) -> Variant:
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    # Its threads would wait busily for a while, on the cores of what is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    arrays = {name: x.numpy() for name, x in batch.items()}

    def scores() -> torch.Tensor:
        return torch.from_numpy(session.run(None, arrays)[0])

    return Variant(torch.float32, scores, scores)
