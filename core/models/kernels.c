/* Steps between a model's matrix products, each in one pass over memory, on a processor.
 *
 * Numbers come in 32 bits, or in bfloat16 where a function ends in 16. Everything is computed in 32 bits and rounded
 * once, to nearest even. No result depends on how many threads there are.
 */
#include <stdint.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline)) /* compiled once, as that takes long */
#define WIDE 16 /* numbers that are computed at once */
/* Whoever compiles this says PART: numbers that a thread takes at a time, and whose squares are one sum; and ROWS, a
 * multiple of 8: of a product that are computed at once where a processor multiplies pairs or fours; WIDEST, numbers of a
 * row that is normed, and GROUP, rows whose gradients of weight and bias are one sum. */

/* Whether numbers are exact is written out where threads begin: so it is known when this is compiled, not later. */
#define EACH_PART                                                                           \
    _Pragma("omp parallel for schedule(static) num_threads(threads) if (count > 4 * PART)") \
    for (int64_t part = 0; part < (count + PART - 1) / PART; part++)

INLINE int64_t ending(int64_t part, int64_t count) { return (part + 1) * PART < count ? (part + 1) * PART : count; }

INLINE float widened(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

INLINE uint16_t rounded(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (uint16_t)nearest; /* what is no number stays none */
}

INLINE float got(const void *from, int64_t place, int exact) {
    return exact ? ((const float *)from)[place] : widened(((const uint16_t *)from)[place]);
}

INLINE void put(void *into, int64_t place, float number, int exact) {
    if (exact) ((float *)into)[place] = number;
    else ((uint16_t *)into)[place] = rounded(number);
}

/* ---- Dropout ---- */

/* A number for each place: the last steps of MurmurHash3, with one half of the seed before and one between them. */
INLINE uint32_t chance(uint32_t place, uint32_t before, uint32_t between) {
    uint32_t mixed = place * 0x9e3779b9u + before;
    mixed = (mixed ^ (mixed >> 16)) * 0x85ebca6bu ^ between;
    mixed = (mixed ^ (mixed >> 13)) * 0xc2b2ae35u;
    return mixed ^ (mixed >> 16);
}

INLINE void dropped(const void *given, void *found, int64_t part, int64_t count, uint64_t seed, uint32_t below,
                    float scale, int exact) {
    uint32_t before = (uint32_t)seed, between = (uint32_t)(seed >> 32);
    int64_t end = ending(part, count);
#pragma omp simd
    for (int64_t i = part * PART; i < end; i++) {
        float number = got(given, i, exact) * scale;
        put(found, i, chance((uint32_t)i, before, between) < below ? 0.0f : number, exact);
    }
}

/* 0 where the chance is below a bound, elsewhere the number times the scale. */
void dropout16(const void *given, void *found, int64_t count, uint64_t seed, uint32_t below, float scale, int threads) {
    EACH_PART dropped(given, found, part, count, seed, below, scale, 0);
}

void dropout32(const void *given, void *found, int64_t count, uint64_t seed, uint32_t below, float scale, int threads) {
    EACH_PART dropped(given, found, part, count, seed, below, scale, 1);
}

/* e^x with the polynomial of Cephes' expf: its relative error is below 2e-7 from -87 to 0, below that it is e^-87. */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    float whole = __builtin_rintf(x * 1.44269504f);
    float rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    int32_t bits = ((int32_t)whole + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* ---- GELU ---- */

/* x times the share of a normal distribution below x, and the slope of that: by Abramowitz and Stegun, 7.1.26, whose
 * error is below 2e-7. */
INLINE float bent(float x, float *slope) {
    float bell = exponential(-0.5f * x * x);
    float t = 1.0f / (1.0f + 0.23164189f * __builtin_fabsf(x)), tail = 0.5f * 1.061405429f;
    tail = tail * t - 0.5f * 1.453152027f;
    tail = tail * t + 0.5f * 1.421413741f;
    tail = tail * t - 0.5f * 0.284496736f;
    tail = tail * t + 0.5f * 0.254829592f;
    tail *= t * bell;
    float share = x < 0 ? tail : 1.0f - tail;
    *slope = share + x * bell * 0.39894228f;
    return x * share;
}

/* The same for numbers that are rounded to bfloat16 then, by polynomials of the square: errors are below 1.2e-6 of the share
 * and 4.3e-6 of the slope. Below -5.1 both are 0. */
#define FAR 5.1f
static const float SHARE[] = {
    -1.791159654e-03f, 4.320044155e-03f, -3.674983075e-03f, 4.769413941e-03f, -1.159424336e-02f,
    1.851012812e-02f, -2.419570957e-02f, 3.148158709e-02f, -4.018857126e-02f, 5.080211707e-02f,
    -6.900467370e-02f, 1.386050321e-01f,
};
static const float SLOPE[] = {
    1.364672935e-02f, -3.158482868e-02f, 1.906116730e-02f, -1.568621945e-02f, 5.595560986e-02f,
    -8.337768869e-02f, 8.054298366e-02f, -7.831604643e-02f, 7.608969434e-02f, -6.806798303e-02f,
    6.345336816e-02f, -7.287915130e-02f, 1.392032519e-01f,
};
#define TERMS(of) ((int)(sizeof of / sizeof *of))

INLINE float bent_shortly(float x, float *slope) {
    float near = x > FAR ? FAR : x < -FAR ? -FAR : x, u = near * near * (2.0f / (FAR * FAR)) - 1.0f;
    float share = SHARE[0], both = SLOPE[0];
#pragma GCC unroll 16
    for (int term = 1; term < TERMS(SHARE); term++) share = share * u + SHARE[term];
#pragma GCC unroll 16
    for (int term = 1; term < TERMS(SLOPE); term++) both = both * u + SLOPE[term];
    *slope = x < -FAR ? 0.0f : 0.5f + near * both;
    return x < -FAR ? 0.0f : x * (0.5f + near * share);
}

INLINE void gelu(const void *given, void *found, void *slopes, int64_t part, int64_t count, int exact) {
    int64_t end = ending(part, count);
#pragma omp simd
    for (int64_t i = part * PART; i < end; i++) {
        float slope;
        float number = got(given, i, exact);
        put(found, i, exact ? bent(number, &slope) : bent_shortly(number, &slope), exact);
        put(slopes, i, slope, exact);
    }
}

void gelu16(const void *given, void *found, void *slopes, int64_t count, int threads) {
    EACH_PART gelu(given, found, slopes, part, count, 0);
}

void gelu32(const void *given, void *found, void *slopes, int64_t count, int threads) {
    EACH_PART gelu(given, found, slopes, part, count, 1);
}

/* ---- What is dropped, what it is added to, and a norm over each row of that ---- */

/* given: is dropped where chances, which follow from the seed, are below a bound; beside: what it is added to.
 * weight, bias: of the norm; even, scales: of each row the sum minus its mean by its deviation, and one by that. */
typedef struct {
    const void *given, *beside, *weight, *bias;
    void *even;
    float *scales;
    int64_t rows;
    int width;
    uint32_t below;
    uint64_t seed;
    float scale, eps;
} Norm;

INLINE void normed(const Norm *norm, void *found, int64_t row, int exact) {
    const uint32_t before = (uint32_t)norm->seed, between = (uint32_t)(norm->seed >> 32), below = norm->below;
    const void *given = norm->given, *beside = norm->beside, *weight = norm->weight, *bias = norm->bias;
    const float scale = norm->scale;
    const int width = norm->width;
    const int64_t begin = row * width;
    void *even = norm->even;
    float numbers[WIDEST], sum = 0, squares = 0;
    if (below)
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < width; i++) {
            float number = got(given, begin + i, exact) * scale;
            number = chance((uint32_t)(begin + i), before, between) < below ? 0.0f : number;
            number += got(beside, begin + i, exact);
            numbers[i] = number;
            sum += number;
        }
    else
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < width; i++) {
            float number = got(given, begin + i, exact) + got(beside, begin + i, exact);
            numbers[i] = number;
            sum += number;
        }
    float mean = sum / (float)width;
#pragma omp simd reduction(+ : squares)
    for (int i = 0; i < width; i++) squares += (numbers[i] - mean) * (numbers[i] - mean);
    float by = 1.0f / __builtin_sqrtf(squares / (float)width + norm->eps);
    if (even) {
        norm->scales[row] = by;
#pragma omp simd
        for (int i = 0; i < width; i++) {
            float number = (numbers[i] - mean) * by;
            put(even, begin + i, number, exact);
            put(found, begin + i, number * got(weight, i, exact) + got(bias, i, exact), exact);
        }
    } else
#pragma omp simd
        for (int i = 0; i < width; i++)
            put(found, begin + i, (numbers[i] - mean) * by * got(weight, i, exact) + got(bias, i, exact), exact);
}

/* to_given, to_beside: gradients, the same place where nothing is dropped; sums: of weight and bias in these rows, or
 * none. */
INLINE void normed_back(const Norm *norm, const void *wanted, void *to_given, void *to_beside, float *sums, int64_t row,
                        int exact) {
    const uint32_t before = (uint32_t)norm->seed, between = (uint32_t)(norm->seed >> 32), below = norm->below;
    const void *even = norm->even, *weight = norm->weight;
    const float by = norm->scales[row], scale = norm->scale;
    const int width = norm->width;
    const int64_t begin = row * width;
    float usual = 0, along = 0;
#pragma omp simd reduction(+ : usual, along)
    for (int i = 0; i < width; i++) {
        float slope = got(wanted, begin + i, exact) * got(weight, i, exact);
        usual += slope;
        along += slope * got(even, begin + i, exact);
    }
    usual /= (float)width;
    along /= (float)width;
    if (sums)
#pragma omp simd
        for (int i = 0; i < width; i++) {
            float slope = got(wanted, begin + i, exact);
            sums[i] += slope * got(even, begin + i, exact);
            sums[width + i] += slope;
        }
    if (below)
#pragma omp simd
        for (int i = 0; i < width; i++) {
            float slope = got(wanted, begin + i, exact) * got(weight, i, exact);
            slope = by * (slope - usual - along * got(even, begin + i, exact));
            put(to_beside, begin + i, slope, exact);
            put(to_given, begin + i, chance((uint32_t)(begin + i), before, between) < below ? 0.0f : slope * scale, exact);
        }
    else
#pragma omp simd
        for (int i = 0; i < width; i++) {
            float slope = got(wanted, begin + i, exact) * got(weight, i, exact);
            put(to_beside, begin + i, by * (slope - usual - along * got(even, begin + i, exact)), exact);
        }
}

#define EACH_GROUP                                                                                       \
    _Pragma("omp parallel for schedule(static) num_threads(threads) if (all.rows * all.width > 4 * PART)") \
    for (int64_t group = 0; group < (all.rows + GROUP - 1) / GROUP; group++)                             \
        for (int64_t row = group * GROUP; row < all.rows && row < (group + 1) * GROUP; row++)

void norm16(const Norm *norm, void *found, int threads) {
    const Norm all = *norm;
    EACH_GROUP normed(&all, found, row, 0);
}

void norm32(const Norm *norm, void *found, int threads) {
    const Norm all = *norm;
    EACH_GROUP normed(&all, found, row, 1);
}

