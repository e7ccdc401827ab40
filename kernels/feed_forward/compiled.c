/* Two layers with GELU and dropout between them, some tokens at a time: what is between them stays in a core's own cache.

   Tokens are dealt to GROUPS in a fixed way, and what the weights learn is added up group by group: the same bits on however many threads.
   T tokens of D numbers, F of them between the layers: both whole vectors, F whole panels. */

#include "vectors.h"

#define CHUNK 32 /* tokens */
#define PANEL 32 /* columns of a weight that stand together: in rows of F numbers a product would meet the same lines of the cache again */

typedef struct {
    int64_t num_tokens, dim, hidden, num_groups, num_threads;
    int64_t dropped; /* of SIDES sides of a coin */
    uint64_t seed;
    const float *x, *bias_in, *bias_out;                 /* [T, D], [F], [D] */
    const float *panels_in, *turned_out;                 /* forth: [F / PANEL, D, PANEL] and [F, D], out of the inner and the outer weight */
    const float *panels_out, *weight_in;                 /* back: [F / PANEL, D, PANEL] and [F, D], out of the outer and the inner weight */
    float *before, *out;                                 /* [T, F] before GELU, and [T, D] */
    const float *grad;                                   /* [T, D] */
    float *dx;                                           /* [T, D] */
    float *d_in, *d_turned_out, *d_bias_in, *d_bias_out; /* [num_groups, …]: [F, D] twice, [F], [D]; zeros at first */
} FeedForward;

/* The share of the normal distribution below x and its density there: erf by formula 7.1.26 of Abramowitz and Stegun, 1.5e-7 off at most. */
static inline void normal(vec x, vec *below, vec *density) {
    vec size = choose(x < 0, -x, x), t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * size);
    vec bell = exp2_of(x * x * -0.72134752f), y = 1.061405429f * t - 1.453152027f;
    y = y * t + 1.421413741f, y = y * t - 0.284496736f, y = (y * t + 0.254829592f) * t;
    vec half = 0.5f * y * bell;
    *below = choose(x < 0, half, 1.0f - half), *density = 0.39894228f * bell;
}

/* What dropout makes of a row: 0, or the scale of what is kept. */
static void keep(const FeedForward *f, int64_t token, float *kept) {
    const float scale = (float)SIDES / (SIDES - f->dropped);
    for (int64_t first = 0; first < f->hidden;) {
        const int64_t coin = token * f->hidden + first, block = coin / COINS, within = coin % COINS;
        int64_t count = COINS - within;
        if (count > f->hidden - first) count = f->hidden - first;
        uint8_t coins[COINS];
        toss(f->seed, block, coins);
        for (int64_t n = 0; n < count; n++) kept[first + n] = coins[within + n] >= f->dropped ? scale : 0.0f;
        first += count;
    }
}

static void forward_chunk(const FeedForward *f, int64_t first, int64_t count, float *active, float *kept) {
    const int64_t D = f->dim, F = f->hidden;
    float *before = f->before + first * F, *out = f->out + first * D;
    for (int64_t p = 0; p < F; p += PANEL)
        product(count, PANEL, D, f->x + first * D, D, 1, f->panels_in + p * D, PANEL, before + p, F, 0);
    for (int64_t i = 0; i < count; i++) {
        if (f->dropped) keep(f, first + i, kept);
        for (int64_t n = 0; n < F; n += LANES) {
            vec x = load(before + i * F + n) + load(f->bias_in + n), below, density;
            normal(x, &below, &density);
            store(before + i * F + n, x);
            store(active + i * F + n, f->dropped ? x * below * load(kept + n) : x * below);
        }
    }
    product(count, D, F, active, F, 1, f->turned_out, D, out, D, 0);
    for (int64_t i = 0; i < count; i++)
        for (int64_t d = 0; d < D; d++) out[i * D + d] += f->bias_out[d];
}

static void backward_chunk(const FeedForward *f, int64_t first, int64_t count, int64_t group, float *active, float *pulled, float *kept) {
    const int64_t D = f->dim, F = f->hidden;
    const float *before = f->before + first * F, *grad = f->grad + first * D;
    float *d_bias_in = f->d_bias_in + group * F, *d_bias_out = f->d_bias_out + group * D;
    for (int64_t p = 0; p < F; p += PANEL) product(count, PANEL, D, grad, D, 1, f->panels_out + p * D, PANEL, pulled + p, F, 0);
    for (int64_t i = 0; i < count; i++) {
        if (f->dropped) keep(f, first + i, kept);
        for (int64_t n = 0; n < F; n += LANES) {
            vec x = load(before + i * F + n), pull = load(pulled + i * F + n), share = f->dropped ? load(kept + n) : all(1), below, density;
            normal(x, &below, &density);
            pull = pull * share * (below + x * density);
            store(active + i * F + n, x * below * share);
            store(pulled + i * F + n, pull);
            store(d_bias_in + n, load(d_bias_in + n) + pull);
        }
        for (int64_t d = 0; d < D; d++) d_bias_out[d] += grad[i * D + d];
    }
    product(count, D, F, pulled, F, 1, f->weight_in, D, f->dx + first * D, D, 0);
    product(F, D, count, pulled, 1, F, f->x + first * D, D, f->d_in + group * F * D, D, 1);
    product(F, D, count, active, 1, F, grad, D, f->d_turned_out + group * F * D, D, 1);
}

/* Every chunk; 0, or 1 where there was no memory. On the way back chunk n is of group n modulo their number; forth it stands alone. */
static int run(const FeedForward *f, int goes_back) {
    const int64_t num_chunks = (f->num_tokens + CHUNK - 1) / CHUNK, num_groups = goes_back ? f->num_groups : num_chunks;
    int failed = 0;
#pragma omp parallel num_threads(f->num_threads) reduction(| : failed)
    {
        float *active = malloc(sizeof(float) * (2 * CHUNK + 1) * f->hidden), *pulled = active + CHUNK * f->hidden;
        failed = !active;
#pragma omp for schedule(dynamic)
        for (int64_t group = 0; group < num_groups; group++)
            for (int64_t chunk = group; chunk < num_chunks && active; chunk += num_groups) {
                const int64_t first = chunk * CHUNK, count = f->num_tokens - first < CHUNK ? f->num_tokens - first : CHUNK;
                float *kept = pulled + CHUNK * f->hidden;
                if (goes_back) backward_chunk(f, first, count, group, active, pulled, kept);
                else forward_chunk(f, first, count, active, kept);
            }
        free(active);
    }
    return failed;
}

int feed_forward(const FeedForward *f) { return run(f, 0); }
int feed_forward_backward(const FeedForward *f) { return run(f, 1); }
