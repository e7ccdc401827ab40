/* Attention over ragged rows in float32, a row and head at a time: keys, values and logits never leave a core's own cache.

   Blocks of BLOCK queries meet the keys up to the last that one of them sees. Logits are to base 2.

   Groups are neighbouring rows, cut in a fixed way, and what the tables learn is added up group by group: the same bits from run to run, on
   however many threads. L: tokens of a row; D: numbers of a head; both are padded to whole vectors in the scratch (Lp, Dp). */

#include "vectors.h"

#define BLOCK 16 /* queries */
#define ROUND(n) (((n) + LANES - 1) / LANES * LANES)

typedef struct {
    int64_t heads, dim, longest, num_groups, num_threads;
    const int64_t *offsets, *groups, *sees; /* groups: the first row of each, then the number of rows */
    const float *q, *k, *v;
    int64_t q_step, k_step, v_step; /* numbers from one token to the next; heads stand side by side */
    const float *by_distance;       /* [heads, longest + 1]: the bias at distance longest … 0, times log2 e */
    const float *by_time;           /* [heads, num_knots], times log2 e */
    const int64_t *moment;          /* of each token; NULL: not known */
    int64_t num_knots;
    double per_unit;             /* 1 / the unit of the time table */
    float *out, *log_normaliser; /* [T, heads, dim], [T, heads]; the latter is read on the way back */
    const float *grad;           /* [T, heads, dim] */
    float *dq, *dk, *dv;         /* [T, heads, dim] */
    double *d_distance, *d_time; /* [num_groups, heads, longest + 1] and [num_groups, heads, num_knots]: zeros at first */
} Attention;

typedef struct {
    const Attention *a;
    int64_t head, start, length, Lp, Dp;
    float *keys_DL, *values_DL, *keys, *values, *queries, *pulled, *dk, *dv; /* [D, Lp] or [L, Dp] */
    float *weights, *d_logits, *knots;                                       /* [BLOCK, Lp] */
} Row;

/* [L, D] of one head, times `scale`, to padded rows. */
static void pack(const float *from, int64_t step, int64_t L, int64_t D, int64_t Dp, float scale, float *to) {
    for (int64_t i = 0; i < L; i++)
        for (int64_t d = 0; d < Dp; d++) to[i * Dp + d] = d < D ? from[i * step + d] * scale : 0.0f;
}

/* [L, Dp] to [D, Lp]. */
static void turn(const float *from, int64_t L, int64_t D, int64_t Dp, int64_t Lp, float *to) {
    for (int64_t d = 0; d < D; d++)
        for (int64_t i = 0; i < Lp; i++) to[d * Lp + i] = i < L ? from[i * Dp + d] : 0.0f;
}

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* How many keys the queries first … first + count may see, themselves among them. */
static int64_t reach(const Row *r, int64_t first, int64_t count) {
    int64_t most = first + count;
    for (int64_t i = first; i < first + count; i++) most = larger(most, r->a->sees[r->start + i]);
    return most;
}

/* Where on the time table each pair of query i and the keys stands: the knot and how far behind it, as one number. */
static void times(const Row *r, int64_t i, int64_t num_keys, float *knots) {
    const int64_t *moment = r->a->moment + r->start, own = moment[i];
    const float per_unit = (float)r->a->per_unit, last = (float)(r->a->num_knots - 1);
    for (int64_t j = 0; j < num_keys; j++) knots[j] = (float)(own - moment[j]);
    for (int64_t j = 0; j < num_keys; j += LANES) {
        vec gap = load(knots + j) * per_unit;
        vec knot = log2_of(choose(gap > 0, gap, all(0)) + 1.0f);
        store(knots + j, choose(knot < last, knot, all(last)));
    }
}

static inline int32_t below(float knot, int64_t num_knots) {
    int32_t whole = (int32_t)knot;
    return whole < num_knots - 2 ? whole : (int32_t)num_knots - 2;
}

/* logits [count, Lp] of a block: products, biases, and −∞ for what is not seen. */
static void logits_of(const Row *r, int64_t first, int64_t count, int64_t num_keys, float *logits) {
    const Attention *a = r->a;
    const int64_t padded = ROUND(num_keys);
    const float *band = a->by_distance + r->head * (a->longest + 1);
    product(count, padded, a->dim, r->queries + first * r->Dp, r->Dp, 1, r->keys_DL, r->Lp, logits, r->Lp, 0);
    for (int64_t i = 0; i < count; i++) {
        const int64_t own = first + i, sees = a->sees[r->start + own];
        float *row = logits + i * r->Lp;
        const float self = row[own] + band[a->longest];
        const float *bias = band + a->longest - sees;
        for (int64_t j = 0; j < sees; j++) row[j] += bias[j];
        for (int64_t j = sees; j < padded; j++) row[j] = -INFINITY;
        row[own] = own < sees ? row[own] : self;
        if (a->moment) {
            const float *table = a->by_time + r->head * a->num_knots;
            float *knots = r->knots + i * r->Lp;
            times(r, own, larger(sees, own + 1), knots);
            for (int64_t j = 0; j < sees; j++) {
                const int32_t at = below(knots[j], a->num_knots);
                row[j] += table[at] + (knots[j] - at) * (table[at + 1] - table[at]);
            }
            if (own >= sees) row[own] += table[0];
        }
    }
}