/* The sums of all groups, one after another. */
INLINE void all_groups(const Norm *norm, const float *sums, void *found, int exact) {
    int64_t groups = (norm->rows + GROUP - 1) / GROUP;
    int width = 2 * norm->width;
    for (int begin = 0; begin < width; begin += WIDE) {
        float both[WIDE] = {0};
        int count = width - begin < WIDE ? width - begin : WIDE;
        for (int64_t group = 0; group < groups; group++)
            for (int lane = 0; lane < count; lane++) both[lane] += sums[group * width + begin + lane];
        for (int lane = 0; lane < count; lane++) put(found, begin + lane, both[lane], exact);
    }
}

/* to_norm: gradients of weight and bias, (2, width), or none; sums: of shape (groups, 2, width), zeros, for that. */
void norm_back16(const Norm *norm, const void *wanted, void *to_given, void *to_beside, float *sums, void *to_norm,
                 int threads) {
    const Norm all = *norm;
    EACH_GROUP normed_back(&all, wanted, to_given, to_beside, sums ? sums + group * 2 * all.width : 0, row, 0);
    if (sums) all_groups(norm, sums, to_norm, 0);
}

void norm_back32(const Norm *norm, const void *wanted, void *to_given, void *to_beside, float *sums, void *to_norm,
                 int threads) {
    const Norm all = *norm;
    EACH_GROUP normed_back(&all, wanted, to_given, to_beside, sums ? sums + group * 2 * all.width : 0, row, 1);
    if (sums) all_groups(norm, sums, to_norm, 1);
}

/* ---- Optimizer ---- */

/* Each part of each of some runs of numbers, in a region where threads began. */
#define EACH_PART_OF(count)                      \
    _Pragma("omp for schedule(static) nowait")   \
    for (int64_t part = 0; part < ((count) + PART - 1) / PART; part++)

/* For each part of each of so many runs of bfloat16 numbers the sum of their squares, one behind another. */
void squares16(const uint16_t *const *given, const int64_t *counts, int64_t many, float *sums, int threads) {
#pragma omp parallel num_threads(threads)
    for (int64_t n = 0, before = 0; n < many; before += (counts[n++] + PART - 1) / PART) {
        const uint16_t *numbers = given[n];
        EACH_PART_OF(counts[n]) {
            int64_t end = ending(part, counts[n]);
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = part * PART; i < end; i++) sum += widened(numbers[i]) * widened(numbers[i]);
            sums[before + part] = sum;
        }
    }
}

/* What a step of AdamW is to do: `keep` is what weight decay leaves, `rate` and `root` hold what corrects the running
 * means at the beginning. */
typedef struct {
    float scale, beta1, beta2, keep, rate, root, eps;
} Step;

INLINE void stepped(float *exact, float *mean, float *square, float slope, uint16_t *weight, const Step *step) {
    float first = *mean + (slope - *mean) * (1.0f - step->beta1);
    float second = *square * step->beta2 + slope * slope * (1.0f - step->beta2);
    float number = *exact * step->keep - step->rate * first / (__builtin_sqrtf(second) * step->root + step->eps);
    *mean = first;
    *square = second;
    *exact = number;
    *weight = rounded(number);
}

/* Exact weights, their running means, their gradient, and the weights rounded. */
typedef struct {
    float *exact, *mean, *square;
    const uint16_t *gradient;
    uint16_t *weight;
    int64_t count;
    Step step;
} Changed;

/* A step on each of so many. */
void adamw16(const Changed *all, int64_t many, int threads) {
#pragma omp parallel num_threads(threads)
    for (int64_t n = 0; n < many; n++) {
        const Changed one = all[n];
        EACH_PART_OF(one.count) {
            int64_t end = ending(part, one.count);
#pragma omp simd
            for (int64_t i = part * PART; i < end; i++)
                stepped(one.exact + i, one.mean + i, one.square + i, widened(one.gradient[i]) * one.step.scale,
                        one.weight + i, &one.step);
        }
    }
}

/* The same on some rows of a table: `rows` names them, in the order of their running means, and `slopes` for each the
 * row of the gradient that is its own, or -1 where it has none now. */
void adamw_rows16(float *exact, float *mean, float *square, const float *gradient, uint16_t *weight,
                  const int64_t *rows, const int64_t *slopes, int64_t many, int64_t width, const Step *given,
                  int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (many * width > 4 * PART)
    for (int64_t place = 0; place < many; place++) {
        const Step step = *given;
        int64_t own = rows[place] * width, means = place * width;
        if (slopes[place] < 0) {
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                stepped(exact + own + i, mean + means + i, square + means + i, 0.0f, weight + own + i, &step);
        } else {
            const float *slope = gradient + slopes[place] * width;
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                stepped(exact + own + i, mean + means + i, square + means + i, slope[i] * step.scale, weight + own + i,
                        &step);
        }
    }
}

/* ---- Attention of short texts ---- */

/* Numbers that a register holds. */
#ifndef LANES /* whoever compiles this may say it, to see what others compute */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#endif
typedef float Some __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t Four __attribute__((vector_size(16), aligned(4), may_alias));
/* A number, or two in 16 bits that are neighbours along what is summed up. */
typedef uint32_t Cell;

#ifdef __clang__
#define SHUFFLED(one, other, ...) __builtin_shufflevector(one, other, __VA_ARGS__)
#else
#define SHUFFLED(one, other, ...) __builtin_shuffle(one, other, (Four){__VA_ARGS__})
#endif

/* found (rows, 16) = left (rows, inner) right (inner, 16), for a few rows. */
INLINE void product_part(int rows, int inner, const float *left, int left_row, int left_column, const float *right,
                         int right_row, float *found, int found_row) {
    Some sums[6][WIDE / LANES];
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int part = 0; part < WIDE / LANES; part++) sums[row][part] = (Some){0};
    for (int i = 0; i < inner; i++, left += left_column, right += right_row) {
        Some numbers[WIDE / LANES];
#pragma GCC unroll 4
        for (int part = 0; part < WIDE / LANES; part++) numbers[part] = *(const Some *)(right + part * LANES);
#pragma GCC unroll 8
        for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
            for (int part = 0; part < WIDE / LANES; part++) sums[row][part] += left[row * left_row] * numbers[part];
    }
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 4
        for (int part = 0; part < WIDE / LANES; part++)
            *(Some *)(found + row * found_row + part * LANES) = sums[row][part];
}

/* found (rows, columns) = left (rows, inner) right (inner, columns): rows are a multiple of 4, columns of 16.
 *
 * left: whose next row and next column are so many numbers away; of right and found the next row is. */
APART void product(int rows, int columns, int inner, const float *left, int left_row, int left_column,
                   const float *right, int right_row, float *found, int found_row) {
    for (int column = 0; column < columns; column += WIDE)
        for (int row = 0; row < rows;) {
            const float *a = left + row * left_row;
            float *to = found + row * found_row + column;
            /* As many as registers hold the sums of. */
            if (rows - row == 4 || rows - row == 8) {
                product_part(4, inner, a, left_row, left_column, right + column, right_row, to, found_row);
                row += 4;
            } else {
                product_part(6, inner, a, left_row, left_column, right + column, right_row, to, found_row);
                row += 6;
            }
        }
}

INLINE int filled(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

/* Tokens of a head of a text as (tokens, dim), with zeros up to so many rows. */
INLINE void taken(const void *from, int64_t begin, int64_t token, int tokens, int rows, int dim, float *found,
                  int exact) {
    for (int i = 0; i < tokens; i++)
        for (int d = 0; d < dim; d += WIDE)
#pragma GCC ivdep
            for (int lane = 0; lane < WIDE; lane++)
                found[i * dim + d + lane] = got(from, begin + i * token + d + lane, exact);
    memset(found + tokens * dim, 0, sizeof(float) * (size_t)((rows - tokens) * dim));
}

/* found (width, rows) = given (rows, width), turned: multiples of 4. */
INLINE void turned(const Cell *given, int64_t rows, int64_t width, Cell *found) {
    for (int64_t row = 0; row < rows; row += 4, given += 4 * width)
        for (int64_t i = 0; i < width; i += 4) {
            Four one = *(const Four *)(given + i), two = *(const Four *)(given + width + i);
            Four three = *(const Four *)(given + 2 * width + i), four = *(const Four *)(given + 3 * width + i);
            Four low = SHUFFLED(one, two, 0, 4, 1, 5), high = SHUFFLED(one, two, 2, 6, 3, 7);
            Four other = SHUFFLED(three, four, 0, 4, 1, 5), last = SHUFFLED(three, four, 2, 6, 3, 7);
            Cell *to = found + i * rows + row;
            *(Four *)to = SHUFFLED(low, other, 0, 1, 4, 5);
            *(Four *)(to + rows) = SHUFFLED(low, other, 2, 3, 6, 7);
            *(Four *)(to + 2 * rows) = SHUFFLED(high, last, 0, 1, 4, 5);
            *(Four *)(to + 3 * rows) = SHUFFLED(high, last, 2, 3, 6, 7);
        }
}

INLINE void laid_back(const float *given, void *into, int64_t begin, int64_t token, int tokens, int dim, float scale,
                      int exact) {
    for (int i = 0; i < tokens; i++)
        for (int d = 0; d < dim; d += WIDE)
#pragma GCC ivdep
            for (int lane = 0; lane < WIDE; lane++)
                put(into, begin + i * token + d + lane, given[i * dim + d + lane] * scale, exact);
}

INLINE float summed(float *parts) {
    for (int half = WIDE / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) parts[lane] += parts[lane + half];
    return parts[0];
}

INLINE float highest(float *parts) {
    for (int half = WIDE / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++)
            parts[lane] = parts[lane] > parts[lane + half] ? parts[lane] : parts[lane + half];
    return parts[0];
}

/* A softmax of each row of (rows, seen): of its first tokens; what fills it up gets e^-87, which is nothing. */
APART void softmax(float *scores, int rows, int seen, int tokens, float scale) {
    for (int i = 0; i < rows; i++, scores += seen) {
        float high[WIDE], sums[WIDE] = {0};
        for (int j = tokens; j < seen; j++) scores[j] = -3e38f;
        for (int lane = 0; lane < WIDE; lane++) high[lane] = scores[lane];
        for (int j = WIDE; j < seen; j += WIDE)
            for (int lane = 0; lane < WIDE; lane++)
                high[lane] = scores[j + lane] > high[lane] ? scores[j + lane] : high[lane];
        float most = highest(high);
        for (int j = 0; j < seen; j += WIDE)
            for (int lane = 0; lane < WIDE; lane++) {
                float share = exponential((scores[j + lane] - most) * scale);
                scores[j + lane] = share;
                sums[lane] += share;
            }
        float whole = 1.0f / summed(sums);
        for (int j = 0; j < seen; j += WIDE)
            for (int lane = 0; lane < WIDE; lane++) scores[j + lane] *= whole;
    }
}

/* Where a head of a token stands, in numbers from the first: queries, keys or values as a model lays them. */
typedef struct {
    const void *first;
    int64_t token, head;
} Laid;

/* Texts that stand one behind another, each with so many tokens; the longest has `longest`.
 *
 * asking: of each text only so many tokens, the first, ask what others hold: the rest finds zeros. All do where it is 0. */
typedef struct {
    const int64_t *begins, *lengths;
    int64_t count;
    int longest, heads, dim, asking;
    float scale;
    float *room; /* for each thread, 5 times (longest, dim) and twice (longest, longest), longest filled up to 32 */
} Texts;

INLINE int asking(const Texts *texts, int tokens) {
    return texts->asking && texts->asking < tokens ? texts->asking : tokens;
}

/* Zeros for a head of the tokens behind those that ask. */
INLINE void silent(void *found, int64_t begin, int64_t token, int asked, int tokens, int dim, int exact) {
    int wide = exact ? 4 : 2;
    for (int i = asked; i < tokens; i++) memset((char *)found + (begin + i * token) * wide, 0, (size_t)(wide * dim));
}

/* The room of a thread, by its number. */
INLINE float *own_room(const Texts *texts, int number) {
    int64_t longest = filled(texts->longest, 2 * WIDE);
    return texts->room + number * longest * (5 * texts->dim + 2 * longest);
}

/* A head of a text; all of them, each thread with a room of its own. */
#define EACH_HEAD(done) {                                                                \
    int begun = 0;                                                                       \
    _Pragma("omp parallel num_threads(threads)") {                                       \
        int number;                                                                      \
        _Pragma("omp atomic capture") number = begun++;                                  \
        float *room = own_room(texts, number);                                           \
        _Pragma("omp for schedule(dynamic, 4)")                                          \
        for (int64_t pair = 0; pair < texts->count * texts->heads; pair++) done;         \
    }}

