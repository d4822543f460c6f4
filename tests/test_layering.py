"""The direction of imports inside the package, read from the source without running it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "avsf_det"

# Folders (or modules) of the package that may import themselves only.
LEAVES = {"config", "layers", "structures", "utils"}
# Folders of the package that a folder may import besides itself. The four in the middle do not
# know each other.
ALLOWED = {
    **{leaf: set() for leaf in LEAVES},
    **dict.fromkeys(("checkpoint", "data", "evaluation", "modeling"), LEAVES - {"config"}),
    "model_zoo": {"checkpoint", "config", "structures"},
    "engine": {"__init__", "checkpoint", "data", "evaluation", "model_zoo", *LEAVES} - {"config"},
    "export": {"modeling", "structures"},
    "__init__": {"config", "data", "model_zoo", "modeling"},
}
# Libraries that only these places may import.
CONFINED = {
    "av": {"data/video"},
    "cv2": {"data/transforms.py"},
}


def imported_modules(path: Path) -> list[str]:
    """Absolute names of all modules that a file of the package imports, at any depth."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names += [module] if node.module else [f"{module}.{alias.name}" for alias in node.names]
    return names


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def folder_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


@pytest.mark.parametrize("path", package_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_layers(path: Path):
    relative = path.relative_to(PACKAGE)
    home = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    for module in imported_modules(path):
        assert "detectron2._C" not in module
        if module.split(".")[0] == "avsf_det":
            target = folder_of(module)
            assert target == home or target in ALLOWED[home], f"{relative} imports {module}"
        allowed = CONFINED.get(module.split(".")[0])
        if allowed is not None:
            assert any(str(relative).startswith(place) for place in allowed), (
                f"{relative} imports {module}"
            )


def test_no_import_cycle_between_files():
    graph = {}
    for path in package_files():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        graph[name] = [m for m in imported_modules(path) if m.startswith("avsf_det.")]

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        for target in graph.get(name, []):
            if target != name:
                visit(target, (*trail, name))

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "ava_tools").rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT / "ava_tools")),
)
def test_tools_import_no_script(path: Path):
    scripts = {tool.stem for tool in (ROOT / "ava_tools").glob("*.py")} - {"__init__"}
    modules = imported_modules(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "ava_tools":
            modules += [f"ava_tools.{alias.name}" for alias in node.names]
    for module in modules:
        first, second = (*module.split("."), "")[:2]
        assert first not in scripts | {"tests", "train_net"}, f"imports {module}"
        assert first != "ava_tools" or second not in scripts, f"imports {module}"
