// Norm, ReLU and max-pool of frames with their gradients, each in one pass over memory. Compiled by kernels.py on the machine that runs it.
//
// Frames lie channels last: (n, pixels, channels) float32 or bfloat16; sums are float32, channels divide 64 or are a multiple of 16.
// Work is cut into slices by the size of a frame alone, so that results do not depend on the number of threads.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16, WIDE = 64;  // a vector; what a loop takes at a time
constexpr long SLICE = 1 << 16;       // numbers of a slice, about
struct bf16 {
    uint16_t bits;
};

template <int N>
struct Vec {
    typedef float f __attribute__((vector_size(4 * N)));
    typedef int32_t i __attribute__((vector_size(4 * N)));
    typedef uint32_t u __attribute__((vector_size(4 * N)));
    typedef uint16_t h __attribute__((vector_size(2 * N)));
    typedef uint8_t b __attribute__((vector_size(N)));
};
typedef Vec<LANES>::f vf;

template <int N>
inline typename Vec<N>::f load(const float *p) {
    typename Vec<N>::f v;
    memcpy(&v, p, sizeof v);
    return v;
}
template <int N>
inline typename Vec<N>::f load(const bf16 *p) {
    typename Vec<N>::h v;
    memcpy(&v, p, sizeof v);
#ifdef __AVX512F__  // compilers make several instructions of a conversion that is one
    if constexpr (N == 16) return (typename Vec<N>::f)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)v), 16);
#endif
    return (typename Vec<N>::f)(__builtin_convertvector(v, typename Vec<N>::u) << 16);
}
template <int N>
inline void store(float *p, typename Vec<N>::f v) {
    memcpy(p, &v, sizeof v);
}
template <int N>
inline void store(bf16 *p, typename Vec<N>::f v) {  // to the nearest, ties to even
    typename Vec<N>::u bits = (typename Vec<N>::u)v;
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    typename Vec<N>::h low;
#if defined(__AVX512BF16__)
    if constexpr (N == 16)
        low = (typename Vec<N>::h)_mm512_cvtneps_pbh((__m512)v);
    else
#elif defined(__AVX512F__)
    if constexpr (N == 16)
        low = (typename Vec<N>::h)_mm512_cvtepi32_epi16((__m512i)bits);
    else
#endif
        low = __builtin_convertvector(bits, typename Vec<N>::h);
    memcpy(p, &low, sizeof low);
}
template <int N>
inline typename Vec<N>::i load(const uint8_t *p) {
    typename Vec<N>::b v;
    memcpy(&v, p, sizeof v);
#ifdef __AVX512F__
    if constexpr (N == 16) return (typename Vec<N>::i)_mm512_cvtepu8_epi32((__m128i)v);
#endif
    return __builtin_convertvector(v, typename Vec<N>::i);
}
template <int N>
inline void store(uint8_t *p, typename Vec<N>::i v) {
    typename Vec<N>::b low;
#ifdef __AVX512F__
    if constexpr (N == 16)
        low = (typename Vec<N>::b)_mm512_cvtepi32_epi8((__m512i)v);
    else
#endif
        low = __builtin_convertvector(v, typename Vec<N>::b);
    memcpy(p, &low, sizeof low);
}
inline float sum(vf v) {
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += v[lane];
    return total;
}

struct Cut {  // of a frame of `size` numbers into slices of whole periods
    long size, period, count;
    Cut(long size, long period) : size(size), period(period) {
        long periods = size / period;
        count = size / SLICE;
        count = count < 1 ? 1 : count > periods ? periods : count;
    }
    long begin(long slice) const { return size / period * slice / count * period; }
};

// Both parts of the work on each slice of each frame, the second after the first is done for the whole frame and still in the cache.
template <class First, class Second>
void by_frames(long n, const Cut &cut, First first, Second second) {
#pragma omp parallel if (n * cut.count > 1)
    if (cut.count == 1) {
#pragma omp for schedule(static)
        for (long frame = 0; frame < n; frame++) first(frame, 0), second(frame, 0);
    } else {
        for (long frame = 0; frame < n; frame++) {
#pragma omp for schedule(static)
            for (long slice = 0; slice < cut.count; slice++) first(frame, slice);
#pragma omp for schedule(static)
            for (long slice = 0; slice < cut.count; slice++) second(frame, slice);
        }
    }
}

struct Moments {
    float count, mean, m2;
};

