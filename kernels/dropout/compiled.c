/* What is kept of a run of numbers, scaled: the same coins on the way back draw the same numbers, so that nothing need be remembered. */

#include "vectors.h"

void dropout(const float *from, float *to, int64_t size, uint64_t seed, int64_t dropped, float scale, int64_t num_threads) {
    const int64_t blocks = (size + COINS - 1) / COINS;
#pragma omp parallel for schedule(static) num_threads(num_threads)
    for (int64_t block = 0; block < blocks; block++) {
        uint8_t coins[COINS];
        toss(seed, block, coins);
        const int64_t first = block * COINS, count = size - first < COINS ? size - first : COINS;
        for (int64_t n = 0; n < count; n++) to[first + n] = coins[n] >= dropped ? from[first + n] * scale : 0.0f;
    }
}