INLINE void attended(const Laid *laid, const Texts *texts, void *found, int64_t pair, float *room, int exact) {
    int heads = texts->heads, dim = texts->dim, most = filled(texts->longest, WIDE) * dim;
    float *query = room, *key = query + most, *value = key + most, *sum = value + most, *shares = sum + most;
    int64_t begin = texts->begins[pair / heads], head = pair % heads;
    int tokens = (int)texts->lengths[pair / heads], asked = asking(texts, tokens);
    int rows = filled(asked, 4), seen = filled(tokens, WIDE);
    const Laid *q = laid, *k = laid + 1, *v = laid + 2;
    taken(q->first, begin * q->token + head * q->head, q->token, asked, rows, dim, query, exact);
    taken(k->first, begin * k->token + head * k->head, k->token, tokens, seen, dim, sum, exact);
    taken(v->first, begin * v->token + head * v->head, v->token, tokens, tokens, dim, value, exact);
    turned((const Cell *)sum, seen, dim, (Cell *)key);
    product(rows, seen, dim, query, dim, 1, key, seen, shares, seen);
    softmax(shares, rows, seen, tokens, texts->scale);
    product(rows, dim, tokens, shares, seen, 1, value, dim, sum, dim);
    laid_back(sum, found, (begin * heads + head) * dim, (int64_t)heads * dim, asked, dim, 1.0f, exact);
    silent(found, (begin * heads + head) * dim, (int64_t)heads * dim, asked, tokens, dim, exact);
}

INLINE void attended_back(const Laid *laid, const Texts *texts, const void *wanted, void *const *found, int64_t pair,
                          float *room, int exact) {
    int heads = texts->heads, dim = texts->dim, longest = filled(texts->longest, WIDE), most = longest * dim;
    float *query = room, *key = query + most, *across = key + most, *slope = across + most, *sum = slope + most;
    float *shares = sum + most, *change = shares + longest * longest;
    int64_t begin = texts->begins[pair / heads], head = pair % heads, token = (int64_t)heads * dim;
    int64_t own = begin * token + head * dim;
    int tokens = (int)texts->lengths[pair / heads], asked = asking(texts, tokens);
    int rows = filled(asked, 4), every = filled(tokens, 4), seen = filled(tokens, WIDE);
    const Laid *q = laid, *k = laid + 1, *v = laid + 2;
    taken(q->first, begin * q->token + head * q->head, q->token, asked, rows, dim, query, exact);
    taken(k->first, begin * k->token + head * k->head, k->token, tokens, seen, dim, key, exact);
    turned((const Cell *)key, seen, dim, (Cell *)across);
    product(rows, seen, dim, query, dim, 1, across, seen, shares, seen);
    softmax(shares, rows, seen, tokens, texts->scale);
    taken(v->first, begin * v->token + head * v->head, v->token, tokens, seen, dim, sum, exact);
    turned((const Cell *)sum, seen, dim, (Cell *)across);
    taken(wanted, own, token, asked, rows, dim, slope, exact);
    product(rows, seen, dim, slope, dim, 1, across, seen, change, seen);
    product(every, dim, asked, shares, 1, seen, slope, dim, sum, dim);
    laid_back(sum, found[2], own, token, tokens, dim, 1.0f, exact);
    for (int i = 0; i < asked; i++) {
        float *share = shares + i * seen, *to = change + i * seen, sums[WIDE] = {0};
        for (int j = 0; j < seen; j += WIDE)
            for (int lane = 0; lane < WIDE; lane++) sums[lane] += share[j + lane] * to[j + lane];
        float usual = summed(sums);
        for (int j = 0; j < seen; j += WIDE)
#pragma GCC ivdep
            for (int lane = 0; lane < WIDE; lane++) to[j + lane] = share[j + lane] * (to[j + lane] - usual);
    }
    product(rows, dim, tokens, change, seen, 1, key, dim, sum, dim);
    laid_back(sum, found[0], own, token, asked, dim, texts->scale, exact);
    silent(found[0], own, token, asked, tokens, dim, exact);
    product(every, dim, asked, change, 1, seen, query, dim, sum, dim);
    laid_back(sum, found[1], own, token, tokens, dim, texts->scale, exact);
}

#ifdef __AVX512BF16__
#define PAIRED 1

/* Two bfloat16 numbers that are neighbours along what a product sums up, the first in the lower half. */
typedef uint32_t Pair;

INLINE void no_sums(__m512 sums[ROWS][2]) {
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) sums[row][0] = sums[row][1] = _mm512_setzero_ps();
}

/* sums (ROWS, 32, or 16 where it is not wide) += left (ROWS, 2 pairs) right (2 pairs, columns), in 32 bits.
 *
 * left: whose next row and next pair are so many pairs away; of right, the next pair is. */
INLINE void paired_sums(int wide, int pairs, const Pair *left, int left_row, int left_pair, const Pair *right,
                        int right_pair, __m512 sums[ROWS][2]) {
    for (int pair = 0; pair < pairs; pair++, left += left_pair, right += right_pair) {
        __m512bh near = (__m512bh)_mm512_loadu_si512(right), far = near;
        if (wide) far = (__m512bh)_mm512_loadu_si512(right + WIDE);
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) {
            __m512bh same = (__m512bh)_mm512_set1_epi32((int)left[row * left_row]);
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], same, near);
            if (wide) sums[row][1] = _mm512_dpbf16_ps(sums[row][1], same, far);
        }
    }
}

/* The same into found, whose next row is so many numbers away. */
INLINE void paired_part(int wide, int pairs, const Pair *left, int left_row, int left_pair, const Pair *right,
                        int right_pair, float *found, int found_row) {
    __m512 sums[ROWS][2];
    no_sums(sums);
    paired_sums(wide, pairs, left, left_row, left_pair, right, right_pair, sums);
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) {
        _mm512_storeu_ps(found + row * found_row, sums[row][0]);
        if (wide) _mm512_storeu_ps(found + row * found_row + WIDE, sums[row][1]);
    }
}

APART void paired(int columns, int pairs, const Pair *left, int left_row, int left_pair, const Pair *right,
                   int right_pair, float *found, int found_row) {
    int column = 0;
    for (; column + 2 * WIDE <= columns; column += 2 * WIDE)
        paired_part(1, pairs, left, left_row, left_pair, right + column, right_pair, found + column, found_row);
    for (; column < columns; column += WIDE)
        paired_part(0, pairs, left, left_row, left_pair, right + column, right_pair, found + column, found_row);
}

/* A head of a text, as it stands in the long row. */
typedef struct {
    const uint16_t *first;
    int64_t token;
    int tokens, dim;
} Head;

INLINE Head head_of(const Laid *laid, int64_t begin, int64_t head, int tokens, int dim) {
    return (Head){(const uint16_t *)laid->first + begin * laid->token + head * laid->head, laid->token, tokens, dim};
}

/* As (rows, dim / 2), pairs along the numbers of a token, with zeros behind its tokens. */
APART void as_rows(Head head, int rows, Pair *found) {
    size_t bytes = sizeof(uint16_t) * (size_t)head.dim;
    for (int i = 0; i < head.tokens; i++) memcpy(found + i * head.dim / 2, head.first + i * head.token, bytes);
    memset(found + head.tokens * head.dim / 2, 0, bytes * (size_t)(rows - head.tokens));
}

