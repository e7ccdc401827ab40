"""Start a real Triton Inference Server on a model repository, and stop it without a trace.

    python -m serving.server --repository runs/demo/repository

    with TritonServer("runs/demo/repository", http_port=0, grpc_port=0, metrics_port=0) as server:
        print(server.version, server.http_url)

Port 0 takes a free one.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import IO, BinaryIO, Self

from serving.cli import command
from serving.errors import RepositoryError, ServerError
from serving.installation import find_installation

_EXIT_TIMEOUT_S = 5
_POLL_S = 0.05
_SHARED_MEMORY = Path("/dev/shm")


class TritonServer:
    """A running Triton, as a context manager; usable once.

    `http_url` and `grpc_url` are host:port, as tritonclient wants them; `metrics_url` is a whole URL; `name` and `version` are what
    the server says of itself.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        http_port: int = 8000,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        host: str = "127.0.0.1",
        environment: str | Path | None = None,
        start_timeout_s: float = 60.0,
        log: str | Path | None = None,
    ) -> None:
        """Port 0 takes a free one. `log` keeps Triton's log; without it the log goes when the server stops.

        Raises RepositoryError if there is no model, ServerError if a port is taken, InstallationError if there is no tritonserver.
        """
        self._repository = _checked_repository(Path(repository))
        self._host = host
        self._ports = choose_ports(host, {"http": http_port, "grpc": grpc_port, "metrics": metrics_port})
        self._installation = find_installation(environment)
        self._start_timeout_s = start_timeout_s
        self._log = Path(log) if log else None
        self._cleanup = contextlib.ExitStack()
        # Triton names its shared memory after this prefix, so that ours can be told from others'.
        self._region = f"revisit-{os.getpid()}-{self._ports['http']}-"
        self.name = self.version = ""

    @property
    def http_url(self) -> str:
        """Where HTTP requests go, host:port."""
        return self._address("http")

    @property
    def grpc_url(self) -> str:
        """Where gRPC requests go, host:port."""
        return self._address("grpc")

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds the metrics."""
        return f"http://{self._address('metrics')}/metrics"

    def __enter__(self) -> Self:
        """Start and wait until every model is ready. Raises ServerError, with what Triton said, if it isn't in time."""
        with contextlib.ExitStack() as cleanup:
            folder = Path(tempfile.mkdtemp(prefix="revisit-triton-"))
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
            cleanup.callback(self._remove_shared_memory)
            cleanup.callback(self._remove_bytecode)
            self._log = self._log or folder / "triton.log"
            log = cleanup.enter_context(_opened(self._log))
            self._process = self._start(folder, log)
            cleanup.callback(self._stop)
            self._wait_until_ready()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and remove whatever it left: processes, shared memory, the temporary folder."""
        self._cleanup.close()

    def wait(self) -> None:
        """Return when the server ends by itself. Raises ServerError then: a server runs until it is stopped."""
        code = self._process.wait()
        raise ServerError(f"expected Triton to run until it is stopped, but it ended with code {code}: {self._complaints()}")

    def _address(self, service: str) -> str:
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host
        return f"{host}:{self._ports[service]}"

    def _start(self, folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        flags = [f"--{service}-port={port}" for service, port in self._ports.items()]
        flags += [f"--{service}-address={self._host}" for service in self._ports]
        return subprocess.Popen(
            [
                *self._installation.arguments(folder),
                f"--model-repository={self._repository}",
                f"--backend-config=python,shm-region-prefix-name={self._region}",
                "--disable-auto-complete-config",  # the config is complete; Triton would start every model twice to find that out
                f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
                *flags,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=self._installation.variables,
            # Its own group: Ctrl-C reaches this process alone, which then stops the server in order, and what is left of the group
            # can be killed.
            start_new_session=True,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(f"expected Triton to start, but it ended with code {self._process.returncode}: {self._complaints()}")
            if self._responds("/v2/health/ready") and (about := self._responds("/v2")):
                document = json.loads(about)
                self.name, self.version = document["name"], document["version"]
                return
            time.sleep(_POLL_S)
        raise ServerError(f"expected Triton to be ready within {self._start_timeout_s:g} s, it is not: {self._complaints()}")

    def _responds(self, path: str) -> str | None:
        """The body of a 200 answer (readiness has an empty one: a space), else None."""
        connection = http.client.HTTPConnection(self.http_url, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return (response.read().decode() or " ") if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _stop(self) -> None:
        """Ask the server to end (one that isn't ready would not listen), then end its group, also if a second Ctrl-C cuts that short."""
        try:
            if self.version:
                self._process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=2 * _EXIT_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _remove_shared_memory(self) -> None:
        for region in _SHARED_MEMORY.glob(f"{self._region}*"):
            region.unlink(missing_ok=True)

    def _remove_bytecode(self) -> None:
        """The backend's Python takes no notice of PYTHONDONTWRITEBYTECODE."""
        for cache in [*self._repository.glob("*/[0-9]*/**/__pycache__")]:
            shutil.rmtree(cache, ignore_errors=True)

    def _complaints(self) -> str:
        """The last errors of the log, in one line."""
        assert self._log is not None
        return relevant_lines(self._log.read_text(errors="replace"))


def relevant_lines(log: str, *, num_lines: int = 3) -> str:
    """What a user must know of Triton's log: its last errors without time stamps, else its last lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [re.sub(r"^E\d+ [\d:.]+ +\d+ ", "", line) for line in lines if re.match(r"E\d{4} |error:|.*(Error|Exception): ", line)]
    return " | ".join((errors or lines)[-num_lines:]) or "its log is empty"


def choose_ports(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """A port for every service: the wanted one, or a free one for 0. Raises ServerError, naming the flag, if one is taken."""
    ports = {}
    with contextlib.ExitStack() as held:
        for service, port in wanted.items():
            holder = held.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((host, port))
                holder.listen()
            except OverflowError as error:
                raise ServerError(f"expected --{service}-port from 0 to 65535, received {port}; 0 takes a free one") from error
            except OSError as error:
                raise ServerError(
                    f"expected port {port} on {host} to be free for {service}, received: {error.strerror}; "
                    f"choose another with --{service}-port (0 takes a free one)"
                ) from error
            ports[service] = holder.getsockname()[1]
    return ports


def _opened(log: Path) -> BinaryIO:
    try:
        return log.open("wb")
    except OSError as error:
        raise ServerError(f"expected a place for Triton's log, received {log}: {error.strerror}; choose another with --log") from error


def _checked_repository(repository: Path) -> Path:
    if not any(repository.glob("*/config.pbtxt")):
        raise RepositoryError(
            f"expected a Triton model repository in {repository}, found no model; write one: python -m serving.repository"
        )
    return repository.absolute()


def main(arguments: list[str] | None = None) -> None:
    """Read the flags, serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.server", description="Start a real Triton Inference Server on a model repository; Ctrl-C stops it."
    )
    parser.add_argument("--repository", required=True, type=Path, help="the repository's folder, as serving.repository writes it")
    parser.add_argument("--http-port", type=int, default=8000, help="0 takes a free one, as for the other ports (default: %(default)s)")
    parser.add_argument("--grpc-port", type=int, default=8001, help="(default: %(default)s)")
    parser.add_argument("--metrics-port", type=int, default=8002, help="(default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; 0.0.0.0 is every network (default: %(default)s)")
    parser.add_argument(
        "--environment", type=Path, help="a virtual environment with nvidia-pytriton, if no tritonserver is on PATH (default: .venv-server)"
    )
    parser.add_argument("--start-timeout", type=float, default=60.0, help="seconds until every model must be ready (default: %(default)s)")
    parser.add_argument("--log", type=Path, help="keep Triton's log in this file")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    server = TritonServer(
        options.repository,
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        host=options.host,
        environment=options.environment,
        start_timeout_s=options.start_timeout,
        log=options.log,
    )
    with contextlib.suppress(KeyboardInterrupt), server:
        addresses = f"HTTP {server.http_url}, gRPC {server.grpc_url}, metrics {server.metrics_url}"
        print(f"Triton {server.version} is ready: {addresses} (Ctrl-C stops it)", flush=True)
        server.wait()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends the command as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    command(main)
