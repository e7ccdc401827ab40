/* What is kept of a run of numbers, scaled: the same coins on the way back draw the same numbers, so that nothing need be remembered. */

#include "vectors.h"

typedef struct {
    int64_t size, dropped, num_threads; /* numbers; of SIDES sides of a coin, how many drop one */
    uint64_t seed;
    const float *x;
    float *out;
} Dropout;

int dropout(const Dropout *d) {
    const int64_t blocks = (d->size + COINS - 1) / COINS;
    const int32_t dropped = d->dropped;
    const float scale = (float)SIDES / (SIDES - dropped);
#pragma omp parallel for schedule(static) num_threads(d->num_threads)
    for (int64_t block = 0; block < blocks; block++) {
        uint8_t coins[COINS];
        toss(d->seed, block, coins);
        const int64_t left = d->size - block * COINS, count = left < COINS ? left : COINS;
        const float *x = d->x + block * COINS;
        float *out = d->out + block * COINS;
        float kept[COINS];
        for (int n = 0; n < COINS; n++) kept[n] = coins[n] >= dropped ? scale : 0.0f;
        int64_t n = 0;
        for (; n + LANES <= count; n += LANES) store(out + n, choose(load(kept + n) > 0, load(x + n) * scale, all(0)));
        for (; n < count; n++) out[n] = kept[n] > 0 ? x[n] * scale : 0.0f;
    }
    return 0;
}