/* 16 rows of 16 pairs, turned; some of the rows may be zeros. The next row of found is so many pairs away. */
APART void turned_pairs(const uint16_t *given, int64_t width, int there, Pair *found, int found_row) {
    __m512i rows[16], mixed[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) rows[i] = i < there ? _mm512_loadu_si512(given + i * width) : _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        mixed[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        mixed[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        rows[i] = _mm512_unpacklo_epi64(mixed[i], mixed[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(mixed[i], mixed[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(mixed[i + 1], mixed[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(mixed[i + 1], mixed[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i near = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
        __m512i far = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
        __m512i odd = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
        __m512i last = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
        _mm512_storeu_si512(found + i * found_row, _mm512_shuffle_i32x4(near, far, 0x88));
        _mm512_storeu_si512(found + (i + 4) * found_row, _mm512_shuffle_i32x4(odd, last, 0x88));
        _mm512_storeu_si512(found + (i + 8) * found_row, _mm512_shuffle_i32x4(near, far, 0xdd));
        _mm512_storeu_si512(found + (i + 12) * found_row, _mm512_shuffle_i32x4(odd, last, 0xdd));
    }
}

/* As (dim / 2, columns), pairs along the numbers of a token. */
APART void as_columns(Head head, int columns, Pair *found) {
    if (head.dim % (2 * WIDE) == 0) {
        for (int i = 0; i < columns; i += WIDE)
            for (int d = 0; d < head.dim; d += 2 * WIDE)
                turned_pairs(head.first + i * head.token + d, head.token, head.tokens - i, found + d / 2 * columns + i,
                             columns);
        return;
    }
    for (int i = 0; i < columns; i++)
        for (int pair = 0; pair < head.dim / 2; pair++) {
            Pair both = 0;
            if (i < head.tokens) memcpy(&both, head.first + i * head.token + 2 * pair, sizeof both);
            found[pair * columns + i] = both;
        }
}

/* As (rows / 2, dim), pairs along the tokens. */
APART void along_tokens(Head head, int rows, Pair *found) {
    for (int i = 0; i < rows; i += 2, found += head.dim) {
        const uint16_t *first = head.first + i * head.token, *second = first + head.token;
        if (i + 1 < head.tokens)
            for (int d = 0; d < head.dim; d++) found[d] = first[d] | (Pair)second[d] << 16;
        else if (i < head.tokens)
            for (int d = 0; d < head.dim; d++) found[d] = first[d];
        else
            for (int d = 0; d < head.dim; d++) found[d] = 0;
    }
}

/* 2^x, with a polynomial whose relative error is below 3e-6. */
INLINE __m512 power_of_two(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_sub_ps(x, whole), power = _mm512_set1_ps(9.560510206e-3f);
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(5.591703917e-2f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(2.402498111e-1f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(6.931219677e-1f));
    power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(9.999991909e-1f));
    return _mm512_scalef_ps(power, whole);
}

INLINE __m512 joined(__m512 one, __m512 other, int add) {
    return add ? _mm512_add_ps(one, other) : _mm512_max_ps(one, other);
}

/* Of each of 8, the sum of its lanes, or the highest of them. */
INLINE __m256 lanes_joined(const __m512 *given, int add) {
    __m512 some[4], both[2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        some[i] = joined(_mm512_unpacklo_ps(given[2 * i], given[2 * i + 1]),
                         _mm512_unpackhi_ps(given[2 * i], given[2 * i + 1]), add);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m512d one = _mm512_castps_pd(some[2 * i]), other = _mm512_castps_pd(some[2 * i + 1]);
        both[i] = joined(_mm512_castpd_ps(_mm512_unpacklo_pd(one, other)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(one, other)), add);
    }
    __m512 half = joined(_mm512_shuffle_f32x4(both[0], both[1], 0x44), _mm512_shuffle_f32x4(both[0], both[1], 0xee), add);
    half = joined(half, _mm512_shuffle_f32x4(half, half, 0xb1), add);
    return _mm512_castps512_ps256(_mm512_shuffle_f32x4(half, half, 0x88));
}

/* Of each row of (ROWS, seen), a softmax of its first tokens that still has to be multiplied by `wholes`: one by the sum
 * of the row. What fills a row up gets 0. */
APART void powers(float *scores, int seen, int tokens, float scale, float *wholes) {
    const __m512 by = _mm512_set1_ps(scale * 1.44269504f);
    const int last = seen - WIDE;
    const __mmask16 there = (__mmask16)(0xffff >> (seen - tokens));
    for (int begin = 0; begin < ROWS; begin += 8, scores += 8 * seen, wholes += 8) {
        __m512 highs[8], sums[8];
        float most[8];
#pragma GCC unroll 8
        for (int row = 0; row < 8; row++) {
            highs[row] = _mm512_mask_loadu_ps(_mm512_set1_ps(-1e30f), there, scores + row * seen + last);
            sums[row] = _mm512_setzero_ps();
        }
        for (int j = 0; j < last; j += WIDE)
#pragma GCC unroll 8
            for (int row = 0; row < 8; row++)
                highs[row] = _mm512_max_ps(highs[row], _mm512_loadu_ps(scores + row * seen + j));
        _mm256_storeu_ps(most, _mm256_mul_ps(lanes_joined(highs, 0), _mm512_castps512_ps256(by)));
        for (int j = 0; j <= last; j += WIDE) {
            const __mmask16 kept = j < last ? 0xffff : there;
#pragma GCC unroll 8
            for (int row = 0; row < 8; row++) {
                float *place = scores + row * seen + j;
                __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(place), by, _mm512_set1_ps(most[row]));
                __m512 power = _mm512_maskz_mov_ps(kept, power_of_two(x));
                sums[row] = _mm512_add_ps(sums[row], power);
                _mm512_storeu_ps(place, power);
            }
        }
        _mm256_storeu_ps(wholes, _mm256_div_ps(_mm256_set1_ps(1.0f), lanes_joined(sums, 1)));
    }
}

INLINE __m512 widened_row(const uint16_t *from) {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

/* Numbers side by side, rounded. */
APART void rounded_row(const float *given, int count, uint16_t *found) {
    for (int j = 0; j < count; j += WIDE)
        _mm256_storeu_si256((__m256i *)(found + j), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(given + j)));
}

/* Two rows of numbers, rounded, as one of pairs. */
APART void rounded_pairs(const float *first, const float *second, int count, Pair *found) {
    for (int j = 0; j < count; j += WIDE) {
        __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(first + j)));
        __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(second + j)));
        _mm512_storeu_si512(found + j, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

INLINE void paired_attended(const Laid *laid, const Texts *texts, uint16_t *found, int64_t pair, float *room) {
    int heads = texts->heads, dim = texts->dim, longest = filled(texts->longest, 2 * WIDE), most = longest * dim / 2;
    int tokens = (int)texts->lengths[pair / heads], asked = asking(texts, tokens);
    int rows = filled(asked, ROWS), seen = filled(tokens, WIDE);
    int64_t begin = texts->begins[pair / heads], head = pair % heads;
    Pair *query = (Pair *)room, *key = query + most, *value = key + most, *shares = value + most;
    float *scores = (float *)(shares + ROWS * longest), *sums = scores + ROWS * longest;
    float wholes[ROWS];
    as_rows(head_of(laid, begin, head, asked, dim), rows, query);
    as_columns(head_of(laid + 1, begin, head, tokens, dim), seen, key);
    along_tokens(head_of(laid + 2, begin, head, tokens, dim), seen, value);
    for (int row = 0; row < rows; row += ROWS) {
        paired(seen, dim / 2, query + row * dim / 2, dim / 2, 1, key, seen, scores, seen);
        powers(scores, seen, tokens, texts->scale, wholes);
        rounded_row(scores, ROWS * seen, (uint16_t *)shares);
        paired(dim, (tokens + 1) / 2, shares, seen / 2, 1, value, dim, sums, dim);
        for (int i = 0; i < ROWS && row + i < asked; i++) {
            const __m512 whole = _mm512_set1_ps(wholes[i]);
            for (int d = i * dim; d < (i + 1) * dim; d += WIDE)
                _mm512_storeu_ps(sums + d, _mm512_mul_ps(_mm512_loadu_ps(sums + d), whole));
            rounded_row(sums + i * dim, dim, found + ((begin + row + i) * heads + head) * dim);
        }
    }
    silent(found, (begin * heads + head) * dim, (int64_t)heads * dim, asked, tokens, dim, 0);
}

INLINE void paired_back(const Laid *laid, const Texts *texts, const uint16_t *wanted, void *const *found, int64_t pair,
                        float *room) {
    int heads = texts->heads, dim = texts->dim, longest = filled(texts->longest, 2 * WIDE), most = longest * dim / 2;
    int tokens = (int)texts->lengths[pair / heads], many = asking(texts, tokens);
    int rows = filled(many, ROWS), seen = filled(tokens, WIDE);
    int64_t begin = texts->begins[pair / heads], head = pair % heads, token = (int64_t)heads * dim;
    int64_t own = begin * token + head * dim;
    Pair *query = (Pair *)room, *key = query + most, *value = key + most, *slope = value + most;
    Pair *queries = slope + most, *keys = queries + most, *slopes = keys + most, *changed = slopes + most;
    Pair *shares = changed + ROWS * longest / 2, *changes = shares + longest * longest / 2;
    float *share = (float *)(changes + longest * longest / 2), *change = share + ROWS * longest;
    float *sums = change + ROWS * longest, wholes[ROWS];
    Head asked = head_of(laid, begin, head, many, dim), looked_at = head_of(laid + 1, begin, head, tokens, dim);
    Head given = {wanted + own, token, many, dim};
    as_rows(asked, rows, query);
    as_columns(looked_at, seen, key);
    as_columns(head_of(laid + 2, begin, head, tokens, dim), seen, value);
    as_rows(given, rows, slope);
    along_tokens(asked, rows, queries);
    along_tokens(looked_at, seen, keys);
    along_tokens(given, rows, slopes);
    for (int row = 0; row < rows; row += ROWS) {
        paired(seen, dim / 2, query + row * dim / 2, dim / 2, 1, key, seen, share, seen);
        powers(share, seen, tokens, texts->scale, wholes);
        paired(seen, dim / 2, slope + row * dim / 2, dim / 2, 1, value, seen, change, seen);
        for (int i = 0; i < ROWS; i++) {
            float *from = share + i * seen, *to = change + i * seen;
            const __m512 whole = _mm512_set1_ps(wholes[i]);
            __m512 sum = _mm512_setzero_ps();
            for (int j = 0; j < seen; j += WIDE) {
                __m512 own = _mm512_mul_ps(_mm512_loadu_ps(from + j), whole);
                _mm512_storeu_ps(from + j, own);
                sum = _mm512_fmadd_ps(own, _mm512_loadu_ps(to + j), sum);
            }
            const __m512 usual = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
            for (int j = 0; j < seen; j += WIDE) {
                __m512 apart = _mm512_sub_ps(_mm512_loadu_ps(to + j), usual);
                _mm512_storeu_ps(to + j, _mm512_mul_ps(_mm512_loadu_ps(from + j), apart));
            }
        }
        for (int i = 0; i < ROWS; i += 2) {
            int64_t place = (int64_t)(row + i) / 2 * seen;
            rounded_pairs(share + i * seen, share + (i + 1) * seen, seen, shares + place);
            rounded_pairs(change + i * seen, change + (i + 1) * seen, seen, changes + place);
        }
        rounded_row(change, ROWS * seen, (uint16_t *)changed);
        paired(dim, (tokens + 1) / 2, changed, seen / 2, 1, keys, dim, sums, dim);
        int some = many - row < ROWS ? many - row : ROWS;
        laid_back(sums, found[0], own + row * token, token, some, dim, texts->scale, 0);
    }
    silent(found[0], own, token, many, tokens, dim, 0);
    for (int row = 0; row < tokens; row += ROWS) {
        int some = tokens - row < ROWS ? tokens - row : ROWS;
        paired(dim, rows / 2, changes + row, 1, seen, queries, dim, sums, dim);
        laid_back(sums, found[1], own + row * token, token, some, dim, texts->scale, 0);
        paired(dim, rows / 2, shares + row, 1, seen, slopes, dim, sums, dim);
        laid_back(sums, found[2], own + row * token, token, some, dim, 1.0f, 0);
    }
}
#else
#define PAIRED 0
#define paired_attended(laid, texts, found, pair, room)
#define paired_back(laid, texts, wanted, found, pair, room)
#endif

/* Tokens of the longest text for which this takes less time than PyTorch's products. With pairs it did for each length
 * that was measured, up to 256. */
int longest16(void) { return PAIRED ? 1024 : 128; }

/* Attention within each text, as (tokens, heads, dim). */
void attention16(const Laid *laid, const Texts *texts, void *found, int threads) {
    if (PAIRED) EACH_HEAD(paired_attended(laid, texts, found, pair, room))
    else EACH_HEAD(attended(laid, texts, found, pair, room, 0))
}

void attention32(const Laid *laid, const Texts *texts, void *found, int threads) {
    EACH_HEAD(attended(laid, texts, found, pair, room, 1))
}

/* From the gradient of that to those of queries, keys and values, each (tokens, heads, dim). */
void attention_back16(const Laid *laid, const Texts *texts, const void *wanted, void *const *found, int threads) {
    if (PAIRED) EACH_HEAD(paired_back(laid, texts, wanted, found, pair, room))
    else EACH_HEAD(attended_back(laid, texts, wanted, found, pair, room, 0))
}

void attention_back32(const Laid *laid, const Texts *texts, const void *wanted, void *const *found, int threads) {
    EACH_HEAD(attended_back(laid, texts, wanted, found, pair, room, 1))
}

/* ---- Linear layers ---- */

/* Linear layers that read the same, one to three of them: tokens of `inner` numbers, each `weights` of shape (outer,
 * inner), tokens of `outer` numbers.
 *
 * given, wanted, found: what a function says; added, sums: of shape (outer,), if there are any.
 * slopes, beside: as found, if there are any. room: for each thread, and for all of them, see kernels.py. */
typedef struct {
    const uint16_t *given, *weights[3], *wanted[3], *added[3], *beside;
    uint16_t *found[3], *slopes, *sums[3];
    int64_t tokens;
    int inner, outer, layers;
    uint32_t *room;
} Linear;

#define COLUMNS (2 * WIDE) /* of a product that are computed at once */

#ifdef __AVX512BF16__
/* Two rows of 32 numbers as one of pairs. */
INLINE void zipped(const uint16_t *first, const uint16_t *second, Pair *near, Pair *far) {
    static const uint16_t places[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                        8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i low = _mm512_loadu_si512(places), high = _mm512_add_epi16(low, _mm512_set1_epi16(WIDE));
    __m512i one = _mm512_loadu_si512(first), other = _mm512_setzero_si512();
    if (second) other = _mm512_loadu_si512(second);
    _mm512_storeu_si512(near, _mm512_permutex2var_epi16(one, low, other));
    _mm512_storeu_si512(far, _mm512_permutex2var_epi16(one, high, other));
}

/* 32 columns of (rows, width) as (rows / 2, 32), pairs along the rows; where those are odd, the last has zeros. */
APART void along_rows(const uint16_t *given, int64_t width, int64_t rows, Pair *found) {
    for (int64_t i = 0; i < rows; i += 2, found += COLUMNS)
        zipped(given + i * width, i + 1 < rows ? given + (i + 1) * width : 0, found, found + WIDE);
}

/* 32 rows of (rows, width) as (width / 2, 32), pairs along the numbers of a row. */
APART void across_rows(const uint16_t *given, int64_t width, Pair *found) {
    for (int64_t i = 0; i < width; i += 2 * WIDE)
        for (int half = 0; half < 2; half++)
            turned_pairs(given + half * WIDE * width + i, width, WIDE, found + i / 2 * COLUMNS + half * WIDE, COLUMNS);
}

/* 32 columns of (rows, width) as (32 / ROWS, rows / 2, ROWS), pairs along the rows, and the sum of each column. */
APART void in_blocks(const uint16_t *given, int64_t width, int64_t rows, Pair *found, uint16_t *sums) {
    __m512 near = _mm512_setzero_ps(), far = near;
    int64_t block = (rows + 1) / 2 * ROWS;
    for (int64_t i = 0; i < rows; i += 2, found += ROWS) {
        Pair both[COLUMNS];
        zipped(given + i * width, i + 1 < rows ? given + (i + 1) * width : 0, both, both + WIDE);
        for (int n = 0; n < COLUMNS / ROWS; n++) memcpy(found + n * block, both + n * ROWS, sizeof(Pair) * ROWS);
        const __m512bh one = (__m512bh)_mm512_set1_epi32(0x3f803f80); /* two ones */
        near = _mm512_dpbf16_ps(near, (__m512bh)_mm512_loadu_si512(both), one);
        far = _mm512_dpbf16_ps(far, (__m512bh)_mm512_loadu_si512(both + WIDE), one);
    }
    if (sums) {
        _mm256_storeu_si256((__m256i *)sums, (__m256i)_mm512_cvtneps_pbh(near));
        _mm256_storeu_si256((__m256i *)(sums + WIDE), (__m256i)_mm512_cvtneps_pbh(far));
    }
}

INLINE void rounded_sums(__m512 sums[ROWS][2], uint16_t *found, int64_t width) {
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) {
        _mm256_storeu_si256((__m256i *)(found + row * width), (__m256i)_mm512_cvtneps_pbh(sums[row][0]));
        _mm256_storeu_si256((__m256i *)(found + row * width + WIDE), (__m256i)_mm512_cvtneps_pbh(sums[row][1]));
    }
}

/* GELU, rounded, and its slopes, if they are asked for: as `bent_shortly` has it. */
INLINE void bent_lanes(__m512 x, uint16_t *found, uint16_t *slopes) {
    const __m512 far = _mm512_set1_ps(FAR), half = _mm512_set1_ps(0.5f);
    const __mmask16 some = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-FAR), _CMP_NLT_UQ);
    __m512 near = _mm512_max_ps(_mm512_set1_ps(-FAR), _mm512_min_ps(far, x));
    __m512 u = _mm512_fmsub_ps(_mm512_mul_ps(near, near), _mm512_set1_ps(2.0f / (FAR * FAR)), _mm512_set1_ps(1.0f));
    __m512 share = _mm512_set1_ps(SHARE[0]);
#pragma GCC unroll 16
    for (int term = 1; term < TERMS(SHARE); term++) share = _mm512_fmadd_ps(share, u, _mm512_set1_ps(SHARE[term]));
    share = _mm512_maskz_mul_ps(some, x, _mm512_fmadd_ps(near, share, half));
    _mm256_storeu_si256((__m256i *)found, (__m256i)_mm512_cvtneps_pbh(share));
    if (!slopes) return;
    __m512 both = _mm512_set1_ps(SLOPE[0]);
#pragma GCC unroll 16
    for (int term = 1; term < TERMS(SLOPE); term++) both = _mm512_fmadd_ps(both, u, _mm512_set1_ps(SLOPE[term]));
    both = _mm512_maskz_mov_ps(some, _mm512_fmadd_ps(near, both, half));
    _mm256_storeu_si256((__m256i *)slopes, (__m256i)_mm512_cvtneps_pbh(both));
}

/* The same for rows of 32 numbers; the next row of found is so many away. */
APART void bent_rows(const float *numbers, int rows, uint16_t *found, uint16_t *slopes, int64_t width) {
    for (int row = 0; row < rows; row++)
        for (int half = 0; half < COLUMNS; half += WIDE) {
            __m512 x = _mm512_loadu_ps(numbers + row * COLUMNS + half);
            if (slopes) bent_lanes(x, found + row * width + half, slopes + row * width + half);
            else bent_lanes(x, found + row * width + half, 0);
        }
}

INLINE void bent_sums(__m512 sums[ROWS][2], uint16_t *found, uint16_t *slopes, int64_t width) {
    float numbers[ROWS * COLUMNS];
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) {
        _mm512_storeu_ps(numbers + row * COLUMNS, sums[row][0]);
        _mm512_storeu_ps(numbers + row * COLUMNS + WIDE, sums[row][1]);
    }
    bent_rows(numbers, ROWS, found, slopes, width);
}

/* Where the next rows of a product begin: the last ones may be some of those before them, once more. */
INLINE int64_t within(int64_t row, int64_t rows) { return row + ROWS < rows ? row : rows - ROWS; }

#define OWN_ROOM(size)                               \
    int number;                                      \
    _Pragma("omp atomic capture") number = begun++;  \
    Pair *own = all.room + number * (int64_t)(size);

/* Numbers of all sums: of the same row for each, or of as many rows. */
INLINE void all_added(__m512 sums[ROWS][2], const uint16_t *given, int64_t width) {
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) {
        sums[row][0] = _mm512_add_ps(sums[row][0], widened_row(given + row * width));
        sums[row][1] = _mm512_add_ps(sums[row][1], widened_row(given + row * width + WIDE));
    }
}

INLINE void all_multiplied(__m512 sums[ROWS][2], const uint16_t *given, int64_t width) {
#pragma GCC unroll 8
    for (int row = 0; row < ROWS; row++) {
        sums[row][0] = _mm512_mul_ps(sums[row][0], widened_row(given + row * width));
        sums[row][1] = _mm512_mul_ps(sums[row][1], widened_row(given + row * width + WIDE));
    }
}

/* Each found (tokens, outer) = given weights^T + added; to be bent, GELU of that, whose slopes may be asked for. */
void linear16(const Linear *layers, int bend, int threads) {
    const Linear all = *layers;
    const int panels = all.outer / COLUMNS;
    int begun = 0;
#pragma omp parallel num_threads(threads)
    {
        OWN_ROOM(COLUMNS * all.inner / 2)
#pragma omp for schedule(dynamic, 1)
        for (int panel = 0; panel < all.layers * panels; panel++) {
            const int layer = panel / panels, column = panel % panels * COLUMNS;
            const uint16_t *added = all.added[layer];
            across_rows(all.weights[layer] + (int64_t)column * all.inner, all.inner, own);
            for (int64_t next = 0; next < all.tokens; next += ROWS) {
                int64_t row = within(next, all.tokens), place = row * all.outer + column;
                __m512 sums[ROWS][2];
                no_sums(sums);
                paired_sums(1, all.inner / 2, (const Pair *)(all.given + row * all.inner), all.inner / 2, 1, own, COLUMNS,
                            sums);
                if (added) all_added(sums, added + column, 0);
                if (bend) bent_sums(sums, all.found[layer] + place, all.slopes ? all.slopes + place : 0, all.outer);
                else rounded_sums(sums, all.found[layer] + place, all.outer);
            }
        }
    }
}

/* found (tokens, inner) = each wanted weights, together; times slopes, plus what is beside it. */
void linear_back16(const Linear *layers, int threads) {
    const Linear all = *layers;
    const int64_t panel = COLUMNS * (int64_t)all.outer / 2;
    int begun = 0;
#pragma omp parallel num_threads(threads)
    {
        OWN_ROOM(all.layers * panel)
#pragma omp for schedule(dynamic, 1)
        for (int column = 0; column < all.inner; column += COLUMNS) {
            for (int layer = 0; layer < all.layers; layer++)
                along_rows(all.weights[layer] + column, all.inner, all.outer, own + layer * panel);
            for (int64_t next = 0; next < all.tokens; next += ROWS) {
                int64_t row = within(next, all.tokens), place = row * all.inner + column;
                __m512 sums[ROWS][2];
                no_sums(sums);
                for (int layer = 0; layer < all.layers; layer++)
                    paired_sums(1, all.outer / 2, (const Pair *)(all.wanted[layer] + row * all.outer), all.outer / 2, 1,
                                own + layer * panel, COLUMNS, sums);
                if (all.slopes) all_multiplied(sums, all.slopes + place, all.inner);
                if (all.beside) all_added(sums, all.beside + place, all.inner);
                rounded_sums(sums, all.found[0] + place, all.inner);
            }
        }
    }
}

/* Of a layer, found (outer, inner) = wanted^T given, and the sums of wanted. The larger of the two is laid out by each
 * thread for its own part alone. */
INLINE void linear_weights(const Linear *layers, int layer, int threads) {
    const Linear all = *layers;
    const int64_t pairs = (all.tokens + 1) / 2;
    const int inner = all.inner, outer = all.outer, lasting = inner < outer ? inner : outer;
    const uint16_t *wanted = all.wanted[layer];
    uint16_t *sums_of = all.sums[layer];
    Pair *const both = all.room + threads * pairs * COLUMNS;
    int begun = 0;
#pragma omp parallel num_threads(threads)
    {
        OWN_ROOM(pairs * COLUMNS)
#pragma omp for schedule(dynamic, 1)
        for (int column = 0; column < lasting; column += COLUMNS) {
            if (inner < outer) along_rows(all.given + column, inner, all.tokens, both + column * pairs);
            else in_blocks(wanted + column, outer, all.tokens, both + column * pairs, sums_of ? sums_of + column : 0);
        }
#pragma omp for schedule(dynamic, 1)
        for (int part = 0; part < (inner < outer ? outer : inner); part += COLUMNS) {
            if (inner < outer) in_blocks(wanted + part, outer, all.tokens, own, sums_of ? sums_of + part : 0);
            else along_rows(all.given + part, inner, all.tokens, own);
            for (int other = 0; other < lasting; other += COLUMNS) {
                int row = inner < outer ? part : other, column = inner < outer ? other : part;
                const Pair *left = inner < outer ? own : both + other * pairs;
                const Pair *right = inner < outer ? both + other * pairs : own;
                for (int block = 0; block < COLUMNS; block += ROWS) {
                    __m512 sums[ROWS][2];
                    no_sums(sums);
                    paired_sums(1, (int)pairs, left + block * pairs, 1, ROWS, right, COLUMNS, sums);
                    rounded_sums(sums, all.found[layer] + (int64_t)(row + block) * inner + column, inner);
                }
            }
        }
    }
}

void linear_weights16(const Linear *layers, int threads) {
    for (int layer = 0; layer < layers->layers; layer++)
        if (layers->found[layer]) linear_weights(layers, layer, threads);
}
#else
void linear16(const Linear *layers, int bend, int threads) {}
void linear_back16(const Linear *layers, int threads) {}
void linear_weights16(const Linear *layers, int threads) {}
#endif

/* ---- Linear layers of numbers in 32 bits ---- */

#define TALL (LANES == 8 ? 6 : 8) /* rows of a product that are computed at once: AVX2 has half as many registers */
#define BROAD (2 * LANES)         /* and columns of it */
#define BLOCKS 8                  /* of so many rows that are laid out at once */

typedef int32_t Wholes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Whether this processor sums products of such pairs, more of them at once than products of numbers in 32 bits. */
#if defined(__AVX512VNNI__) && LANES == 16
#define INT16_PRODUCTS 1
#define PAIRS_ADDED(sum, one, other) sum = (Wholes)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)one, (__m512i)other)
#elif defined(__AVX512BW__) && LANES == 16
#define INT16_PRODUCTS 1
#define PAIRS_ADDED(sum, one, other) sum += (Wholes)_mm512_madd_epi16((__m512i)one, (__m512i)other)
#elif defined(__AVX2__) && LANES == 8
#define INT16_PRODUCTS 1
/* As it is written: a compiler that orders these by itself keeps some sums in memory. */
#define PAIRS_ADDED(sum, one, other)                              \
    do {                                                          \
        Wholes both;                                              \
        __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"        \
                : "+x"(sum), "=&x"(both) : "x"(one), "x"(other)); \
    } while (0)
#else
#define INT16_PRODUCTS 0
#define LOW(pairs) ((Wholes)(pairs) << 16 >> 16)
#define HIGH(pairs) ((Wholes)(pairs) >> 16)
#define PAIRS_ADDED(sum, one, other) sum += LOW(one) * LOW(other) + HIGH(one) * HIGH(other)
#endif

/* As `Linear`. */
typedef struct {
    const float *given, *weights[3], *wanted[3], *added[3], *beside;
    float *found[3], *slopes, *sums[3];
    int64_t tokens;
    int inner, outer, layers;
    Cell *room;
} Linear32;

/* Tokens as `int16_rows32` leaves them: numbers, and of each token the scale. */
typedef struct {
    const int16_t *whole;
    const float *scales;
} Rows16;

/* numbers (TALL, BROAD) += left (TALL, steps) right (steps, BROAD); of left, the next row and the next step are so many
 * cells away. */
APART void exact_tile(int64_t steps, const Cell *left, int64_t left_row, int64_t left_step, const Cell *right,
                      float *numbers) {
    Some sums[TALL][2];
#pragma GCC unroll 8
    for (int row = 0; row < TALL; row++) sums[row][0] = sums[row][1] = (Some){0};
    for (int64_t step = 0; step < steps; step++, left += left_step, right += BROAD) {
        Some near = *(const Some *)right, far = *(const Some *)(right + LANES);
#pragma GCC unroll 8
        for (int row = 0; row < TALL; row++) {
            float same;
            memcpy(&same, left + row * left_row, sizeof same);
            sums[row][0] += near * same;
            sums[row][1] += far * same;
        }
    }
#pragma GCC unroll 8
    for (int row = 0; row < TALL; row++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) *(Some *)(numbers + row * BROAD + half * LANES) += sums[row][half];
}

/* The same of pairs, whose sums are multiplied by the scales of rows and the widths of columns. */
APART void whole_tile(int64_t steps, const Cell *left, int64_t left_row, int64_t left_step, const Cell *right,
                      const float *scales, const float *widths, float *numbers) {
    Wholes sums[TALL][2];
#pragma GCC unroll 8
    for (int row = 0; row < TALL; row++) sums[row][0] = sums[row][1] = (Wholes){0};
    for (int64_t step = 0; step < steps; step++, left += left_step, right += BROAD) {
        Wholes near = *(const Wholes *)right, far = *(const Wholes *)(right + LANES);
#pragma GCC unroll 8
        for (int row = 0; row < TALL; row++) {
            Wholes same = (Wholes){0} + (int32_t)left[row * left_row];
            PAIRS_ADDED(sums[row][0], near, same);
            PAIRS_ADDED(sums[row][1], far, same);
        }
    }
#pragma GCC unroll 8
    for (int row = 0; row < TALL; row++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            Some width = *(const Some *)(widths + half * LANES) * scales[row];
            *(Some *)(numbers + row * BROAD + half * LANES) += __builtin_convertvector(sums[row][half], Some) * width;
        }
}

INLINE void tile(int whole, int64_t steps, const Cell *left, int64_t left_row, int64_t left_step, const Cell *right,
                 const float *scales, const float *widths, float *numbers) {
    if (whole) whole_tile(steps, left, left_row, left_step, right, scales, widths, numbers);
    else exact_tile(steps, left, left_row, left_step, right, numbers);
}

/* GELU of a tile, and its slopes, if they are asked for; the next row of both is so many numbers away. */
APART void bent_tile(const float *numbers, float *found, float *slopes, int64_t width) {
    for (int row = 0; row < TALL; row++, numbers += BROAD, found += width) {
        float bending[BROAD];
#pragma omp simd
        for (int lane = 0; lane < BROAD; lane++) found[lane] = bent(numbers[lane], bending + lane);
        if (slopes) memcpy(slopes + row * width, bending, sizeof bending);
    }
}

/* The highest whole number that so many may have, as sums of so many products have 32 bits. */
INLINE float most_of(int64_t steps) {
    float most = __builtin_floorf(__builtin_sqrtf(2147483392.0f / (float)steps));
    return most < 8191.0f ? most : 8191.0f;
}

/* The bits of a number without its sign; those of larger ones are higher, and of what is none the highest. */
INLINE uint32_t size_of(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits & 0x7fffffff;
}

/* The scale of numbers with these highest bits, and what they are multiplied by. Where one is none or endless, all are none. */
INLINE float scale_of(uint32_t bits, float most, float *by) {
    float highest;
    memcpy(&highest, &bits, sizeof highest);
    *by = highest > 1e-30f && bits < 0x7f800000 ? most / highest : 0.0f;
    return bits < 0x7f800000 ? highest / most : __builtin_nanf("");
}

INLINE int32_t whole_of(float number, float by) { return by == 0.0f ? 0 : (int32_t)__builtin_rintf(number * by); }

INLINE float row_as_int16(const float *given, int64_t count, float most, int16_t *found) {
    uint32_t high = 0;
#pragma omp simd reduction(max : high)
    for (int64_t i = 0; i < count; i++) high = size_of(given[i]) > high ? size_of(given[i]) : high;
    float by, scale = scale_of(high, most, &by);
#pragma omp simd
    for (int64_t i = 0; i < count; i++) found[i] = (int16_t)whole_of(given[i], by);
    return scale;
}

/* Rows of numbers in 16 bits, each with a scale: as many of them as sums of products of `inner` leave. */
void int16_rows32(const float *given, int64_t tokens, int inner, int16_t *found, float *scales, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (tokens * inner > 4 * PART)
    for (int64_t row = 0; row < tokens; row++)
        scales[row] = row_as_int16(given + row * inner, inner, most_of(inner), found + row * inner);
}

/* 32 rows of (rows, width) as (32 / BROAD, cells of a row, BROAD); `room` has place for as many cells. */
APART void across_rows32(int whole, const float *given, int64_t width, Cell *found, Cell *room, float *widths) {
    const int64_t steps = whole ? width / 2 : width;
    const Cell *rows = (const Cell *)given;
    if (whole) {
        for (int row = 0; row < COLUMNS; row++)
            widths[row] = row_as_int16(given + row * width, width, most_of(width), (int16_t *)room + row * width);
        rows = room;
    }
    for (int part = 0; part < COLUMNS; part += BROAD) turned(rows + part * steps, BROAD, steps, found + part * steps);
}

/* The scales of so many columns of (rows, width), and what they are multiplied by. */
INLINE void columns_scaled(const float *given, int64_t width, int64_t rows, int count, float *widths, float *by) {
    uint32_t high[BLOCKS * 8 + COLUMNS] = {0};
    for (int64_t i = 0; i < rows; i++)
#pragma omp simd
        for (int lane = 0; lane < count; lane++) {
            uint32_t size = size_of(given[i * width + lane]);
            high[lane] = size > high[lane] ? size : high[lane];
        }
    for (int lane = 0; lane < count; lane++) widths[lane] = scale_of(high[lane], most_of(rows), by + lane);
}

/* So many columns of a row, or of two as pairs. */
INLINE void cells_of(int whole, const float *given, const float *next, int count, const float *by, Cell *found) {
    if (!whole) {
        memcpy(found, given, sizeof(float) * (size_t)count);
        return;
    }
#pragma omp simd
    for (int lane = 0; lane < count; lane++) found[lane] = (uint32_t)whole_of(given[lane], by[lane]) & 0xffff;
    if (next)
#pragma omp simd
        for (int lane = 0; lane < count; lane++) found[lane] |= (uint32_t)whole_of(next[lane], by[lane]) << 16;
}

/* 32 columns of (rows, width) as (32 / BROAD, cells of a column, BROAD). */
APART void along_rows32(int whole, const float *given, int64_t width, int64_t rows, Cell *found, float *widths) {
    const int64_t each = whole ? 2 : 1, steps = (rows + each - 1) / each;
    float by[COLUMNS];
    if (whole) columns_scaled(given, width, rows, COLUMNS, widths, by);
    for (int64_t step = 0; step < steps; step++, given += each * width)
        for (int part = 0; part < COLUMNS; part += BROAD) {
            const float *next = each * step + 1 < rows ? given + width + part : 0;
            cells_of(whole, given + part, next, BROAD, by + part, found + (part * steps + step * BROAD));
        }
}

/* Where the next rows of a product begin: the last ones may be some of those before them, once more. */
INLINE int64_t within32(int64_t row, int64_t rows) { return row + TALL < rows ? row : rows - TALL; }

/* Some columns of (rows, width), of `columns` in all, as (columns / TALL, cells of a column, TALL), from the block of this
 * number on; and the sum of each. */
APART void blocks_of(int whole, const float *given, int64_t width, int64_t rows, int64_t first, int64_t columns,
                     Cell *found, float *widths, float *sums) {
    const int64_t each = whole ? 2 : 1, steps = (rows + each - 1) / each, blocks = (columns + TALL - 1) / TALL;
    const int64_t last = first + BLOCKS < blocks ? first + BLOCKS : blocks, begin = within32(first * TALL, columns);
    const int count = (int)(within32((last - 1) * TALL, columns) + TALL - begin);
    float by[BLOCKS * TALL], wide[BLOCKS * TALL], whole_sums[BLOCKS * TALL] = {0};
    given += begin;
    if (whole) columns_scaled(given, width, rows, count, wide, by);
    for (int64_t step = 0; step < steps; step++, given += each * width) {
        const float *next = each * step + 1 < rows ? given + width : 0;
        Cell cells[BLOCKS * TALL];
        cells_of(whole, given, next, count, by, cells);
        for (int64_t block = first; block < last; block++)
            memcpy(found + (block * steps + step) * TALL, cells + (within32(block * TALL, columns) - begin),
                   sizeof(Cell) * TALL);
#pragma omp simd
        for (int lane = 0; lane < count; lane++) whole_sums[lane] += given[lane];
        if (whole && next)
#pragma omp simd
            for (int lane = 0; lane < count; lane++) whole_sums[lane] += next[lane];
    }
    /* Where some columns are the last of others, these are left to those: the first of them are written once. */
    const int64_t own = first * TALL - begin;
    for (int64_t lane = own; lane < count; lane++) {
        if (whole) widths[begin + lane] = wide[lane];
        if (sums) sums[begin + lane] = whole_sums[lane];
    }
}

/* A number for each thread, and room of so many cells that is its own. */
#define OWN_CELLS(size)                             \
    int number;                                     \
    _Pragma("omp atomic capture") number = begun++; \
    Cell *own = all.room + number * (int64_t)(size);

/* 32 columns of what layers find. own: room for 32 rows of weights. */
INLINE void found_columns(const Linear32 *all, const Rows16 *given, int panel, Cell *own, int whole, int bend) {
    const int panels = all->outer / COLUMNS, layer = panel / panels, column = panel % panels * COLUMNS;
    const int64_t steps = whole ? all->inner / 2 : all->inner;
    const Cell *left = whole ? (const Cell *)given->whole : (const Cell *)all->given;
    const float *added = all->added[layer];
    float widths[COLUMNS];
    across_rows32(whole, all->weights[layer] + (int64_t)column * all->inner, all->inner, own, own + COLUMNS * steps, widths);
    for (int64_t next = 0; next < all->tokens; next += TALL)
        for (int part = 0; part < COLUMNS; part += BROAD) {
            const int64_t row = within32(next, all->tokens), place = row * all->outer + column + part;
            float numbers[TALL * BROAD] = {0};
            tile(whole, steps, left + row * steps, steps, 1, own + part * steps, whole ? given->scales + row : 0,
                 widths + part, numbers);
            if (added)
                for (int i = 0; i < TALL; i++)
#pragma omp simd
                    for (int lane = 0; lane < BROAD; lane++) numbers[i * BROAD + lane] += added[column + part + lane];
            if (bend) bent_tile(numbers, all->found[layer] + place, all->slopes ? all->slopes + place : 0, all->outer);
            else
                for (int i = 0; i < TALL; i++)
                    memcpy(all->found[layer] + place + i * all->outer, numbers + i * BROAD, sizeof(float) * BROAD);
        }
}

/* 32 columns of the gradient of what layers read. own: room for 32 columns of the weights of all of them. */
INLINE void columns_back(const Linear32 *all, const Rows16 *wanted, int column, Cell *own, int whole) {
    const int64_t steps = whole ? all->outer / 2 : all->outer, panel = COLUMNS * steps;
    float widths[3][COLUMNS];
    for (int layer = 0; layer < all->layers; layer++)
        along_rows32(whole, all->weights[layer] + column, all->inner, all->outer, own + layer * panel, widths[layer]);
    for (int64_t next = 0; next < all->tokens; next += TALL)
        for (int part = 0; part < COLUMNS; part += BROAD) {
            const int64_t row = within32(next, all->tokens), place = row * all->inner + column + part;
            float numbers[TALL * BROAD] = {0};
            for (int layer = 0; layer < all->layers; layer++) {
                const Cell *left = whole ? (const Cell *)wanted[layer].whole : (const Cell *)all->wanted[layer];
                tile(whole, steps, left + row * steps, steps, 1, own + layer * panel + part * steps,
                     whole ? wanted[layer].scales + row : 0, widths[layer] + part, numbers);
            }
            for (int i = 0; i < TALL; i++) {
                const int64_t to = place + (int64_t)i * all->inner;
                float *from = numbers + i * BROAD;
                if (all->slopes)
#pragma omp simd
                    for (int lane = 0; lane < BROAD; lane++) from[lane] *= all->slopes[to + lane];
                if (all->beside)
#pragma omp simd
                    for (int lane = 0; lane < BROAD; lane++) from[lane] += all->beside[to + lane];
                memcpy(all->found[0] + to, from, sizeof(float) * BROAD);
            }
        }
}

/* 32 columns of the gradients of a layer's weights. blocks, scales: as `blocks_of` leaves what is wanted. */
INLINE void columns_of_weights(const Linear32 *all, int layer, int column, Cell *own, const Cell *blocks,
                               const float *scales, int whole) {
    const int64_t steps = whole ? (all->tokens + 1) / 2 : all->tokens;
    float widths[COLUMNS];
    along_rows32(whole, all->given + column, all->inner, all->tokens, own, widths);
    for (int64_t block = 0; block * TALL < all->outer; block++)
        for (int part = 0; part < COLUMNS; part += BROAD) {
            const int64_t row = within32(block * TALL, all->outer);
            float numbers[TALL * BROAD] = {0};
            tile(whole, steps, blocks + block * steps * TALL, 1, TALL, own + part * steps, whole ? scales + row : 0,
                 widths + part, numbers);
            for (int i = 0; i < TALL; i++)
                memcpy(all->found[layer] + (row + i) * all->inner + column + part, numbers + i * BROAD,
                       sizeof(float) * BROAD);
        }
}

#define EACH_PANEL(size, from, below, by, done)                             \
    {                                                                       \
        const Linear32 all = *layers;                                       \
        int begun = 0;                                                      \
        _Pragma("omp parallel num_threads(threads)") {                      \
            OWN_CELLS(size)                                                 \
            _Pragma("omp for schedule(dynamic, 1)")                         \
            for (int panel = from; panel < (below); panel += by) done;      \
        }                                                                   \
    }

#define EACH_FOUND(whole, bend)                                                         \
    EACH_PANEL(COLUMNS * all.inner, 0, all.layers * (all.outer / COLUMNS), 1,           \
               found_columns(&all, given, panel, own, whole, bend))

/* As `linear16`; given: in 16 bits, the same tokens. */
void linear32(const Linear32 *layers, int bend, int threads) {
    const Rows16 *given = 0;
    if (bend) EACH_FOUND(0, 1)
    else EACH_FOUND(0, 0)
}

void int16_linear32(const Linear32 *layers, const Rows16 *given, int bend, int threads) {
    if (bend) EACH_FOUND(1, 1)
    else EACH_FOUND(1, 0)
}

/* As `linear_back16`; wanted: in 16 bits, the same gradients. */
void linear_back32(const Linear32 *layers, int threads) {
    const Rows16 *wanted = 0;
    EACH_PANEL(all.layers * COLUMNS * all.outer, 0, all.inner, COLUMNS, columns_back(&all, wanted, panel, own, 0))
}

void int16_linear_back32(const Linear32 *layers, const Rows16 *wanted, int threads) {
    EACH_PANEL(all.layers * COLUMNS * all.outer, 0, all.inner, COLUMNS, columns_back(&all, wanted, panel, own, 1))
}

#define EACH_LAYER_OF_WEIGHTS(whole)                                                                                \
    for (int layer = 0; layer < layers->layers; layer++) {                                                          \
        if (!layers->found[layer]) continue;                                                                        \
        const Linear32 all = *layers;                                                                               \
        const int64_t steps = whole ? (all.tokens + 1) / 2 : all.tokens, many = (all.outer + TALL - 1) / TALL;      \
        Cell *const blocks = all.room + threads * steps * COLUMNS;                                                  \
        float *const scales = (float *)(blocks + many * TALL * steps);                                              \
        int begun = 0;                                                                                              \
        _Pragma("omp parallel num_threads(threads)") {                                                              \
            OWN_CELLS(steps * COLUMNS)                                                                              \
            _Pragma("omp for schedule(dynamic, 1)")                                                                 \
            for (int64_t first = 0; first < many; first += BLOCKS)                                                  \
                blocks_of(whole, all.wanted[layer], all.outer, all.tokens, first, all.outer, blocks, scales,        \
                          all.sums[layer]);                                                                         \
            _Pragma("omp for schedule(dynamic, 1)")                                                                 \
            for (int column = 0; column < all.inner; column += COLUMNS)                                             \
                columns_of_weights(&all, layer, column, own, blocks, scales, whole);                                \
        }                                                                                                           \
    }

/* As `linear_weights16`; in 16 bits, each column of what is given and of what is wanted has a scale. */
void linear_weights32(const Linear32 *layers, int threads) { EACH_LAYER_OF_WEIGHTS(0) }
void int16_linear_weights32(const Linear32 *layers, int threads) { EACH_LAYER_OF_WEIGHTS(1) }

/* Whether this processor rounds these to 16 bits with profit, and sums in registers what numbers of 32 bits make. */
int knows_int16(void) { return INT16_PRODUCTS; }

/* Whether this processor multiplies pairs, and nothing faster. */
int knows_pairs(void) {
#ifdef __AMX_BF16__
    return 0;
#else
    return PAIRED;
#endif
}

/* ---- Products of int8 ---- */

/* Tokens as `int8_rows16` leaves them: numbers, with room for a multiple of ROWS tokens; of each of them the scale, what
 * stands for 0, and the sum. */
typedef struct {
    const int8_t *whole;
    const float *scales;
    const int32_t *zeros, *sums;
} Rows8;

/* What a product takes: tokens of `inner` numbers each, and weights of `outer` columns.
 *
 * weights: of shape (outer / 32, inner / 4, 32, 4), with 128 added, as the processor multiplies numbers without a sign by
 * such with one; widths, zeros, added: of each column the scale, the sum times it, and what is added to the product. */
typedef struct {
    Rows8 given;
    const uint8_t *weights;
    const float *widths, *zeros, *added;
    uint16_t *found;
    int64_t tokens;
    int inner, outer;
} Int8;

#if defined(__AVX512VNNI__) && defined(__AVX512BF16__)
#define INT8_PRODUCTS 1
#define CHUNK 64 /* rows that a thread takes at a time */

/* Rows of numbers as int8: for each row how far one is from the next, which stands for 0, and their sum. */
void int8_rows16(const uint16_t *given, int64_t tokens, int inner, int8_t *found, float *scales, int32_t *zeros,
                 int32_t *sums, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (tokens * inner > 4 * PART)
    for (int64_t row = 0; row < tokens; row++) {
        const uint16_t *from = given + row * inner;
        __m512 high = _mm512_setzero_ps(), low = high;
        __mmask16 none = 0;
        for (int i = 0; i < inner; i += WIDE) {
            __m512 numbers = widened_row(from + i);
            none |= _mm512_cmp_ps_mask(numbers, numbers, _CMP_UNORD_Q);
            high = _mm512_max_ps(high, numbers);
            low = _mm512_min_ps(low, numbers);
        }
        float least = _mm512_reduce_min_ps(low), range = _mm512_reduce_max_ps(high) - least;
        if (none) range = __builtin_nanf(""); /* the highest of numbers and of none would be a number */
        float by = range > 0 ? 255.0f / range : 0.0f;
        int zero = -128 - (int)__builtin_rintf(least * by);
        const __m512 each = _mm512_set1_ps(by);
        const __m512i moved = _mm512_set1_epi32(zero);
        __m512i sum = _mm512_setzero_si512();
        for (int i = 0; i < inner; i += WIDE) {
            __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(widened_row(from + i), each)), moved);
            whole = _mm512_min_epi32(whole, _mm512_set1_epi32(127)); /* both ends may be rounded outwards */
            sum = _mm512_add_epi32(sum, whole);
            _mm_storeu_si128((__m128i *)(found + row * inner + i), _mm512_cvtsepi32_epi8(whole));
        }
        scales[row] = range / 255.0f;
        zeros[row] = zero;
        sums[row] = _mm512_reduce_add_epi32(sum);
    }
}

/* sums (ROWS, 32) = left (ROWS, 4 fours) right (fours, 32, 4), whose numbers are 128 too high. */
INLINE void int8_sums(int fours, const int8_t *left, const void *weights, __m512i sums[ROWS][2]) {
    const uint8_t *right = weights;
    const int64_t width = 4 * (int64_t)fours;
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) sums[i][0] = sums[i][1] = _mm512_setzero_si512();
    for (int four = 0; four < fours; four++, left += 4, right += 4 * COLUMNS) {
        __m512i near = _mm512_loadu_si512(right), far = _mm512_loadu_si512(right + 2 * COLUMNS);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++) {
            int both;
            memcpy(&both, left + i * width, sizeof both);
            __m512i same = _mm512_set1_epi32(both);
            sums[i][0] = _mm512_dpbusd_epi32(sums[i][0], near, same);
            sums[i][1] = _mm512_dpbusd_epi32(sums[i][1], far, same);
        }
    }
}