Moments joined(const Moments &a, const Moments &b) {  // Chan's formula
    float n = a.count + b.count, d = b.mean - a.mean;
    return {n, a.mean + d * b.count / n, a.m2 + b.m2 + d * d * a.count * b.count / n};
}

template <class T>
Moments moments(const T *x, long size) {
    constexpr long BLOCK = 4096;  // read twice, the second time from the first-level cache
    Moments all = {};
    for (long start = 0; start < size; start += BLOCK) {
        long end = start + BLOCK < size ? start + BLOCK : size;
        vf total[4] = {}, square[4] = {};
        for (long i = start; i < end; i += WIDE)
            for (int k = 0; k < 4; k++) total[k] += load<LANES>(x + i + k * LANES);
        float mean = sum((total[0] + total[1]) + (total[2] + total[3])) / (end - start);
        for (long i = start; i < end; i += WIDE)
            for (int k = 0; k < 4; k++) {
                vf d = load<LANES>(x + i + k * LANES) - mean;
                square[k] += d * d;
            }
        Moments block = {(float)(end - start), mean, sum((square[0] + square[1]) + (square[2] + square[3]))};
        all = start ? joined(all, block) : block;
    }
    return all;
}

// (channels) repeated to whole loops.
std::vector<float> repeated(const float *values, long channels, long period) {
    std::vector<float> wide(period);
    for (long i = 0; i < period; i++) wide[i] = values[i % channels];
    return wide;
}

long period_of(long channels) {
    long period = channels;
    while (period % WIDE) period += channels;
    return period;
}

// stats: (n, 2) mean and 1 / standard deviation.
template <class T>
void norm(const T *x, const float *gains, const float *shifts, T *out, float *stats, long n, long size, long channels,
          float epsilon) {
    long period = period_of(channels);
    Cut cut(size, period);
    auto wide_gain = repeated(gains, channels, period), wide_shift = repeated(shifts, channels, period);
    const float *gain = wide_gain.data(), *shift = wide_shift.data();
    std::vector<Moments> scratch(n * cut.count);
    by_frames(
        n, cut,
        [&](long frame, long slice) {
            long from = cut.begin(slice), to = cut.begin(slice + 1);
            scratch[frame * cut.count + slice] = moments(x + frame * size + from, to - from);
        },
        [&](long frame, long slice) {
            Moments all = scratch[frame * cut.count];
            for (long part = 1; part < cut.count; part++) all = joined(all, scratch[frame * cut.count + part]);
            float scale = 1 / std::sqrt(all.m2 / size + epsilon);
            if (slice == 0) stats[2 * frame] = all.mean, stats[2 * frame + 1] = scale;
            for (long at = frame * size + cut.begin(slice), end = frame * size + cut.begin(slice + 1); at < end;
                 at += period)
                for (long j = 0; j < period; j += WIDE)
                    for (int k = 0; k < 4; k++) {
                        long lane = j + k * LANES;
                        vf normal = (load<LANES>(x + at + lane) - all.mean) * scale;
                        store<LANES>(out + at + lane, normal * load<LANES>(gain + lane) + load<LANES>(shift + lane));
                    }
        });
}

