/* Vectors of LANES numbers, products of small matrices that stand in a core's own cache, and even random coins.

   Vectors are those of the compiler (GCC's and Clang's vector extension), as wide as the processor's registers: wider ones would live in
   memory. The same lines become AVX-512, AVX2, SSE or NEON. */

#ifndef REVISIT_VECTORS_H
#define REVISIT_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

/* Rows of a product that are kept in registers, two vectors each: of 32 registers, or of 16. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define HEIGHT 8
#else
#define HEIGHT 6
#endif

#define VANISHING (-126.0f) /* 2^x below is no normal number: taken as 0 */
#define SIDES 256           /* of a coin */
#define COINS 64            /* tossed at once */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES))); /* what wraps around where signed numbers must not */

static inline vec load(const float *from) { vec x; memcpy(&x, from, sizeof x); return x; }
static inline void store(float *to, vec x) { memcpy(to, &x, sizeof x); }
static inline vec all(float x) { return x - (vec){0}; }
static inline vec choose(ints is, vec yes, vec no) { return (vec)((is & (ints)yes) | (~is & (ints)no)); }

/* 2^x for x of at most 127: the nearest whole number goes into the exponent, the rest through a polynomial. */
static inline vec exp2_of(vec x) {
    const float magic = 12582912.0f; /* 1.5 · 2^23: adding it rounds to a whole number */
    vec held = choose(x > VANISHING, x, all(VANISHING)), whole = (held + magic) - magic, f = held - whole;
    vec y = 1.5252734e-5f * f + 1.5403530e-4f;
    y = y * f + 1.3333558e-3f, y = y * f + 9.6181291e-3f, y = y * f + 5.5504109e-2f;
    y = y * f + 2.4022651e-1f, y = y * f + 6.9314718e-1f, y = y * f + 1.0f;
    vec scaled = (vec)((bits)y + ((bits)__builtin_convertvector(whole, ints) << 23));
    return choose(x >= VANISHING, scaled, choose(x != x, x, all(0)));
}

/* log2 of x ≥ 1, normal: the exponent, and of the rest m in [√½, √2) a series in (m − 1) / (m + 1). */
static inline vec log2_of(vec x) {
    ints exponent = ((ints)x - 0x3f3504f3) >> 23;
    vec m = (vec)((bits)x - ((bits)exponent << 23)), s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
    vec y = s2 * 0.2222222f + 0.2857143f;
    y = y * s2 + 0.4f, y = y * s2 + 0.6666667f, y = y * s2 + 2.0f;
    return __builtin_convertvector(exponent, vec) + y * s * 1.44269504f;
}

/* Lanes are folded in halves: one after the other each would wait for the last. */
static inline float sum_of(vec x) {
    float lane[LANES];
    store(lane, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int n = 0; n < half; n++) lane[n] += lane[n + half];
    return lane[0];
}

static inline float greatest_of(vec x) {
    float lane[LANES];
    store(lane, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int n = 0; n < half; n++) lane[n] = lane[n] > lane[n + half] ? lane[n] : lane[n + half];
    return lane[0];
}

/* `height` rows of c (+)= a · b: a[i, k] stands at a[i * rows_apart + k * columns_apart]; b [depth, n], c [height, n], n whole vectors. */
static inline __attribute__((always_inline)) void strip(
    int height, int width, int64_t depth, const float *a, int64_t rows_apart, int64_t columns_apart,
    const float *b, int64_t ldb, float *c, int64_t ldc, int adds) {
    vec sum[HEIGHT][2];
    for (int i = 0; i < height; i++)
        for (int n = 0; n < width; n++) sum[i][n] = adds ? load(c + i * ldc + n * LANES) : all(0);
    for (int64_t k = 0; k < depth; k++) {
        vec right[2];
        for (int n = 0; n < width; n++) right[n] = load(b + k * ldb + n * LANES);
        for (int i = 0; i < height; i++) {
            vec left = all(a[i * rows_apart + k * columns_apart]);
            for (int n = 0; n < width; n++) sum[i][n] += left * right[n];
        }
    }
    for (int i = 0; i < height; i++)
        for (int n = 0; n < width; n++) store(c + i * ldc + n * LANES, sum[i][n]);
}

static void product(
    int64_t m, int64_t n, int64_t depth, const float *a, int64_t rows_apart, int64_t columns_apart,
    const float *b, int64_t ldb, float *c, int64_t ldc, int adds) {
    for (int64_t j = 0; j < n;) {
        int wide = n - j >= 2 * LANES;
        int64_t i = 0;
#define STRIP(height, width) \
    strip(height, width, depth, a + i * rows_apart, rows_apart, columns_apart, b + j, ldb, c + i * ldc + j, ldc, adds)
        for (; i + HEIGHT <= m; i += HEIGHT) { if (wide) STRIP(HEIGHT, 2); else STRIP(HEIGHT, 1); }
        for (; i + 4 <= m; i += 4) { if (wide) STRIP(4, 2); else STRIP(4, 1); }
        for (; i + 2 <= m; i += 2) { if (wide) STRIP(2, 2); else STRIP(2, 1); }
        for (; i < m; i++) { if (wide) STRIP(1, 2); else STRIP(1, 1); }
#undef STRIP
        j += wide ? 2 * LANES : LANES;
    }
}

/* Coins COINS · block … of the sequence of a seed, each 0 to 255: SplitMix64, of which any part can be drawn by itself (Steele, Lea and
   Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). */
static inline void toss(uint64_t seed, uint64_t block, uint8_t *coins) {
    uint64_t eights[COINS / 8];
    for (int n = 0; n < COINS / 8; n++) {
        uint64_t z = seed + (block * (COINS / 8) + n + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        eights[n] = z ^ (z >> 31);
    }
    memcpy(coins, eights, COINS);
}

#endif