/* found += what sums of a row stand for, where weights have these scales and, times them, these sums. */
INLINE void int8_widened(const Rows8 *rows, int64_t row, const __m512i *sums, const float *widths, const float *zeros,
                         __m512 *found) {
    const __m512i more = _mm512_set1_epi32(128 * rows->sums[row]);
    const __m512 scale = _mm512_set1_ps(rows->scales[row]), zero = _mm512_set1_ps(-rows->scales[row] * rows->zeros[row]);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        __m512 number = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[half], more));
        __m512 width = _mm512_mul_ps(_mm512_loadu_ps(widths + half * WIDE), scale);
        found[half] = _mm512_fmadd_ps(zero, _mm512_loadu_ps(zeros + half * WIDE), found[half]);
        found[half] = _mm512_fmadd_ps(number, width, found[half]);
    }
}

INLINE void int8_part(const Int8 *all, int64_t row, int panel, int bend) {
    const int column = panel * COLUMNS;
    __m512i sums[ROWS][2];
    float numbers[ROWS * COLUMNS];
    int8_sums(all->inner / 4, all->given.whole + row * all->inner, all->weights + (int64_t)column * all->inner, sums);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) {
        if (row + i >= all->tokens) break;
        uint16_t *to = all->found + (row + i) * all->outer + column;
        __m512 both[2] = {_mm512_loadu_ps(all->added + column), _mm512_loadu_ps(all->added + column + WIDE)};
        int8_widened(&all->given, row + i, sums[i], all->widths + column, all->zeros + column, both);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++)
            if (bend) _mm512_storeu_ps(numbers + i * COLUMNS + half * WIDE, both[half]);
            else _mm256_storeu_si256((__m256i *)(to + half * WIDE), (__m256i)_mm512_cvtneps_pbh(both[half]));
    }
    int64_t left_over = all->tokens - row;
    if (bend)
        bent_rows(numbers, left_over < ROWS ? (int)left_over : ROWS, all->found + row * all->outer + column, 0, all->outer);
}