static void forward_row(Row *r) {
    const Attention *a = r->a;
    const int64_t L = r->length, D = a->dim, at = r->start * a->heads + r->head;
    pack(a->q + r->start * a->q_step + r->head * D, a->q_step, L, D, r->Dp, (float)(M_LOG2E / sqrt((double)D)), r->queries);
    pack(a->k + r->start * a->k_step + r->head * D, a->k_step, L, D, r->Dp, 1, r->keys);
    pack(a->v + r->start * a->v_step + r->head * D, a->v_step, L, D, r->Dp, 1, r->values);
    turn(r->keys, L, D, r->Dp, r->Lp, r->keys_DL);
    for (int64_t first = 0; first < L; first += BLOCK) {
        const int64_t count = L - first < BLOCK ? L - first : BLOCK, num_keys = reach(r, first, count), padded = ROUND(num_keys);
        float share[BLOCK], *weights = r->weights;
        logits_of(r, first, count, num_keys, weights);
        for (int64_t i = 0; i < count; i++) {
            float *row = weights + i * r->Lp;
            vec most = load(row), total = all(0);
            for (int64_t j = LANES; j < padded; j += LANES) { vec x = load(row + j); most = choose(x > most, x, most); }
            const float greatest = greatest_of(most);
            for (int64_t j = 0; j < padded; j += LANES) {
                vec weight = exp2_of(load(row + j) - greatest);
                total += weight;
                store(row + j, weight);
            }
            const float sum = sum_of(total);
            share[i] = 1 / sum;
            a->log_normaliser[at + (first + i) * a->heads] = (greatest + log2f(sum)) * (float)M_LN2;
        }
        /* what was gathered stands where the queries stood: they are read no more */
        float *gathered = r->queries + first * r->Dp;
        product(count, r->Dp, num_keys, weights, r->Lp, 1, r->values, r->Dp, gathered, r->Dp, 0);
        for (int64_t i = 0; i < count; i++)
            for (int64_t d = 0; d < D; d++) a->out[(at + (first + i) * a->heads) * D + d] = gathered[i * r->Dp + d] * share[i];
    }
}

static void learn_biases(const Row *r, int64_t first, int64_t count, double *d_distance, double *d_time) {
    const Attention *a = r->a;
    for (int64_t i = 0; i < count; i++) {
        const int64_t own = first + i, sees = a->sees[r->start + own];
        const float *row = r->d_logits + i * r->Lp, *knots = r->knots + i * r->Lp;
        double *learned = d_distance + a->longest - sees;
        for (int64_t j = 0; j < sees; j++) learned[j] += row[j];
        if (own >= sees) d_distance[a->longest] += row[own];
        if (!a->moment) continue;
        for (int64_t j = 0; j < sees; j++) {
            const int32_t at = below(knots[j], a->num_knots);
            const float above = row[j] * (knots[j] - at);
            d_time[at] += row[j] - above, d_time[at + 1] += above;
        }
        if (own >= sees) d_time[0] += row[own];
    }
}

