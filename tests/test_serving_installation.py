"""Which tritonserver is started, and what is said where none can be."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers_serving import processes_about

from serving import installation
from serving.errors import InstallationError, RepositoryError, ServerError
from serving.installation import ENVIRONMENT_VARIABLE, find_installation
from serving.server import TritonServer, choose_ports, relevant_lines

GOOD = {"python": "3.11", "libdir": "/usr/lib", "versions": {"numpy": "1.26.4", "onnxruntime": "1.31.1", "pyarrow": "25.0.1"}}


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tritonserver on PATH, no environment in the working folder or beside the code."""
    monkeypatch.setattr(installation, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def executable(file: Path, script: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def environment(path: Path, **changes: object) -> Path:
    """An environment whose Python says of itself what a test wants, with the wheel's files around it."""
    package = path / "packages" / "pytriton"
    stub = package / "tritonserver" / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.write_bytes(Path("/bin/true").read_bytes())
    answer = json.dumps({**GOOD, "pytriton": str(package), **changes})
    executable(path / "bin" / "python", f"echo '{answer}'")
    return path


def repository(path: Path) -> Path:
    (path / "toy").mkdir(parents=True)
    (path / "toy" / "config.pbtxt").touch()
    return path


def test_the_one_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = executable(tmp_path / "bin" / "tritonserver", "exit 0")
    monkeypatch.setenv("PATH", f"{binary.parent}:/usr/bin:/bin")
    found = find_installation(environment(tmp_path / "environment"))
    assert found.arguments(tmp_path) == [str(binary)]


@pytest.mark.parametrize("how", ["named", "by variable", "in the working folder", "beside the code"])
def test_the_wheel_is_found_in_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    places = {"in the working folder": tmp_path / ".venv-server", "beside the code": tmp_path / "checkout" / ".venv-server"}
    path = environment(places.get(how, tmp_path / "environment"))
    if how == "by variable":
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))
    found = find_installation(path if how == "named" else None)
    assert found.binary == path / "packages" / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    assert found.variables["PATH"].startswith(f"{path}/bin:")
    assert found.arguments(tmp_path / "run")[1] == f"--backend-directory={tmp_path}/run/backends"
    assert (tmp_path / "run" / "backends" / "python" / "triton_python_backend_stub").exists()


def test_other_packages_stay_out_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/with/numpy/2")
    assert "PYTHONPATH" not in find_installation(environment(tmp_path / "environment")).variables


def test_where_there_is_none_both_ways_to_get_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match=r"found neither; run 'make setup'.*docker run"):
        find_installation(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"versions": {**GOOD["versions"], "numpy": "2.1.0"}}, r"expected numpy below 2 in .*, received 2\.1\.0"),
        ({"versions": {**GOOD["versions"], "pyarrow": None}}, "expected pyarrow in .*, found none; run 'make setup'"),
        ({"python": "3.14"}, r"expected Python 3\.11 in .*, received 3\.14"),
    ],
    ids=["numpy 2", "a package is missing", "no stub for this Python"],
)
def test_an_environment_that_cannot_run_the_model_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(InstallationError, match=words):
        find_installation(environment(tmp_path / "environment", **changes))


def test_a_stub_that_cannot_be_linked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "bin" / "ldd", "echo 'libpython3.11.so.1.0 => not found'")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    with pytest.raises(InstallationError, match=r"expected shared libraries libpython3\.11\.so\.1\.0"):
        find_installation(environment(tmp_path / "environment"))


def test_a_broken_python_is_named(tmp_path: Path) -> None:
    executable(tmp_path / "environment" / "bin" / "python", "echo 'no encodings' >&2; exit 1")
    with pytest.raises(InstallationError, match="received no encodings; run 'make setup'"):
        find_installation(tmp_path / "environment")


