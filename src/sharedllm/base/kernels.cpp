// What a pass does between its products, each part of it in one go; `compiled_kernels.py` compiles this where a compiler is.
//
// What torch's operations round to the base's dtype on their way is rounded here, too. Nobody's numbers are read for
// another's answer, and a row's sums are grouped alike whoever else is there.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using std::int64_t;

// To share less than this among threads takes longer than to compute it.
constexpr int64_t FEW = 1 << 15;
// Keys before it is its turn that one is fetched from memory.
constexpr int64_t AHEAD = 8;

struct bfloat16 {
    std::uint16_t bits;
};

inline float wide(bfloat16 x) {
    std::uint32_t bits = std::uint32_t(x.bits) << 16;
    float found;
    std::memcpy(&found, &bits, sizeof found);
    return found;
}
inline float wide(float x) { return x; }
inline double wide(double x) { return x; }

template <typename T>
using Wide = decltype(wide(T()));

template <typename T>
inline T narrow(Wide<T> x) {
    return x;
}
template <>
inline bfloat16 narrow<bfloat16>(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    // To the nearest, and of two to the even one; what is no number stays none.
    std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return {std::uint16_t(x != x ? 0x7fc0u : rounded)};
}

template <typename T>
inline Wide<T> rounded(Wide<T> x) {
    return wide(narrow<T>(x));
}

inline double exponential(double x) { return std::exp(x); }
// A library's own takes one number at a time (Cephes' `expf`: to a unit in the last place).
inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float whole = std::floor(x * 1.44269504088896341f + 0.5f);
    x = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    float power = 1.9875691500e-4f;
    power = power * x + 1.3981999507e-3f;
    power = power * x + 8.3334519073e-3f;
    power = power * x + 4.1665795894e-2f;
    power = power * x + 1.6666665459e-1f;
    power = power * x + 5.0000001201e-1f;
    power = power * x * x + x + 1.0f;
    std::int32_t bits = (std::int32_t(whole) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return power * scale;
}

// Numbers that are computed with at once, however many of them a processor takes.
constexpr int64_t LANES = 16;
template <typename A, int64_t COUNT>
struct Vector {
    typedef A type __attribute__((vector_size(COUNT * sizeof(A))));
};
template <typename A>
using Lanes = typename Vector<A, LANES>::type;

template <typename A>
inline Lanes<A> load(const A* from) {
    Lanes<A> found;
    std::memcpy(&found, from, sizeof found);
    return found;
}
inline Lanes<float> load(const bfloat16* from) {
    typename Vector<std::uint16_t, LANES>::type narrow;
    std::memcpy(&narrow, from, sizeof narrow);
    auto bits = __builtin_convertvector(narrow, Lanes<std::uint32_t>) << 16;
    return (Lanes<float>)bits;
}

template <typename A, int64_t COUNT>
inline A total(const typename Vector<A, COUNT>::type& numbers) {
    if constexpr (COUNT == 1) {
        return numbers[0];
    } else {
        typename Vector<A, COUNT / 2>::type low, high;
        std::memcpy(&low, &numbers, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char*>(&numbers) + sizeof low, sizeof high);
        return total<A, COUNT / 2>(low + high);
    }
}

// RMSNorm as transformers has it: in single precision, whatever the states are.
template <typename T>
void norm(const T* states, const T* gain, T* out, int64_t rows, int64_t width, double epsilon) {
#pragma omp parallel for if (rows * width > FEW)
    for (int64_t row = 0; row < rows; ++row) {
        const T* in = states + row * width;
        T* to = out + row * width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; ++i) sum += float(wide(in[i])) * float(wide(in[i]));
        float scale = 1.0f / std::sqrt(sum / float(width) + float(epsilon));
#pragma omp simd
        for (int64_t i = 0; i < width; ++i)
            to[i] = narrow<T>(wide(gain[i]) * rounded<T>(float(wide(in[i])) * scale));
    }
}

