/* The softmax of rows over items, a tile of items at a time, which stays in a core's own cache while all rows pass by.

   Forth the exponentials of a row are added up; back they are computed once more, divided by their sum, and multiplied with items and rows.
   Rows, or tiles, are dealt to groups in a fixed way, and what several groups gather for one item, or one row, is added up in the end:
   the same bits on however many threads.
   Q rows, V items, of D numbers: whole vectors. */

#include "vectors.h"

#define TILE 128 /* items */
#define PANEL 32 /* items whose weights stand side by side, turned */
#define ROWS 64  /* at once */

typedef struct {
    int64_t num_rows, num_items, dim, num_groups, num_threads;
    int64_t rows_a_group;            /* whole ROWS; 0: all groups have all rows, each some of the tiles */
    const float *x, *weight, *bias;  /* [Q, D], [V, D], [V] */
    const int32_t *row_id, *item_id; /* [Q], [V]: where they are the same, the item is not there for the row; NULL: all are */
    const float *shift;              /* [Q]: taken off a row's logits: forth what none exceeds, back the normaliser */
    float *sums;                     /* forth: [num_groups, Q], of groups of rows [Q]; zeros at first */
    const float *row_weight;         /* back: [Q] */
    float *dx, *d_weight, *d_bias;   /* back: [num_groups, Q, D], [V, D], [V]; of groups of rows [Q, D], [num_groups, V, D], [num_groups, V];
                                        zeros at first */
} Softmax;

typedef struct {
    int64_t first_row, end_row, first_tile, tiles_apart;
    float *sums, *dx, *d_weight, *d_bias;
} Group;

static Group group_of(const Softmax *s, int64_t number) {
    const int64_t Q = s->num_rows, V = s->num_items, D = s->dim, end = (number + 1) * s->rows_a_group;
    if (s->rows_a_group)
        return (Group){number * s->rows_a_group, end < Q ? end : Q, 0, 1,
                       s->sums, s->dx, s->d_weight + number * V * D, s->d_bias + number * V};
    return (Group){0, Q, number, s->num_groups, s->sums + number * Q, s->dx + number * Q * D, s->d_weight, s->d_bias};
}

typedef struct {
    int64_t first, size;            /* items */
    float *panels, *bias, *weights; /* [TILE / PANEL, D, PANEL], [TILE], [ROWS, TILE] */
    int32_t *id;                    /* [TILE] */
} Tile;

static void enter(const Softmax *s, int64_t number, Tile *t) {
    const int64_t D = s->dim;
    t->first = number * TILE;
    t->size = s->num_items - t->first < TILE ? s->num_items - t->first : TILE;
    for (int64_t n = 0; n < TILE; n++) {
        float *panel = t->panels + n / PANEL * PANEL * D + n % PANEL;
        const float *item = s->weight + (t->first + n) * D;
        for (int64_t d = 0; d < D; d++) panel[d * PANEL] = n < t->size ? item[d] : 0.0f;
        t->bias[n] = n < t->size ? s->bias[t->first + n] : -INFINITY;
        t->id[n] = s->item_id && n < t->size ? s->item_id[t->first + n] : -1;
    }
}

/* exp(logit − shift) of `count` rows and the tile's items: [count, TILE]. */
static void weigh(const Softmax *s, const Tile *t, int64_t first, int64_t count) {
    for (int64_t i = 0; i < count; i++) memcpy(t->weights + i * TILE, t->bias, sizeof(float) * TILE);
    for (int64_t n = 0; n < TILE; n += PANEL)
        product(count, PANEL, s->dim, s->x + first * s->dim, s->dim, 1, t->panels + n * s->dim, PANEL, t->weights + n, TILE, 1);
    for (int64_t i = 0; i < count; i++) {
        float *row = t->weights + i * TILE;
        const float shift = s->shift[first + i];
        for (int64_t n = 0; n < TILE; n += LANES) store(row + n, exp2_of((load(row + n) - shift) * (float)M_LOG2E));
        if (!s->row_id) continue;
        for (int64_t n = 0; n < TILE; n++) row[n] = t->id[n] == s->row_id[first + i] ? 0.0f : row[n];
    }
}

static void forward_tile(const Softmax *s, const Tile *t, const Group *g) {
    for (int64_t first = g->first_row; first < g->end_row; first += ROWS) {
        const int64_t count = g->end_row - first < ROWS ? g->end_row - first : ROWS;
        weigh(s, t, first, count);
        for (int64_t i = 0; i < count; i++) {
            vec total = all(0);
            for (int64_t n = 0; n < TILE; n += LANES) total += load(t->weights + i * TILE + n);
            g->sums[first + i] += sum_of(total);
        }
    }
}

static void backward_tile(const Softmax *s, const Tile *t, const Group *g) {
    const int64_t D = s->dim;
    float d_bias[TILE] = {0};
    for (int64_t first = g->first_row; first < g->end_row; first += ROWS) {
        const int64_t count = g->end_row - first < ROWS ? g->end_row - first : ROWS;
        weigh(s, t, first, count);
        for (int64_t i = 0; i < count; i++) {
            float *row = t->weights + i * TILE;
            const float counts = s->row_weight[first + i];
            for (int64_t n = 0; n < TILE; n += LANES) {
                vec weight = load(row + n) * counts;
                store(row + n, weight), store(d_bias + n, load(d_bias + n) + weight);
            }
        }
        product(count, D, t->size, t->weights, TILE, 1, s->weight + t->first * D, D, g->dx + first * D, D, 1);
        product(t->size, D, count, t->weights, 1, TILE, s->x + first * D, D, g->d_weight + t->first * D, D, 1);
    }
    memcpy(g->d_bias + t->first, d_bias, sizeof(float) * t->size);
}

/* Every tile; 0, or 1 where there was no memory. */
static int run(const Softmax *s, int goes_back) {
    const int64_t num_tiles = (s->num_items + TILE - 1) / TILE;
    int failed = 0;
#pragma omp parallel num_threads(s->num_threads) reduction(| : failed)
    {
        float *scratch = malloc(sizeof(float) * TILE * (s->dim + 2 + ROWS));
        failed = !scratch;
        Tile t = {.panels = scratch};
        if (scratch) t.bias = scratch + TILE * s->dim, t.weights = t.bias + TILE, t.id = (int32_t *)(t.weights + ROWS * TILE);
#pragma omp for schedule(dynamic)
        for (int64_t number = 0; number < s->num_groups; number++) {
            const Group g = group_of(s, number);
            for (int64_t tile = g.first_tile; tile < num_tiles && scratch; tile += g.tiles_apart) {
                enter(s, tile, &t);
                if (goes_back) backward_tile(s, &t, &g);
                else forward_tile(s, &t, &g);
            }
        }
        free(scratch);
    }
    return failed;
}

int softmax_sums(const Softmax *s) { return run(s, 0); }
int softmax_gradients(const Softmax *s) { return run(s, 1); }