// The gradient of x, plus `plus` where given, and with `relu` zero where x is not positive; x is what the norm saw.
// d_gain, d_shift: (channels).
template <class T>
void norm_backward(const T *grad, const T *x, const float *gains, const float *stats, const T *plus, T *out, float *d_gain,
                   float *d_shift, long n, long size, long channels, int relu) {
    long period = period_of(channels);
    Cut cut(size, period);
    auto wide = repeated(gains, channels, period);
    const float *gain = wide.data();
    // (n * slices, 2, period): sums of the gradient, and of the gradient times the normal numbers
    std::vector<float> sums_of_slices(n * cut.count * 2 * period);
    float *scratch = sums_of_slices.data();
    by_frames(
        n, cut,
        [&](long frame, long slice) {
            float mean = stats[2 * frame], scale = stats[2 * frame + 1];
            float *sums = scratch + (frame * cut.count + slice) * 2 * period;
            for (long j = 0; j < period; j += WIDE) {
                vf plain[4] = {}, normal[4] = {};
                for (long at = frame * size + cut.begin(slice) + j, end = frame * size + cut.begin(slice + 1); at < end;
                     at += period)
                    for (int k = 0; k < 4; k++) {
                        vf g = load<LANES>(grad + at + k * LANES);
                        plain[k] += g;
                        normal[k] += g * ((load<LANES>(x + at + k * LANES) - mean) * scale);
                    }
                for (int k = 0; k < 4; k++) {
                    store<LANES>(sums + j + k * LANES, plain[k]);
                    store<LANES>(sums + period + j + k * LANES, normal[k]);
                }
            }
        },
        [&](long frame, long slice) {
            float mean = stats[2 * frame], scale = stats[2 * frame + 1];
            vf plain = {}, normal = {};
            for (long part = frame * cut.count; part < (frame + 1) * cut.count; part++)
                for (long j = 0; j < period; j += LANES) {
                    vf g = load<LANES>(gain + j);
                    plain += g * load<LANES>(scratch + part * 2 * period + j);
                    normal += g * load<LANES>(scratch + (part * 2 + 1) * period + j);
                }
            float first = sum(plain) / size, second = sum(normal) / size;
            for (long at = frame * size + cut.begin(slice), end = frame * size + cut.begin(slice + 1); at < end;
                 at += period)
                for (long j = 0; j < period; j += WIDE)
                    for (int k = 0; k < 4; k++) {
                        long lane = j + k * LANES;
                        vf seen = load<LANES>(x + at + lane);
                        vf d = (load<LANES>(grad + at + lane) * load<LANES>(gain + lane) - first -
                                (seen - mean) * scale * second) * scale;
                        if (plus) d += load<LANES>(plus + at + lane);
                        if (relu) d = seen > 0 ? d : vf{};
                        store<LANES>(out + at + lane, d);
                    }
        });
    for (long c = 0; c < channels; c++) {
        d_shift[c] = d_gain[c] = 0;
        for (long part = 0; part < n * cut.count; part++)
            for (long lane = c; lane < period; lane += channels) {
                d_shift[c] += scratch[part * 2 * period + lane];
                d_gain[c] += scratch[(part * 2 + 1) * period + lane];
            }
    }
}

// Columns `begin` .. `end` of a row of relu(max-pool): of three lines `from` .. `to`, and of three columns FIRST .. LAST.
template <class T, int N, int FIRST, int LAST>
inline void pool_row(const T *lines, T *out, uint8_t *which, long begin, long end, int from, int to, long width,
                     long channels) {
    typedef typename Vec<N>::f f;
    typedef typename Vec<N>::i i;
    for (long column = begin; column < end; column++)
        for (long c = 0; c < channels; c += N) {
            f best = {}, poison = {};  // a NaN or an infinity makes the output a NaN
            i winner = (i){} + 9;
            const T *line = lines + (from * width + 2 * column - 1) * channels + c;
            for (int y = from; y <= to; y++, line += width * channels) {
#pragma GCC unroll 3
                for (int x = FIRST; x <= LAST; x++) {
                    f v = load<N>(line + x * channels);
                    winner = v > best ? (i){} + (3 * y + x) : winner;
                    best = v > best ? v : best;
                    poison += v * 0;
                }
            }
            store<N>(out + column * channels + c, best + poison);
            if (which) store<N>(which + column * channels + c, winner);
        }
}

// relu(max-pool 3, stride 2, pad 1) of (n, height, width, channels). which: the winner's place among its nine, 9 where none is positive.
template <class T, int N>
void pool(const T *x, T *out, uint8_t *which, long n, long height, long width, long channels) {
    long rows = (height + 1) / 2, columns = (width + 1) / 2;
#pragma omp parallel for schedule(static)
    for (long row = 0; row < n * rows; row++) {
        long top = row % rows * 2 - 1;
        int from = top < 0, to = top + 2 < height ? 2 : 1;
        const T *lines = x + (row / rows * height + top) * width * channels;
        T *line = out + row * columns * channels;
        uint8_t *places = which ? which + row * columns * channels : nullptr;
        long open = width / 2;  // columns from here on have no third one
        if (open)
            pool_row<T, N, 1, 2>(lines, line, places, 0, 1, from, to, width, channels);
        else
            pool_row<T, N, 1, 1>(lines, line, places, 0, 1, from, to, width, channels);
        pool_row<T, N, 0, 2>(lines, line, places, 1, open, from, to, width, channels);
        if (open) pool_row<T, N, 0, 1>(lines, line, places, open, columns, from, to, width, channels);
    }
}