// Queries, keys and values of a pass's tokens, from where a product has left them, each row of which begins so many
// numbers after the one before: queries and keys turned by their positions (Su et al. 2021, the two halves of a head
// being the parts of its complex numbers) as transformers rounds it, queries side by side, and the rest in the cache.
template <typename T>
void rotate(const T* query, int64_t query_row, const T* key, int64_t key_row, const T* value, int64_t value_row,
    const T* cosines, const T* sines, const int64_t* written, T* queries, T* keys, T* values, int64_t tokens,
    int64_t heads, int64_t key_heads, int64_t width, int64_t value_width) {
    const int64_t half = width / 2;
#pragma omp parallel for if (tokens * heads * width > FEW)
    for (int64_t token = 0; token < tokens; ++token) {
        const T *cosine = cosines + token * width, *sine = sines + token * width;
        for (int64_t head = 0; head < heads + key_heads; ++head) {
            const bool asks = head < heads;
            const int64_t own = asks ? head : head - heads;
            const T* from = asks ? query + token * query_row + own * width : key + token * key_row + own * width;
            T* to = asks ? queries + (token * heads + own) * width : keys + (written[token] * key_heads + own) * width;
#pragma omp simd
            for (int64_t i = 0; i < half; ++i) {
                const Wide<T> left = wide(from[i]), right = wide(from[i + half]);
                to[i] = narrow<T>(rounded<T>(left * wide(cosine[i])) - rounded<T>(right * wide(sine[i])));
                to[i + half] =
                    narrow<T>(rounded<T>(right * wide(cosine[i + half])) + rounded<T>(left * wide(sine[i + half])));
            }
        }
        std::memcpy(values + written[token] * key_heads * value_width, value + token * value_row,
            key_heads * value_width * sizeof(T));
    }
}

// Who attends to what: see `Singles` in serving/attention/metadata.py.
struct Asked {
    const int64_t* tokens;
    const int64_t* places;
    const int64_t* held;
    int64_t requests, longest, key_heads, group, width, value_width, window;
    double scale;
};

// Products of a key with the queries, each of so many numbers, of the heads that share it.
template <typename T>
inline void score(const Wide<T>* queries, const T* key, int64_t width, int64_t group, Wide<T>* scores, int64_t row) {
    for (int64_t g = 0; g < group; ++g) {
        Lanes<Wide<T>> sums = {};
        Wide<T> rest = 0;
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES) sums += load(queries + g * width + i) * load(key + i);
        for (; i < width; ++i) rest += queries[g * width + i] * wide(key[i]);
        scores[g * row] = total<Wide<T>, LANES>(sums) + rest;
    }
}

// The sum of weighted values, COUNT numbers of each, which are in so many LANES or fewer than one of them.
template <typename T, int64_t COUNT>
inline void mix(const Wide<T>* weights, const T* values, const int64_t* places, int64_t row, int64_t count, T* out) {
    using A = Wide<T>;
    constexpr int64_t LANE = COUNT < LANES ? 1 : COUNT / LANES;
    Lanes<A> sums[LANE] = {};
    A numbers[LANE * LANES] = {};
    for (int64_t k = 0; k < count; ++k) {
        const T* value = values + places[k] * row;
        if constexpr (COUNT < LANES) {
            for (int64_t i = 0; i < COUNT; ++i) numbers[i] += weights[k] * wide(value[i]);
        } else {
            for (int64_t lane = 0; lane < LANE; ++lane) sums[lane] += weights[k] * load(value + lane * LANES);
        }
    }
    if constexpr (COUNT >= LANES) std::memcpy(numbers, sums, sizeof sums);
    for (int64_t i = 0; i < COUNT; ++i) out[i] = narrow<T>(numbers[i]);
}

template <typename T>
inline void fetch(const T* from, int64_t count) {
    for (int64_t i = 0; i < count; i += 64 / int64_t(sizeof(T))) __builtin_prefetch(from + i);
}