static void backward_row(Row *r, double *d_distance, double *d_time) {
    const Attention *a = r->a;
    const int64_t L = r->length, D = a->dim, Dp = r->Dp, Lp = r->Lp, at = r->start * a->heads + r->head, apart = a->heads * D;
    const float root = (float)(1 / sqrt((double)D));
    pack(a->q + r->start * a->q_step + r->head * D, a->q_step, L, D, Dp, (float)M_LOG2E * root, r->queries);
    pack(a->k + r->start * a->k_step + r->head * D, a->k_step, L, D, Dp, 1, r->keys);
    pack(a->v + r->start * a->v_step + r->head * D, a->v_step, L, D, Dp, 1, r->values);
    pack(a->grad + at * D, apart, L, D, Dp, 1, r->pulled);
    turn(r->keys, L, D, Dp, Lp, r->keys_DL);
    turn(r->values, L, D, Dp, Lp, r->values_DL);
    memset(r->dk, 0, 4 * L * Dp), memset(r->dv, 0, 4 * L * Dp);
    for (int64_t first = 0; first < L; first += BLOCK) {
        const int64_t count = L - first < BLOCK ? L - first : BLOCK, num_keys = reach(r, first, count), padded = ROUND(num_keys);
        float mine[BLOCK * 4 * LANES];
        logits_of(r, first, count, num_keys, r->weights);
        product(count, padded, D, r->pulled + first * Dp, Dp, 1, r->values_DL, Lp, r->d_logits, Lp, 0);
        for (int64_t i = 0; i < count; i++) {
            const float normaliser = a->log_normaliser[at + (first + i) * a->heads] * (float)M_LOG2E;
            float *weights = r->weights + i * Lp, *d_logits = r->d_logits + i * Lp;
            vec weighed = all(0), total = all(0);
            for (int64_t j = 0; j < padded; j += LANES) {
                vec logit = load(weights + j), weight = exp2_of(logit - normaliser);
                vec pull = choose(logit == -INFINITY, all(0), load(d_logits + j));
                store(weights + j, weight), store(d_logits + j, pull);
                weighed += weight, total += weight * pull;
            }
            const float whole = sum_of(weighed); /* 1, but for how the normaliser was rounded, which grows with it */
            const float mean = whole > 0 ? sum_of(total) / whole : 0;
            for (int64_t j = 0; j < padded; j += LANES) store(d_logits + j, load(weights + j) * (load(d_logits + j) - mean));
        }
        product(num_keys, Dp, count, r->weights, 1, Lp, r->pulled + first * Dp, Dp, r->dv, Dp, 1);
        product(num_keys, Dp, count, r->d_logits, 1, Lp, r->queries + first * Dp, Dp, r->dk, Dp, 1);
        for (int64_t d = 0; d < Dp; d += 4 * LANES) {
            const int64_t width = Dp - d < 4 * LANES ? Dp - d : 4 * LANES, filled = D - d < width ? D - d : width;
            product(count, width, num_keys, r->d_logits, Lp, 1, r->keys + d, Dp, mine, 4 * LANES, 0);
            for (int64_t i = 0; i < count; i++) {
                float *dq = a->dq + (at + (first + i) * a->heads) * D + d;
                for (int64_t c = 0; c < filled; c++) dq[c] = mine[i * 4 * LANES + c] * root;
            }
        }
        learn_biases(r, first, count, d_distance, d_time);
    }
    for (int64_t i = 0; i < L; i++)
        for (int64_t d = 0; d < D; d++) {
            a->dk[(at + i * a->heads) * D + d] = r->dk[i * Dp + d] * (float)M_LN2;
            a->dv[(at + i * a->heads) * D + d] = r->dv[i * Dp + d];
        }
}

/* Every group's rows, one head after the other; 0, or 1 where there was no memory. */
static int run(const Attention *a, int goes_back) {
    const int64_t Lp = ROUND(a->longest), Dp = ROUND(a->dim);
    const int64_t size = 2 * a->dim * Lp + 6 * a->longest * Dp + 3 * BLOCK * Lp;
    int failed = 0;
#pragma omp parallel num_threads(a->num_threads) reduction(| : failed)
    {
        float *scratch = malloc(sizeof(float) * size), *next = scratch;
        failed = !scratch;
        Row r = {.a = a, .Dp = Dp};
        r.keys_DL = next, next += a->dim * Lp, r.values_DL = next, next += a->dim * Lp;
        float **tall[] = {&r.keys, &r.values, &r.queries, &r.pulled, &r.dk, &r.dv}, **wide[] = {&r.weights, &r.d_logits, &r.knots};
        for (int n = 0; n < 6; n++) *tall[n] = next, next += a->longest * Dp;
        for (int n = 0; n < 3; n++) *wide[n] = next, next += BLOCK * Lp;
#pragma omp for schedule(dynamic) collapse(2)
        for (int64_t group = 0; group < a->num_groups; group++)
            for (int64_t head = 0; head < a->heads; head++)
                for (int64_t row = a->groups[group]; row < a->groups[group + 1] && scratch; row++) {
                    const int64_t part = group * a->heads + head;
                    r.head = head, r.start = a->offsets[row], r.length = a->offsets[row + 1] - r.start, r.Lp = ROUND(r.length);
                    if (goes_back) backward_row(&r, a->d_distance + part * (a->longest + 1), a->d_time + part * a->num_knots);
                    else forward_row(&r);
                }
        free(scratch);
    }
    return failed;
}

int attention_forward(const Attention *a) { return run(a, 0); }
int attention_backward(const Attention *a) { return run(a, 1); }
