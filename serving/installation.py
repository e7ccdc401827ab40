"""Which tritonserver can be started on this machine, and what it needs.

First the one on PATH, as in NVIDIA's container. Else the one inside the nvidia-pytriton wheel: a whole Triton with its Python
backend. It is looked for in the environment that is named; if none is, in $REVISIT_SERVER_ENVIRONMENT or `.venv-server` (here or
beside this code), then in the running environment.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import InstallationError

ENVIRONMENT_VARIABLE = "REVISIT_SERVER_ENVIRONMENT"
DEFAULT_ENVIRONMENT = ".venv-server"
CHECKOUT = Path(__file__).parents[1]
HOW_TO_GET_ONE = (
    "run 'make setup', which makes .venv-server with a tritonserver in it, or use NVIDIA's container: "
    "docker run --rm -p 8000:8000 -p 8001:8001 -v $PWD/REPOSITORY:/models nvcr.io/nvidia/tritonserver:24.12-py3 (see docs/serving.md)"
)

# What the environment's own Python says about itself. Versions come from metadata: importing the packages would take a second.
_PROBE = """
import importlib.metadata, importlib.util, json, sys, sysconfig
def version(name):
    try: return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: return None
spec = importlib.util.find_spec("pytriton")
print(json.dumps({
    "pytriton": list(spec.submodule_search_locations)[0] if spec else None,
    "python": "%d.%d" % sys.version_info[:2],
    "libdir": sysconfig.get_config_var("LIBDIR"),
    "versions": {name: version(name) for name in ("numpy", "onnxruntime", "pyarrow")},
}))
"""


@dataclass(frozen=True)
class Installation:
    """A tritonserver, the files to lay beside its Python backend (none if it finds its own), and the variables it runs with."""

    binary: Path
    backend_files: tuple[Path, ...]
    variables: dict[str, str]

    def arguments(self, folder: Path) -> list[str]:
        """What starts the server; links the backend's files in `folder` first, because the wheel keeps the backend and its stub apart."""
        if not self.backend_files:
            return [str(self.binary)]
        backend = folder / "backends" / "python"
        backend.mkdir(parents=True)
        for file in self.backend_files:
            (backend / file.name).symlink_to(file)
        return [str(self.binary), f"--backend-directory={backend.parent}"]


def find_installation(environment: str | Path | None = None) -> Installation:
    """The tritonserver to start. Raises InstallationError if there is none, or if the environment that should run the model can't."""
    if binary := shutil.which("tritonserver"):
        return Installation(Path(binary), (), dict(os.environ))
    for candidate in _candidates(environment):
        python = candidate / "bin" / "python"
        if python.exists() and (found := _probe(python))["pytriton"]:
            return _from_wheel(candidate, found)
    looked_in = ", ".join(str(candidate) for candidate in _candidates(environment))
    raise InstallationError(f"expected tritonserver on PATH or nvidia-pytriton in {looked_in}, found neither; {HOW_TO_GET_ONE}")


def _candidates(environment: str | Path | None) -> list[Path]:
    if environment is not None:
        return [Path(environment).absolute()]
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return [Path(named).absolute(), Path(sys.prefix)]
    beside_this_code = CHECKOUT / DEFAULT_ENVIRONMENT  # for who calls from another folder
    return [*dict.fromkeys([Path(DEFAULT_ENVIRONMENT).absolute(), beside_this_code]), Path(sys.prefix)]


def _probe(python: Path) -> dict[str, Any]:
    result = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, check=False, env=_clean_variables())
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise InstallationError(f"expected a working Python in {python}, received {reason}; run 'make setup'")
    return json.loads(result.stdout)


def _from_wheel(environment: Path, found: dict[str, Any]) -> Installation:
    _check_packages(environment, found["versions"])
    server = Path(found["pytriton"]) / "tritonserver"
    stub = server / "python_backend_stubs" / found["python"] / "triton_python_backend_stub"
    if not stub.exists():
        offered = ", ".join(sorted(folder.name for folder in stub.parent.parent.iterdir()))
        raise InstallationError(
            f"expected Python {offered} in {environment}, received {found['python']}; make that environment with one of them"
        )
    libraries = f"{server.parent.parent / 'nvidia_pytriton.libs'}:{found['libdir']}"
    variables = _clean_variables() | {
        # The stub embeds Python and takes the packages of the environment whose python is first on PATH.
        "PATH": f"{environment / 'bin'}:{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": libraries,
    }
    _check_libraries(stub, variables)
    backend = server / "backends" / "python"
    files = (backend / "libtriton_python.so", backend / "triton_python_backend_utils.py", stub)
    return Installation(server / "bin" / "tritonserver", files, variables)


def _clean_variables() -> dict[str, str]:
    """This process's variables without those that would bring another environment's packages into the server."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _check_packages(environment: Path, versions: dict[str, str | None]) -> None:
    if missing := [name for name, version in versions.items() if version is None]:
        raise InstallationError(f"expected {', '.join(missing)} in {environment}, found none; run 'make setup'")
    numpy = versions["numpy"] or ""
    if int(numpy.split(".")[0]) >= 2:
        # Without this check the answers would be wrong and nobody would be told.
        raise InstallationError(
            f"expected numpy below 2 in {environment}, received {numpy}: this Triton reads numpy 2 arrays as garbage; "
            f"{environment}/bin/pip install -r requirements-server.txt"
        )


def _check_libraries(stub: Path, variables: dict[str, str]) -> None:
    """A stub that can't be linked makes the server wait for it without end."""
    result = subprocess.run(["ldd", stub], capture_output=True, text=True, check=False, env=variables)
    if missing := [line.split()[0] for line in result.stdout.splitlines() if "not found" in line]:
        raise InstallationError(
            f"expected shared libraries {', '.join(missing)} for Triton's Python backend, found none; "
            "install a Python built as a shared library (Debian: libpython3-dev) and run 'make setup'"
        )