/* bend: whether GELU of the product is wanted. */
void int8_product16(const Int8 *given, int bend, int threads) {
    const Int8 all = *given;
    int64_t chunks = (all.tokens + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t end = (chunk + 1) * CHUNK < all.tokens ? (chunk + 1) * CHUNK : all.tokens;
        for (int panel = 0; panel < all.outer / (2 * WIDE); panel++)
            for (int64_t row = chunk * CHUNK; row < end; row += ROWS)
                if (bend) int8_part(&all, row, panel, 1);
                else int8_part(&all, row, panel, 0);
    }
}

/* The highest of 32 numbers without their signs, as bits, with those before. */
INLINE __m512i highest_bits(__m512i before, const uint16_t *given) {
    return _mm512_max_epu16(before, _mm512_and_si512(_mm512_loadu_si512(given), _mm512_set1_epi16(0x7fff)));
}

/* Of weights whose highest numbers are these, the scales, and what numbers are multiplied by. */
INLINE __m512 int8_scales(__m512 most, float *widths) {
    _mm512_storeu_ps(widths, _mm512_mul_ps(most, _mm512_set1_ps(1.0f / 127.0f)));
    __mmask16 some = _mm512_cmp_ps_mask(most, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return _mm512_maskz_div_ps(some, _mm512_set1_ps(127.0f), most);
}

/* 16 weights, rounded. */
INLINE __m512i int8_weights(const uint16_t *given, __m512 by) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(widened_row(given), by));
}