// A line of the gradient, from the MANY rows of the output whose windows it is in; `place`: of the line in these windows, times three.
template <class T, int N, int MANY>
inline void pool_backward_line(const T *const *grad, const uint8_t *const *which, const int *place, T *out, long width,
                               long channels) {
    typedef typename Vec<N>::f f;
    typedef typename Vec<N>::i i;
    long columns = (width + 1) / 2;
    for (long c = 0; c < channels; c += N) {
        f g[MANY], next_g[MANY];
        i w[MANY], next_w[MANY];
        auto read = [&](long column) {
#pragma GCC unroll 2
            for (int r = 0; r < MANY; r++) {
                next_g[r] = load<N>(grad[r] + column * channels + c);
                next_w[r] = load<N>(which[r] + column * channels + c) - place[r];
            }
        };
        read(0);
        for (long column = 0; column < columns; column++) {
#pragma GCC unroll 2
            for (int r = 0; r < MANY; r++) g[r] = next_g[r], w[r] = next_w[r], next_w[r] = (i){} - 1;
            if (column + 1 < columns) read(column + 1);
            f even = {}, odd = {};
#pragma GCC unroll 2
            for (int r = 0; r < MANY; r++) {
                even += w[r] == 1 ? g[r] : f{};
                odd += w[r] == 2 ? g[r] : f{};
                odd += next_w[r] == 0 ? next_g[r] : f{};
            }
            T *at = out + 2 * column * channels + c;
            store<N>(at, even);
            if (2 * column + 1 < width) store<N>(at + channels, odd);
        }
    }
}

template <class T, int N>
void pool_backward(const T *grad, const uint8_t *which, T *out, long n, long height, long width, long channels) {
    long rows = (height + 1) / 2, row_size = (width + 1) / 2 * channels;
#pragma omp parallel for schedule(static)
    for (long line = 0; line < n * height; line++) {
        long y = line % height, row = line / height * rows + y / 2;
        bool two = y % 2 && y / 2 + 1 < rows;
        const T *grads[2] = {grad + row * row_size, grad + (row + 1) * row_size};
        const uint8_t *whiches[2] = {which + row * row_size, which + (row + 1) * row_size};
        int place[2] = {y % 2 ? 6 : 3, 0};
        (two ? pool_backward_line<T, N, 2> : pool_backward_line<T, N, 1>)(
            grads, whiches, place, out + line * width * channels, width, channels);
    }
}

template <class T>
void add(const T *a, const T *b, T *out, long size) {
#pragma omp parallel for schedule(static)
    for (long at = 0; at < size; at += LANES) store<LANES>(out + at, load<LANES>(a + at) + load<LANES>(b + at));
}

// The gradient where the ReLU's output is positive, else 0.
template <class T>
void relu_backward(const T *grad, const T *seen, T *out, long size) {
#pragma omp parallel for schedule(static)
    for (long at = 0; at < size; at += LANES)
        store<LANES>(out + at, load<LANES>(seen + at) > 0 ? load<LANES>(grad + at) : vf{});
}

}  // namespace

#define EXPORT(T, NAME)                                                                                                    \
    void norm_##NAME(const T *x, const float *gain, const float *shift, T *out, float *stats, long n, long size,           \
                     long channels, float epsilon) {                                                                       \
        norm(x, gain, shift, out, stats, n, size, channels, epsilon);                                                      \
    }                                                                                                                      \
    void norm_backward_##NAME(const T *grad, const T *x, const float *gain, const float *stats, const T *plus, T *out,     \
                              float *d_gain, float *d_shift, long n, long size, long channels, int relu) {                 \
        norm_backward(grad, x, gain, stats, plus, out, d_gain, d_shift, n, size, channels, relu);                          \
    }                                                                                                                      \
    void pool_##NAME(const T *x, T *out, uint8_t *which, long n, long height, long width, long channels) {                 \
        (channels % 16 ? pool<T, 8> : pool<T, 16>)(x, out, which, n, height, width, channels);                             \
    }                                                                                                                      \
    void pool_backward_##NAME(const T *grad, const uint8_t *which, T *out, long n, long height, long width,                \
                              long channels) {                                                                             \
        (channels % 16 ? pool_backward<T, 8> : pool_backward<T, 16>)(grad, which, out, n, height, width, channels);        \
    }                                                                                                                      \
    void add_##NAME(const T *a, const T *b, T *out, long size) { add(a, b, out, size); }                                   \
    void relu_backward_##NAME(const T *grad, const T *seen, T *out, long size) { relu_backward(grad, seen, out, size); }

extern "C" {
EXPORT(float, float32)
EXPORT(bf16, bfloat16)
}
