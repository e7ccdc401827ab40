"""C sources are built once by the compiler of the machine; where none is, or a source is broken, it is said, and another path taken."""

import ctypes
import logging
import platform
from functools import cache
from pathlib import Path

import pytest
import torch

from kernels import dispatch, native
from kernels.dropout import dropout
from kernels.feed_forward import feed_forward
from kernels.jagged_attention import jagged_attention
from kernels.linear_cross_entropy import linear_logsumexp

needs_compiler = pytest.mark.skipif(not native.suits("dropout", torch.float32), reason="no C compiler is found")


def test_without_a_compiler_the_next_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with caplog.at_level(logging.INFO):
        assert native.library(tmp_path / "answer.c") is None
    assert "no C compiler is found (CC names one)" in caplog.text
    monkeypatch.setattr(native, "_of", lambda _: None)
    assert dispatch.choose("jagged_attention", torch.zeros(1)) == "blocked"


@needs_compiler
def test_a_source_that_does_not_compile_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "broken.c").write_text("int answer(void) { return }")
    assert native.library(tmp_path / "broken.c") is None
    assert "broken.c is not built" in caplog.text
    assert "error" in caplog.text
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@needs_compiler
def test_a_source_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }")
    first = native.library(source)
    assert isinstance(first, ctypes.CDLL)
    assert first.answer() == 42
    (built,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    before = built.stat().st_mtime_ns
    native.library(source)
    assert built.stat().st_mtime_ns == before
    source.write_text("int answer(void) { return 43; }")
    again = native.library(source)
    assert again is not None
    assert again.answer() == 43


def answers() -> list[torch.Tensor]:
    """Of every compiled operator, and its gradient."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float32)

    x, offsets = draw(47, 48).requires_grad_(), torch.tensor([0, 2, 6, 47])
    weights = draw(96, 48), draw(96), draw(48, 96), draw(48)
    qkv = x[:, None, :]
    every = jagged_attention(qkv, qkv, qkv, offsets), feed_forward(x, *weights), linear_logsumexp(x, *weights[:2]), dropout(x, 50, 1)
    return [part for out in every for part in (out.detach(), torch.autograd.grad(out.sum(), x)[0])]


@needs_compiler
def test_whatever_type_numbers_have_by_default() -> None:
    """What C writes into is made of the type of what came, not of torch's default."""
    expected = answers()
    torch.set_default_dtype(torch.float64)
    try:
        with_doubles = answers()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(with_doubles, expected, strict=True):
        assert one.dtype == torch.float32
        assert one.equal(other)


@needs_compiler
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names instruction sets of x86-64")
@pytest.mark.parametrize(
    ("instructions", "processors"),
    [("-msse2", ("DEFAULT", "AVX2", "AVX512")), ("-mavx2 -mfma", ("AVX2", "AVX512")), ("-mavx512f -mfma", ("AVX512",))],
)
def test_registers_of_any_width(instructions: str, processors: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers, and no vector is wider than a register: such a one lives in memory, and everything takes eight times as long."""
    if torch.backends.cpu.get_cpu_capability() not in processors:
        pytest.skip(f"this processor has not got {instructions}")
    expected = answers()
    flags = (*(flag for flag in native.FLAGS if flag != "-march=native"), *instructions.split(), "-Werror=vector-operation-performance")
    monkeypatch.setattr(native, "FLAGS", flags)
    monkeypatch.setattr(native, "_of", cache(native._of.__wrapped__))
    assert all(native.suits(name, torch.float32) for name in ("jagged_attention", "feed_forward", "linear_cross_entropy", "dropout"))
    for one, other in zip(answers(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