def test_a_busy_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"expected port {port} on 127\.0\.0\.1 to be free for grpc.*--grpc-port"):
            TritonServer(repository(tmp_path / "repository"), http_port=0, grpc_port=port, metrics_port=0)
        with pytest.raises(ServerError, match="--metrics-port"):
            choose_ports("127.0.0.1", {"http": 0, "grpc": 0, "metrics": port})


def test_a_port_that_is_none_is_named() -> None:
    with pytest.raises(ServerError, match="expected --http-port from 0 to 65535, received 99999"):
        choose_ports("127.0.0.1", {"http": 99999})


def test_a_log_that_can_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = executable(tmp_path / "bin" / "tritonserver", "exit 0")
    monkeypatch.setenv("PATH", f"{binary.parent}:/usr/bin:/bin")
    server = TritonServer(repository(tmp_path / "repository"), http_port=0, grpc_port=0, metrics_port=0, log=tmp_path / "no" / "x.log")
    with pytest.raises(ServerError, match=r"x\.log: No such file or directory; choose another with --log"), server:
        pass


def test_free_ports_differ() -> None:
    ports = choose_ports("127.0.0.1", {"http": 0, "grpc": 0, "metrics": 0})
    assert len(set(ports.values())) == 3


def test_one_port_for_two_services_is_refused() -> None:
    port = choose_ports("127.0.0.1", {"http": 0})["http"]
    with pytest.raises(ServerError, match="--grpc-port"):
        choose_ports("127.0.0.1", {"http": port, "grpc": port})


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"found no model; write one: python -m serving\.repository"):
        TritonServer(tmp_path)


def test_a_server_that_ends_at_once_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo 'I1122 00:00:00.0 1 a.cc:1] fine'; echo 'error: creating server: no luck'; exit 3"
    binary = executable(tmp_path / "bin" / "tritonserver", script)
    monkeypatch.setenv("PATH", f"{binary.parent}:/usr/bin:/bin")
    with pytest.raises(ServerError, match=r"ended with code 3: error: creating server: no luck$"):
        start(tmp_path)


def test_a_server_that_is_not_ready_in_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nap = f"sleep 300.{os.getpid()}"
    binary = executable(tmp_path / "bin" / "tritonserver", f"echo loading {tmp_path}; trap '' INT; {nap} & {nap}")
    monkeypatch.setenv("PATH", f"{binary.parent}:/usr/bin:/bin")
    begin = time.monotonic()
    with pytest.raises(ServerError, match=r"ready within 0\.3 s, it is not: loading"):
        start(tmp_path)
    assert time.monotonic() - begin < 10
    while processes_about(binary) + processes_about(nap) and time.monotonic() - begin < 15:
        time.sleep(0.05)  # what is killed takes a moment to be gone
    assert processes_about(binary) + processes_about(nap) == []


def start(tmp_path: Path) -> None:
    with TritonServer(repository(tmp_path / "repository"), http_port=0, grpc_port=0, metrics_port=0, start_timeout_s=0.3):
        pass


def test_what_matters_of_a_log_is_its_errors() -> None:
    log = """I1122 00:37:52.189245 6894 server.cc:1] "loading"
E1122 00:37:52.189245 6894 model_lifecycle.cc:642] "failed to load 'toy' version 1: Internal: ArtifactError: expected A"
W1122 00:37:52.189245 6894 server.cc:1] "no GPU"
error: creating server: Internal - failed to load all models
"""
    assert relevant_lines(log) == (
        "model_lifecycle.cc:642] \"failed to load 'toy' version 1: Internal: ArtifactError: expected A\""
        " | error: creating server: Internal - failed to load all models"
    )
    assert relevant_lines("starting\nwaiting\n") == "starting | waiting"
    assert relevant_lines("") == "its log is empty"


@pytest.mark.parametrize("module", ["serving.repository", "serving.server", "serving.client", "serving.demo"])
def test_every_command_explains_itself(module: str) -> None:
    result = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert f"python -m {module}" in result.stdout