// One token of each request; WIDTH is 0 where it is known when this runs alone.
template <typename T, int64_t WIDTH>
void attend(const T* query, int64_t head_row, int64_t token_row, const T* keys, const T* values, T* out, const Asked& asked) {
    using A = Wide<T>;
    const int64_t width = WIDTH ? WIDTH : asked.width, value_width = WIDTH ? WIDTH : asked.value_width;
    const int64_t group = asked.group, heads = asked.key_heads;
#pragma omp parallel for collapse(2) schedule(dynamic) if (asked.requests * asked.longest * heads * group * width > FEW)
    for (int64_t request = 0; request < asked.requests; ++request) {
        for (int64_t head = 0; head < heads; ++head) {
            const int64_t token = asked.tokens[request], held = asked.held[request];
            const int64_t first = asked.window && held > asked.window ? held - asked.window : 0, count = held - first;
            const int64_t* places = asked.places + request * asked.longest + first;
            const T *own_keys = keys + head * width, *own_values = values + head * value_width;
            std::vector<A> memory(group * (width + count));
            A *queries = memory.data(), *scores = queries + group * width;
            for (int64_t g = 0; g < group; ++g) {
                const T* from = query + (head * group + g) * head_row + token * token_row;
                for (int64_t i = 0; i < width; ++i) queries[g * width + i] = wide(from[i]) * A(asked.scale);
            }
            for (int64_t k = 0; k < count; ++k) {
                // Pages lie apart, and a head's part of each place, too: nothing else would fetch them in time.
                const int64_t later = places[k + AHEAD < count ? k + AHEAD : k];
                fetch(own_keys + later * heads * width, width);
                fetch(own_values + places[k] * heads * value_width, value_width);
                score(queries, own_keys + places[k] * heads * width, width, group, scores + k, count);
            }
            for (int64_t g = 0; g < group; ++g) {
                A* mine = scores + g * count;
                A peak = mine[0], sum = 0;
                for (int64_t k = 1; k < count; ++k) peak = mine[k] > peak ? mine[k] : peak;
#pragma omp simd reduction(+ : sum)
                for (int64_t k = 0; k < count; ++k) sum += mine[k] = exponential(mine[k] - peak);
                for (int64_t k = 0; k < count; ++k) mine[k] /= sum;
                T* to = out + (token * heads * group + head * group + g) * value_width;
                int64_t i = 0;
                const int64_t row = heads * value_width;
                for (; i + 64 <= value_width; i += 64) mix<T, 64>(mine, own_values + i, places, row, count, to + i);
                for (; i + LANES <= value_width; i += LANES) mix<T, LANES>(mine, own_values + i, places, row, count, to + i);
                for (; i < value_width; ++i) mix<T, 1>(mine, own_values + i, places, row, count, to + i);
            }
        }
    }
}

}  // namespace

#define KERNELS(T, name)                                                                                              \
    extern "C" void norm_##name(                                                                                      \
        const T* states, const T* gain, T* out, int64_t rows, int64_t width, double epsilon) {                        \
        norm(states, gain, out, rows, width, epsilon);                                                                \
    }                                                                                                                 \
    extern "C" void rotate_##name(const T* query, int64_t query_row, const T* key, int64_t key_row, const T* value,   \
        int64_t value_row, const T* cosines, const T* sines, const int64_t* written, T* queries, T* keys, T* values,  \
        int64_t tokens, int64_t heads, int64_t key_heads, int64_t width, int64_t value_width) {                       \
        rotate(query, query_row, key, key_row, value, value_row, cosines, sines, written, queries, keys, values,      \
            tokens, heads, key_heads, width, value_width);                                                            \
    }                                                                                                                 \
    extern "C" void attend_##name(const T* query, int64_t head_row, int64_t token_row, const T* keys,                 \
        const T* values, T* out, const int64_t* tokens, const int64_t* places, const int64_t* held,                   \
        int64_t requests, int64_t longest, int64_t key_heads, int64_t group, int64_t width, int64_t value_width,      \
        int64_t window, double scale) {                                                                               \
        Asked asked{                                                                                                  \
            tokens, places, held, requests, longest, key_heads, group, width, value_width, window, scale};            \
        auto attends = width != value_width ? attend<T, 0>                                                            \
            : width == 64                   ? attend<T, 64>                                                           \
            : width == 128                  ? attend<T, 128>                                                          \
                                            : attend<T, 0>;                                                           \
        attends(query, head_row, token_row, keys, values, out, asked);                                                \
    }

KERNELS(bfloat16, bfloat16)
KERNELS(float, float32)
KERNELS(double, float64)
