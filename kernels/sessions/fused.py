"""CUDA C++ through CuPy: sessions in two passes over the rows, packing in one. Array code would take about ten and five.

What a range of rows adds to the ranges before it is a pair: how many sessions start in it, and how many of them before its last
customer (−1 if no customer starts in it). Pairs combine associatively, so that both answers come out of one prefix scan: of the
threads of a block in shared memory, of the blocks in one more launch. Whole numbers only: the same every time.
"""

from functools import cache
from typing import Any

from kernels.launch import CudaSource

THREADS, ROWS = 256, 8  # of a block; of a thread

CODE = (
    f"constexpr int THREADS = {THREADS}, ROWS = {ROWS};"
    + r"""
typedef long long Int;

struct Part { Int starts, before; };

__device__ Part combine(Part a, Part b) { return {a.starts + b.starts, b.before < 0 ? a.before : a.starts + b.before}; }

__device__ Part part_of_row(const Int* key, const Int* time, Int gap, Int row) {
    bool first = row == 0 || key[row] != key[row - 1];
    bool opens = first || time[row] - time[row - 1] > gap;
    return {opens, first ? 0 : -1};
}

/* The parts of the threads before this one; `all` becomes the part of the whole block. */
__device__ Part scan_block(Part own, Part* all) {
    __shared__ Part shared[THREADS];
    int thread = threadIdx.x;
    shared[thread] = own;
    __syncthreads();
    for (int reach = 1; reach < THREADS; reach *= 2) {
        Part wider = thread >= reach ? combine(shared[thread - reach], shared[thread]) : shared[thread];
        __syncthreads();
        shared[thread] = wider;
        __syncthreads();
    }
    *all = shared[THREADS - 1];
    Part before = thread ? shared[thread - 1] : Part{0, -1};
    __syncthreads();
    return before;
}

__device__ Part part_of_thread(const Int* key, const Int* time, Int gap, Int row, Int stop) {
    Part part = {0, -1};
    for (; row < stop; ++row) part = combine(part, part_of_row(key, time, gap, row));
    return part;
}

__device__ Int first_row() { return ((Int)blockIdx.x * THREADS + threadIdx.x) * ROWS; }
__device__ Int least(Int a, Int b) { return a < b ? a : b; }

extern "C" __global__ void parts_of_blocks(const Int* key, const Int* time, Int gap, Int num_rows, Part* parts) {
    Int row = first_row();
    Part all;
    scan_block(part_of_thread(key, time, gap, row, least(row + ROWS, num_rows)), &all);
    if (threadIdx.x == 0) parts[blockIdx.x] = all;
}

/* One block: each part becomes that of all blocks before it. */
extern "C" __global__ void scan_parts(Part* parts, Int num_parts) {
    Part done = {0, -1}, all;
    for (Int start = 0; start < num_parts; start += THREADS) {
        Int place = start + threadIdx.x;
        Part before = scan_block(place < num_parts ? parts[place] : Part{0, -1}, &all);
        if (place < num_parts) parts[place] = combine(done, before);
        done = combine(done, all);
    }
}

extern "C" __global__ void sessions_of_rows(
        const Int* key, const Int* time, Int gap, Int num_rows, const Part* parts, Int* session, Int* number) {
    Int row = first_row(), stop = least(row + ROWS, num_rows);
    Part all;
    Part part = combine(parts[blockIdx.x], scan_block(part_of_thread(key, time, gap, row, stop), &all));
    for (; row < stop; ++row) {
        part = combine(part, part_of_row(key, time, gap, row));
        session[row] = part.starts - 1;
        number[row] = part.starts - 1 - part.before;
    }
}

/* Which value each place of the packed rows takes: its row is the last that starts at or before it. */
extern "C" __global__ void pack_rows(const Int* offsets, const Int* rows, const Int* packed, Int num_rows, Int num_values, Int* index) {
    Int place = (Int)blockIdx.x * THREADS + threadIdx.x;
    if (place >= num_values) return;
    Int row = 0;
    for (Int stop = num_rows; stop - row > 1;) {
        Int middle = row + (stop - row) / 2;
        if (packed[middle] <= place) row = middle; else stop = middle;
    }
    index[place] = offsets[rows[row]] + place - packed[row];
}
"""
)

Array = Any  # cupy.ndarray


def sources() -> list[CudaSource]:
    """What CuPy compiles on a card."""
    return [CudaSource("sessions", CODE)]


def gap_sessions(key: Array, time: Array, gap: int) -> tuple[Array, Array]:
    import cupy

    num_rows = len(key)
    key, time = (cupy.ascontiguousarray(column, dtype=cupy.int64) for column in (key, time))
    session, number = cupy.empty_like(key), cupy.empty_like(key)
    num_blocks = -(-num_rows // (THREADS * ROWS))
    if num_rows:
        parts = cupy.empty((num_blocks, 2), dtype=cupy.int64)
        _kernel("parts_of_blocks")((num_blocks,), (THREADS,), (key, time, cupy.int64(gap), cupy.int64(num_rows), parts))
        _kernel("scan_parts")((1,), (THREADS,), (parts, cupy.int64(num_blocks)))
        arguments = (key, time, cupy.int64(gap), cupy.int64(num_rows), parts, session, number)
        _kernel("sessions_of_rows")((num_blocks,), (THREADS,), arguments)
    return session, number


def pack(offsets: Array, rows: Array) -> tuple[Array, Array]:
    import cupy

    offsets, rows = (cupy.ascontiguousarray(numbers, dtype=cupy.int64) for numbers in (offsets, rows))
    packed = cupy.concatenate([cupy.zeros(1, dtype=cupy.int64), cupy.cumsum(offsets[rows + 1] - offsets[rows])])
    num_values = int(packed[-1])
    index = cupy.empty(num_values, dtype=cupy.int64)
    if num_values:
        sizes = (cupy.int64(len(rows)), cupy.int64(num_values))
        _kernel("pack_rows")((-(-num_values // THREADS),), (THREADS,), (offsets, rows, packed, *sizes, index))
    return index, packed


@cache
def _module() -> Any:
    import cupy

    return cupy.RawModule(code=CODE, options=("--std=c++17",))


def _kernel(name: str) -> Any:
    return _module().get_function(name)
