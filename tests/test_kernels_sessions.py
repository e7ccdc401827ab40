"""Sessions, places, offsets and packing equal their plain loops: numpy, and the CUDA C++ run here with a thread for each thread."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import sessions
from kernels.sessions import arrays, fused, reference

Call = Callable[..., tuple[np.ndarray, np.ndarray]]


def rows_of(num_rows: int, num_customers: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by customer and time, with silences on both sides of 10 and of exactly 10."""
    rng = np.random.default_rng(0)
    key = np.sort(rng.integers(0, num_customers, num_rows))
    time = np.cumsum(rng.choice([0, 1, 9, 10, 11, 30], num_rows)) - 10_000 * key
    return key, time


def check_sessions(call: Call, key: np.ndarray, time: np.ndarray, gap: int = 10) -> None:
    for ours, theirs in zip(call(key, time, gap), reference.gap_sessions(key.tolist(), time.tolist(), gap), strict=True):
        assert ours.dtype == np.int64
        assert ours.tolist() == theirs


def check_pack(call: Call, offsets: np.ndarray, rows: np.ndarray) -> None:
    for ours, theirs in zip(call(offsets, rows), reference.pack(offsets.tolist(), rows.tolist()), strict=True):
        assert ours.dtype == np.int64
        assert ours.tolist() == theirs


# numpy


@pytest.mark.parametrize(("num_rows", "num_customers"), [(0, 1), (1, 1), (2, 1), (500, 1), (500, 40), (500, 400)])
def test_every_call_equals_its_loop(num_rows: int, num_customers: int) -> None:
    key, time = rows_of(num_rows, num_customers)
    check_sessions(sessions.gap_sessions, key, time)
    assert sessions.place_in_group(key).tolist() == reference.place_in_group(key.tolist())
    offsets = sessions.offsets_of_sorted(key, num_customers + 1)
    assert offsets.tolist() == reference.offsets_of_sorted(key.tolist(), num_customers + 1)
    for rows in (np.arange(num_customers), np.arange(num_customers)[::-2], np.array([0, 0, num_customers]), np.array([], dtype=np.int64)):
        check_pack(sessions.pack, offsets, rows)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-20, 20)), max_size=30), st.integers(0, 12))
def test_drawn_rows(rows: list[tuple[int, int]], gap: int) -> None:
    key, time = (np.array(column, dtype=np.int64) for column in (zip(*sorted(rows), strict=True) if rows else ([], [])))
    check_sessions(sessions.gap_sessions, key, time, gap)


def test_a_session_ends_with_a_silence_longer_than_the_gap_and_with_its_customer() -> None:
    key, time = np.array([4, 4, 4, 7, 7]), np.array([0, 10, 21, 22, 22])
    session, number = sessions.gap_sessions(key, time, 10)
    assert session.tolist() == [0, 0, 1, 2, 2]
    assert number.tolist() == [0, 0, 1, 0, 0]


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"key and time \[N\]; received \[2\] and \[3\]"):
        sessions.gap_sessions(np.zeros(2), np.zeros(3), 1)
    with pytest.raises(ValueError, match="gap of at least 0; received -1"):
        sessions.gap_sessions(np.zeros(2), np.zeros(2), -1)


# The CUDA C++ without a card: C++ in which a block's threads are threads, one block after the other

HARNESS = r"""
#include <barrier>
#include <thread>
#include <vector>
#define __device__ static
#define __global__
#define __shared__ static
struct Place { long long x; };
static thread_local Place threadIdx;
static Place blockIdx;
static std::barrier<>* meeting;
#define __syncthreads() meeting->arrive_and_wait()
%s
template <class Kernel> void launch(long long blocks, Kernel kernel) {
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        std::barrier<> all(THREADS);
        meeting = &all;
        std::vector<std::thread> threads;
        for (int t = 0; t < THREADS; ++t) threads.emplace_back([=] { threadIdx.x = t; kernel(); });
        for (auto& thread : threads) thread.join();
    }
}
extern "C" void gap_sessions(const Int* key, const Int* time, Int gap, Int rows, Int* session, Int* number) {
    Int blocks = (rows + THREADS * ROWS - 1) / (THREADS * ROWS);
    std::vector<Part> kept(blocks);
    Part* parts = kept.data();
    launch(blocks, [=] { parts_of_blocks(key, time, gap, rows, parts); });
    launch(1, [=] { scan_parts(parts, blocks); });
    launch(blocks, [=] { sessions_of_rows(key, time, gap, rows, parts, session, number); });
}
extern "C" void pack(const Int* offsets, const Int* rows, const Int* packed, Int num_rows, Int values, Int* index) {
    launch((values + THREADS - 1) / THREADS, [=] { pack_rows(offsets, rows, packed, num_rows, values, index); });
}
"""


@pytest.fixture(scope="module")
def cuda_as_cpp(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    folder: Path = tmp_path_factory.mktemp("cuda")
    smaller = fused.CODE.replace(f"THREADS = {fused.THREADS}, ROWS = {fused.ROWS}", "THREADS = 16, ROWS = 3")
    assert smaller != fused.CODE
    (folder / "sessions.cpp").write_text(HARNESS % smaller)
    subprocess.run(["g++", "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "-o", "s.so", "sessions.cpp"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "s.so"))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize(("num_rows", "num_customers"), [(1, 1), (47, 1), (48, 3), (1000, 1), (1000, 60), (1000, 900)])
def test_the_cuda_source_finds_the_same_sessions(cuda_as_cpp: Any, num_rows: int, num_customers: int) -> None:
    def call(key: np.ndarray, time: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray]:
        session, number = np.full(len(key), -9), np.full(len(key), -9)
        sizes = ctypes.c_longlong(gap), ctypes.c_longlong(len(key))
        cuda_as_cpp.gap_sessions(pointer(key), pointer(time), *sizes, pointer(session), pointer(number))
        return session, number

    check_sessions(call, *rows_of(num_rows, num_customers))


@pytest.mark.parametrize("rows", [[0], [2, 2, 0], [1, 3, 1], [4, 3, 2, 1, 0], [1]], ids=str)
def test_the_cuda_source_packs_the_same(cuda_as_cpp: Any, rows: list[int]) -> None:
    def call(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        packed = arrays.pack(offsets, rows)[1]
        index = np.full(packed[-1], -9)
        sizes = ctypes.c_longlong(len(rows)), ctypes.c_longlong(len(index))
        cuda_as_cpp.pack(pointer(offsets), pointer(rows), pointer(packed), *sizes, pointer(index))
        return index, packed

    check_pack(call, np.array([0, 3, 3, 40, 41, 41]), np.array(rows))


# On a card


@pytest.mark.gpu
def test_cupy_equals_numpy() -> None:
    cupy = pytest.importorskip("cupy")
    key, time = rows_of(100_000, 3000)
    offsets, rows = sessions.offsets_of_sorted(key, 3000), np.arange(3000)[::-3].copy()
    on_card = [cupy.asarray(x) for x in (key, time, offsets, rows)]
    here = [*sessions.gap_sessions(key, time, 10), *sessions.pack(offsets, rows), sessions.place_in_group(key), offsets]
    there = [*sessions.gap_sessions(*on_card[:2], 10), *sessions.pack(*on_card[2:])]
    there += [sessions.place_in_group(on_card[0]), sessions.offsets_of_sorted(on_card[0], 3000)]
    for ours, theirs in zip(there, here, strict=True):
        assert ours.get().tolist() == theirs.tolist()
    for ours, theirs in zip(arrays.gap_sessions(cupy, *on_card[:2], 10), here[:2], strict=True):
        assert ours.get().tolist() == theirs.tolist()