/* 32 rows of (rows, width) as (width / 4, 32, 4), fours along the numbers of a row, 128 too high; of each row the scale,
 * and the sum times it. */
APART void int8_across_rows(const uint16_t *given, int64_t width, Pair *found, float *widths, float *zeros) {
    for (int half = 0; half < COLUMNS; half += WIDE, given += WIDE * width) {
        float most[WIDE], by[WIDE];
        __m512i sums[WIDE];
        for (int row = 0; row < WIDE; row++) {
            __m512i high = _mm512_setzero_si512();
            for (int64_t i = 0; i < width; i += COLUMNS) high = highest_bits(high, given + row * width + i);
            uint16_t bits[COLUMNS], highest = 0;
            _mm512_storeu_si512(bits, high);
            for (int lane = 0; lane < COLUMNS; lane++) highest = bits[lane] > highest ? bits[lane] : highest;
            most[row] = widened(highest);
            sums[row] = _mm512_setzero_si512();
        }
        _mm512_storeu_ps(by, int8_scales(_mm512_loadu_ps(most), widths + half));
        for (int64_t i = 0; i < width; i += 4 * WIDE) {
            uint8_t bytes[WIDE][4 * WIDE];
            for (int row = 0; row < WIDE; row++)
                for (int part = 0; part < 4 * WIDE; part += WIDE) {
                    __m512i whole = int8_weights(given + row * width + i + part, _mm512_set1_ps(by[row]));
                    sums[row] = _mm512_add_epi32(sums[row], whole);
                    whole = _mm512_add_epi32(whole, _mm512_set1_epi32(128));
                    _mm_storeu_si128((__m128i *)(bytes[row] + part), _mm512_cvtepi32_epi8(whole));
                }
            turned_pairs((const uint16_t *)bytes, 2 * WIDE, WIDE, found + i / 4 * COLUMNS + half, COLUMNS);
        }
        for (int row = 0; row < WIDE; row++) zeros[half + row] = widths[half + row] * (float)_mm512_reduce_add_epi32(sums[row]);
    }
}

