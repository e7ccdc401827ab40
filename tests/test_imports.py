"""Who may import whom, as docs/design.md says it, over every file; and that serving starts where no training library is installed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"benchmarks", "conf", "kernels", "serving", "tests", "training"}
ON_CARDS_ONLY = {"cuda", "cupy", "triton"}
SERVING = {"serving", "numpy", "pyarrow", "onnxruntime", "tritonclient"}
TRAINING_LIBRARIES = ["torch", "hydra", "omegaconf", "pytorch_lightning", "polars", "onnx", "sklearn"]
INSIDE_TRITON = "triton_python_backend_utils"


def sources() -> list[Path]:
    """Every Python file of the four packages, relative to the repository."""
    packages = (ROOT / name for name in ("conf", "kernels", "serving", "training"))
    return [path.relative_to(ROOT) for package in packages for path in sorted(package.rglob("*.py"))]


def imported(source: str) -> Iterator[str]:
    """The top-level name of each import in `source`, also of those inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]


def is_allowed(name: str, path: Path) -> bool:
    """Whether the file at `path` may import the top-level module `name`."""
    if name in ON_CARDS_ONLY:
        return path.parts[0] == "kernels" and path.name in {"fused.py", "ahead_of_time.py"}
    if name in sys.stdlib_module_names:
        return path.parts[0] != "conf"
    match path.parts[0]:
        case "conf":
            return False
        case "kernels":
            return name in {"kernels", "torch", "numpy"}
        case "training":
            return name in {"training", "kernels"} or name not in OURS
        case "serving":
            at_the_screen = {"rich"} if path == Path("serving/demo.py") else set()
            inside_triton = {INSIDE_TRITON} if path.parts[1] == "backends" else set()
            return name in SERVING | at_the_screen | inside_triton
    raise AssertionError(f"no rule for {path}")


@pytest.mark.parametrize("path", sources(), ids=str)
def test_a_file_imports_only_what_its_package_may(path: Path) -> None:
    forbidden = {name for name in imported((ROOT / path).read_text()) if not is_allowed(name, path)}
    assert not forbidden, f"{path} may not import {', '.join(sorted(forbidden))}; docs/design.md says who may import whom"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("conf/__init__.py", "import os"),
        ("kernels/a/__init__.py", "def f():\n    import triton"),
        ("kernels/a/reference.py", "from training.errors import RevisitError"),
        ("training/run.py", "from serving.contract import read"),
        ("training/run.py", "import triton.language as tl"),
        ("serving/client.py", "import torch.nn"),
        ("serving/client.py", "import rich"),
        ("serving/client.py", "from training import errors"),
    ],
)
def test_the_rule_finds_a_forbidden_import(path: str, source: str) -> None:
    assert not all(is_allowed(name, Path(path)) for name in imported(source))


def test_serving_starts_without_any_training_library() -> None:
    modules = [".".join(path.with_suffix("").parts) for path in sources() if path.parts[0] == "serving" and path.parts[1] != "backends"]
    block = f"import sys; sys.modules.update(dict.fromkeys({TRAINING_LIBRARIES}))"
    imports = "; ".join(f"import {module.removesuffix('.__init__')}" for module in modules)
    done = subprocess.run([sys.executable, "-c", f"{block}; {imports}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