/* 32 columns of (rows, width) as (rows / 4, 32, 4), fours along the rows, 128 too high; of each column the scale, and the
 * sum times it. */
APART void int8_along_rows(const uint16_t *given, int64_t width, int64_t rows, Pair *found, float *widths,
                           float *zeros) {
    uint16_t bits[COLUMNS];
    __m512i high = _mm512_setzero_si512(), sums[2] = {high, high};
    for (int64_t i = 0; i < rows; i++) high = highest_bits(high, given + i * width);
    _mm512_storeu_si512(bits, high);
    const __m512 by[2] = {int8_scales(widened_row(bits), widths), int8_scales(widened_row(bits + WIDE), widths + WIDE)};
    for (int64_t i = 0; i < rows; i += 4, found += COLUMNS)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            __m512i four = _mm512_setzero_si512();
#pragma GCC unroll 4
            for (int n = 0; n < 4; n++) {
                __m512i whole = int8_weights(given + (i + n) * width + half * WIDE, by[half]);
                sums[half] = _mm512_add_epi32(sums[half], whole);
                whole = _mm512_add_epi32(whole, _mm512_set1_epi32(128));
                four = _mm512_or_si512(four, _mm512_slli_epi32(whole, 8 * n));
            }
            _mm512_storeu_si512(found + half * WIDE, four);
        }
#pragma GCC unroll 2
    for (int half = 0; half < COLUMNS; half += WIDE) {
        __m512 sum = _mm512_cvtepi32_ps(sums[half / WIDE]);
        _mm512_storeu_ps(zeros + half, _mm512_mul_ps(sum, _mm512_loadu_ps(widths + half)));
    }
}

INLINE void int8_added(const Rows8 *rows, int64_t row, int inner, const Pair *weights, const float *widths,
                       const float *zeros, __m512 found[ROWS][2]) {
    __m512i sums[ROWS][2];
    int8_sums(inner / 4, rows->whole + row * inner, weights, sums);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) int8_widened(rows, row + i, sums[i], widths, zeros, found[i]);
}

/* As `linear16`, of tokens in int8, with weights that are rounded to it here. */
void int8_linear16(const Linear *layers, const Rows8 *given, int bend, int threads) {
    const Linear all = *layers;
    const Rows8 rows = *given;
    const int panels = all.outer / COLUMNS;
    int begun = 0;
#pragma omp parallel num_threads(threads)
    {
        OWN_ROOM(COLUMNS * all.inner / 4)
#pragma omp for schedule(dynamic, 1)
        for (int panel = 0; panel < all.layers * panels; panel++) {
            const int layer = panel / panels, column = panel % panels * COLUMNS;
            const uint16_t *added = all.added[layer];
            float widths[COLUMNS], zeros[COLUMNS];
            int8_across_rows(all.weights[layer] + (int64_t)column * all.inner, all.inner, own, widths, zeros);
            for (int64_t next = 0; next < all.tokens; next += ROWS) {
                int64_t row = within(next, all.tokens), place = row * all.outer + column;
                __m512 sums[ROWS][2];
                no_sums(sums);
                int8_added(&rows, row, all.inner, own, widths, zeros, sums);
                if (added) all_added(sums, added + column, 0);
                if (bend) bent_sums(sums, all.found[layer] + place, all.slopes ? all.slopes + place : 0, all.outer);
                else rounded_sums(sums, all.found[layer] + place, all.outer);
            }
        }
    }
}

/* As `linear_back16`, of gradients in int8, with weights that are rounded to it here. */
void int8_linear_back16(const Linear *layers, const Rows8 *wanted, int threads) {
    const Linear all = *layers;
    const int64_t panel = COLUMNS * (int64_t)all.outer / 4;
    int begun = 0;
#pragma omp parallel num_threads(threads)
    {
        OWN_ROOM(all.layers * panel)
#pragma omp for schedule(dynamic, 1)
        for (int column = 0; column < all.inner; column += COLUMNS) {
            float widths[3][COLUMNS], zeros[3][COLUMNS];
            for (int layer = 0; layer < all.layers; layer++)
                int8_along_rows(all.weights[layer] + column, all.inner, all.outer, own + layer * panel, widths[layer],
                                zeros[layer]);
            for (int64_t next = 0; next < all.tokens; next += ROWS) {
                int64_t row = within(next, all.tokens), place = row * all.inner + column;
                __m512 sums[ROWS][2];
                no_sums(sums);
                for (int layer = 0; layer < all.layers; layer++)
                    int8_added(wanted + layer, row, all.outer, own + layer * panel, widths[layer], zeros[layer], sums);
                if (all.slopes) all_multiplied(sums, all.slopes + place, all.inner);
                if (all.beside) all_added(sums, all.beside + place, all.inner);
                rounded_sums(sums, all.found[0] + place, all.inner);
            }
        }
    }
}
#else
#define INT8_PRODUCTS 0
void int8_linear16(const Linear *layers, const Rows8 *given, int bend, int threads) {}
void int8_linear_back16(const Linear *layers, const Rows8 *wanted, int threads) {}
void int8_rows16(const uint16_t *given, int64_t tokens, int inner, int8_t *found, float *scales, int32_t *zeros,
                 int32_t *sums, int threads) {}
void int8_product16(const Int8 *given, int bend, int threads) {}
#endif

/* Whether this processor multiplies such numbers. */
int knows_int8(void) { return INT8_PRODUCTS; }
