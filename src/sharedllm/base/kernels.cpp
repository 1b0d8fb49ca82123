// What a pass does between its products, each part of it in one go; `compiled_kernels.py` compiles this where a compiler is.
//
// What torch's operations round to the base's dtype on their way is rounded here, too. Nobody's numbers are read for
// another's answer, and a row's sums are grouped alike whoever else is there.

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

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

// Zeros to compute in. Nothing may be thrown out of threads, nor out of a library that C calls: where memory runs out it is
// noted, and whoever asked does nothing.
template <typename T>
inline std::unique_ptr<T[]> scratch(int64_t count, std::atomic<bool>& lacking) {
    std::unique_ptr<T[]> memory(new (std::nothrow) T[count]());
    if (!memory) lacking = true;
    return memory;
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

// One token of each request; WIDTH is 0 where it is known when this runs alone. Gives whether there was memory enough.
template <typename T, int64_t WIDTH>
bool attend(const T* query, int64_t head_row, int64_t token_row, const T* keys, const T* values, T* out, const Asked& asked) {
    using A = Wide<T>;
    const int64_t width = WIDTH ? WIDTH : asked.width, value_width = WIDTH ? WIDTH : asked.value_width;
    const int64_t group = asked.group, heads = asked.key_heads;
    std::atomic<bool> lacking(false);
#pragma omp parallel for collapse(2) schedule(dynamic) if (asked.requests * asked.longest * heads * group * width > FEW)
    for (int64_t request = 0; request < asked.requests; ++request) {
        for (int64_t head = 0; head < heads; ++head) {
            const int64_t token = asked.tokens[request], held = asked.held[request];
            const int64_t first = asked.window && held > asked.window ? held - asked.window : 0, count = held - first;
            const int64_t* places = asked.places + request * asked.longest + first;
            const T *own_keys = keys + head * width, *own_values = values + head * value_width;
            const auto memory = scratch<A>(group * (width + count), lacking);
            if (!memory) continue;
            A *queries = memory.get(), *scores = queries + group * width;
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
    return !lacking;
}

// Products of tokens' states with weights. Weights lie in panels of so many outputs, `[out / PANEL, in / DEPTH, PANEL,
// DEPTH]`: one token reads a panel from one end to the other, and many pass over a block of it while it is in the
// nearest cache (Goto and van de Geijn 2008). Each output of each token is one sum that begins with the first input and
// ends with the last, however many tokens there are.

#if defined(__AVX512F__)
constexpr int64_t NATIVE = 16, TOKENS = 12, FEW_TOKENS = TOKENS;
#else
// Of sixteen registers, twelve hold sums: those of three tokens in two panels, or of six tokens in one.
constexpr int64_t NATIVE = 8, TOKENS = 6, FEW_TOKENS = 3;
#endif
constexpr int64_t PANEL = 16, PARTS = PANEL / NATIVE;
// Of a panel, as much as half of the nearest cache; and how far before it is read it is fetched where it is read once.
constexpr int64_t BLOCK_BYTES = 18432, AHEAD_BYTES = 1024;

template <typename A>
using Native = typename Vector<A, NATIVE>::type;

template <typename V>
inline V loaded(const void* from) {
    V found;
    std::memcpy(&found, from, sizeof found);
    return found;
}
// Less nothing, which is the number itself, whatever it is.
inline Native<float> everywhere(float x) { return x - Native<float>{}; }

template <int64_t COUNT, int64_t WIDTH, typename Sum>
inline void add(const float* states, int64_t row, const Sum (&read)[WIDTH], Sum (&sums)[COUNT][WIDTH]) {
    for (int64_t token = 0; token < COUNT; ++token) {
        const Sum state = everywhere(states[token * row]);
        for (int64_t i = 0; i < WIDTH; ++i) sums[token][i] += state * read[i];
    }
}

// Each kind's `step` adds what DEPTH inputs give, which take BYTES of a panel, from panels that begin so many bytes apart.
// A block that is passed over more often than once is read in the kind that is called so.
struct InFloat32 {
    using State = float;
    using Sum = Native<float>;
    using Often = InFloat32;
    static constexpr int64_t DEPTH = 1, BYTES = PANEL * sizeof(float);

    template <int64_t COUNT, int64_t WIDTH>
    static inline void step(
        const float* states, int64_t row, const char* weights, int64_t apart, Sum (&sums)[COUNT][WIDTH]) {
        Sum read[WIDTH];
        for (int64_t i = 0; i < WIDTH; ++i) read[i] = loaded<Sum>(weights + i / PARTS * apart + i % PARTS * sizeof(Sum));
        add(states, row, read, sums);
    }
};

// Two inputs of an output side by side are one number whose lower half is the first and whose upper half is the second.
struct InBfloat16 {
    using State = float;
    using Sum = Native<float>;
    using Often = InBfloat16;
    static constexpr int64_t DEPTH = 2, BYTES = PANEL * DEPTH * sizeof(bfloat16);

    template <int64_t COUNT, int64_t WIDTH>
    static inline void step(
        const float* states, int64_t row, const char* weights, int64_t apart, Sum (&sums)[COUNT][WIDTH]) {
        using Pairs = Native<std::uint32_t>;
        Sum read[WIDTH];
        auto pairs = [=](int64_t i) { return loaded<Pairs>(weights + i / PARTS * apart + i % PARTS * sizeof(Pairs)); };
        for (int64_t i = 0; i < WIDTH; ++i) read[i] = (Sum)(pairs(i) << 16);
        add(states, row, read, sums);
        for (int64_t i = 0; i < WIDTH; ++i) read[i] = (Sum)(pairs(i) & 0xffff0000u);
        add(states + 1, row, read, sums);
    }
};

// Numbers that lie on a grid of their own in every block of 32 inputs of an output, as files of four and eight bits have
// them: its step, its lowest number, and for each input its level, two of them in a byte where four bits are enough. Steps
// and lowest numbers come before a block's levels.
template <int64_t BITS>
struct OnGrids {
    using State = float;
    using Sum = Native<float>;
    using Often = InFloat32;
    static constexpr int64_t DEPTH = 32, HEAD = 2 * PANEL * sizeof(float), BYTES = HEAD + DEPTH * PANEL * BITS / 8;
    using Bytes = typename Vector<std::uint8_t, NATIVE>::type;
    using Whole = Native<std::int32_t>;

    static inline Whole bytes(const char* from) {
#if defined(__AVX512F__)
        return (Whole)_mm512_cvtepu8_epi32(loaded<__m128i>(from));
#elif defined(__AVX2__)
        return (Whole)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
        return __builtin_convertvector(loaded<Bytes>(from), Whole);
#endif
    }

    // The weights of a pair of inputs.
    static inline void read(const char* block, int64_t pair, int64_t part, Sum& first, Sum& second) {
        const char* from = block + HEAD + pair * PANEL * BITS / 4 + part * NATIVE;
        const Whole even = bytes(from), odd = BITS == 4 ? even >> 4 : bytes(from + PANEL);
        const Sum step = loaded<Sum>(block + part * sizeof(Sum));
        const Sum low = loaded<Sum>(block + HEAD / 2 + part * sizeof(Sum));
        first = __builtin_convertvector(BITS == 4 ? even & 15 : even, Sum) * step + low;
        second = __builtin_convertvector(odd, Sum) * step + low;
    }

    template <int64_t COUNT, int64_t WIDTH>
    static inline void step(
        const float* states, int64_t row, const char* weights, int64_t apart, Sum (&sums)[COUNT][WIDTH]) {
        for (int64_t pair = 0; pair < DEPTH / 2; ++pair)
            for (int64_t i = 0; i < WIDTH; ++i) {
                Sum first, second;
                read(weights + i / PARTS * apart, pair, i % PARTS, first, second);
                for (int64_t token = 0; token < COUNT; ++token) {
                    const float* own = states + token * row + 2 * pair;
                    sums[token][i] += everywhere(own[0]) * first;
                    sums[token][i] += everywhere(own[1]) * second;
                }
            }
    }

    // So many inputs of a panel, as `InFloat32` has them.
    static inline void write(const char* weights, int64_t inputs, char* to) {
        for (; inputs > 0; inputs -= DEPTH, weights += BYTES)
            for (int64_t pair = 0; pair < DEPTH / 2; ++pair, to += 2 * InFloat32::BYTES)
                for (int64_t part = 0; part < PARTS; ++part) {
                    Sum both[2];
                    read(weights, pair, part, both[0], both[1]);
                    std::memcpy(to + part * sizeof(Sum), &both[0], sizeof(Sum));
                    std::memcpy(to + InFloat32::BYTES + part * sizeof(Sum), &both[1], sizeof(Sum));
                }
    }
};

// Weights in eight bits and states in as many, which are held in sixteen: what two inputs give is added up without a sign
// being lost or a sum cut off.
struct InInt8 {
    using State = std::int16_t;
    using Sum = Native<std::int32_t>;
    using Often = InInt8;
    using Pairs = typename Vector<std::int16_t, 2 * NATIVE>::type;
    static constexpr int64_t DEPTH = 2, BYTES = PANEL * DEPTH;

    // What compilers make of the same loops takes twice as many instructions.
#if defined(__AVX512BW__)
    static inline Pairs signed_from(const char* from) {
        return (Pairs)_mm512_cvtepi8_epi16(loaded<__m256i>(from));
    }
    static inline Sum products(const Pairs& left, const Pairs& right) {
        return (Sum)_mm512_madd_epi16((__m512i)left, (__m512i)right);
    }
#elif defined(__AVX2__)
    static inline Pairs signed_from(const char* from) {
        return (Pairs)_mm256_cvtepi8_epi16(loaded<__m128i>(from));
    }
    static inline Sum products(const Pairs& left, const Pairs& right) {
        return (Sum)_mm256_madd_epi16((__m256i)left, (__m256i)right);
    }
#else
    static inline Pairs signed_from(const char* from) {
        return __builtin_convertvector(loaded<typename Vector<std::int8_t, 2 * NATIVE>::type>(from), Pairs);
    }
    static inline Sum products(const Pairs& left, const Pairs& right) {
        Sum found;
        for (int64_t i = 0; i < NATIVE; ++i) found[i] = left[2 * i] * right[2 * i] + left[2 * i + 1] * right[2 * i + 1];
        return found;
    }
#endif

    template <int64_t COUNT, int64_t WIDTH>
    static inline void step(
        const State* states, int64_t row, const char* weights, int64_t apart, Sum (&sums)[COUNT][WIDTH]) {
        Pairs read[WIDTH];
        for (int64_t i = 0; i < WIDTH; ++i)
            read[i] = signed_from(weights + i / PARTS * apart + i % PARTS * NATIVE * DEPTH);
        for (int64_t token = 0; token < COUNT; ++token) {
            const Pairs state = (Pairs)(loaded<std::int32_t>(states + token * row) - Sum{});
            for (int64_t i = 0; i < WIDTH; ++i) sums[token][i] += products(state, read[i]);
        }
    }
};

// Sums over a block of inputs, which go on where those of the block before have ended.
template <typename Kind, int64_t COUNT, int64_t WIDTH>
void pass(const typename Kind::State* states, int64_t row, const char* weights, int64_t apart, int64_t inputs,
    typename Kind::Sum* kept, bool first, int64_t ahead) {
    typename Kind::Sum sums[COUNT][WIDTH];
    for (int64_t token = 0; token < COUNT; ++token)
        for (int64_t i = 0; i < WIDTH; ++i) sums[token][i] = first ? typename Kind::Sum{} : kept[token * WIDTH + i];
    for (int64_t i = 0; i < inputs; i += Kind::DEPTH) {
        const char* own = weights + i / Kind::DEPTH * Kind::BYTES;
        if (ahead)
            for (int64_t panel = 0; panel < WIDTH / PARTS; ++panel)
                for (int64_t line = 0; line < Kind::BYTES; line += 64)
                    __builtin_prefetch(own + panel * apart + ahead + line);
        Kind::template step<COUNT, WIDTH>(states + i, row, own, apart, sums);
    }
    for (int64_t token = 0; token < COUNT; ++token)
        for (int64_t i = 0; i < WIDTH; ++i) kept[token * WIDTH + i] = sums[token][i];
}

template <typename Kind, int64_t WIDTH, int64_t COUNT>
inline void pass_of(int64_t count, const typename Kind::State* states, int64_t row, const char* weights, int64_t apart,
    int64_t inputs, typename Kind::Sum* kept, bool first, int64_t ahead) {
    if (count == COUNT)
        pass<Kind, COUNT, WIDTH>(states, row, weights, apart, inputs, kept, first, ahead);
    else if constexpr (COUNT > 1)
        pass_of<Kind, WIDTH, COUNT - 1>(count, states, row, weights, apart, inputs, kept, first, ahead);
}

// All tokens over a block of inputs, of which the first pass fetches what comes so many bytes ahead.
template <typename Kind, int64_t WIDTH, int64_t MOST>
inline void over(const typename Kind::State* states, int64_t tokens, int64_t row, const char* weights, int64_t apart,
    int64_t inputs, typename Kind::Sum* kept, bool first, int64_t ahead) {
    const int64_t passes = (tokens + MOST - 1) / MOST;
    for (int64_t number = 0; number < passes; ++number) {
        // As many in each as in the others.
        const int64_t token = tokens * number / passes, count = tokens * (number + 1) / passes - token;
        pass_of<Kind, WIDTH, MOST>(count, states + token * row, row, weights, apart, inputs, kept + token * WIDTH, first,
            number ? 0 : ahead);
    }
}

// More inputs of the same outputs, with weights in single precision: what they give is added last. None by default.
struct Beside {
    const float* states = nullptr;
    const char* weights = nullptr;
    int64_t inputs = 0;
};

// So many panels side by side, from one on; `put` as in `multiply`.
template <typename Kind, int64_t SIDE, int64_t MOST, typename Put>
inline void panels(const typename Kind::State* states, const char* weights, const Beside& beside, int64_t tokens,
    int64_t inputs, int64_t outputs, int64_t panel, typename Kind::Sum* kept, const Put& put) {
    using Often = typename Kind::Often;
    constexpr int64_t WIDTH = SIDE * PARTS, BLOCK = BLOCK_BYTES / Often::BYTES * Often::DEPTH;
    const int64_t passes = (tokens + MOST - 1) / MOST, block = passes > 1 ? BLOCK : inputs;
    for (int64_t begin = 0; begin < inputs; begin += block) {
        const int64_t here = inputs - begin < block ? inputs - begin : block;
        const char* own = weights + (panel * inputs + begin) / Kind::DEPTH * Kind::BYTES;
        int64_t apart = inputs / Kind::DEPTH * Kind::BYTES;
        if constexpr (!std::is_same_v<Kind, Often>) {
            static_assert(BLOCK % Kind::DEPTH == 0);
            if (passes > 1) {
                alignas(64) char written[SIDE * BLOCK_BYTES];
                for (int64_t side = 0; side < SIDE; ++side)
                    Kind::write(own + side * apart, here, written + side * BLOCK_BYTES);
                over<Often, WIDTH, MOST>(states + begin, tokens, inputs, written, BLOCK_BYTES, here, kept, begin == 0, 0);
                continue;
            }
        }
        // What the first pass fetches is the next block, for the others to find this one.
        const int64_t ahead = passes > 1 ? here / Kind::DEPTH * Kind::BYTES : AHEAD_BYTES;
        over<Kind, WIDTH, MOST>(states + begin, tokens, inputs, own, apart, here, kept, begin == 0, ahead);
    }
    if constexpr (std::is_same_v<typename Kind::State, float>)
        if (beside.inputs) {
            const int64_t apart = beside.inputs * InFloat32::BYTES;
            over<InFloat32, WIDTH, MOST>(beside.states, tokens, beside.inputs, beside.weights + panel * apart, apart,
                beside.inputs, kept, false, 0);
        }
    for (int64_t token = 0; token < tokens; ++token)
        for (int64_t i = 0; i < WIDTH; ++i) {
            const int64_t output = panel * PANEL + i * NATIVE, left = outputs - output;
            if (left > 0) put(token, output, kept[token * WIDTH + i], left < NATIVE ? left : NATIVE);
        }
}

// `put(token, output, sums, count)` is given the sums of so many outputs of a token, from one on. Gives whether there was
// memory enough.
template <typename Kind, typename Put>
bool multiply(const typename Kind::State* states, const char* weights, const Beside& beside, int64_t tokens,
    int64_t inputs, int64_t outputs, Put put) {
    const int64_t count = (outputs + PANEL - 1) / PANEL;
    std::atomic<bool> lacking(false);
#pragma omp parallel if (tokens * inputs * outputs > FEW)
    {
        const auto memory = scratch<typename Kind::Sum>(tokens * 2 * PARTS, lacking);
        auto* kept = memory.get();
#pragma omp for
        for (int64_t panel = 0; panel < count; panel += 2) {
            if (!kept) continue;
            if (tokens <= FEW_TOKENS || FEW_TOKENS == TOKENS) {
                if (panel + 1 < count)
                    panels<Kind, 2, FEW_TOKENS>(states, weights, beside, tokens, inputs, outputs, panel, kept, put);
                else
                    panels<Kind, 1, FEW_TOKENS>(states, weights, beside, tokens, inputs, outputs, panel, kept, put);
            } else {
                for (int64_t own = panel; own < count && own < panel + 2; ++own)
                    panels<Kind, 1, TOKENS>(states, weights, beside, tokens, inputs, outputs, own, kept, put);
            }
        }
    }
    return !lacking;
}

// States in single precision, so many of each token: zeros where there are fewer.
template <typename T>
inline const float* widened(const T* states, int64_t tokens, int64_t inputs, int64_t row, std::unique_ptr<float[]>& memory,
    std::atomic<bool>& lacking) {
    if constexpr (std::is_same_v<T, float>)
        if (row == inputs) return states;
    memory = scratch<float>(tokens * row, lacking);
    if (lacking) return nullptr;
    for (int64_t token = 0; token < tokens; ++token)
        for (int64_t i = 0; i < inputs; ++i) memory[token * row + i] = wide(states[token * inputs + i]);
    return memory.get();
}

template <typename Kind, typename T>
bool product(const T* states, const char* weights, const T* bias, T* out, int64_t tokens, int64_t inputs,
    int64_t outputs, const Beside& beside = {}) {
    std::unique_ptr<float[]> memory;
    std::atomic<bool> lacking(false);
    const int64_t row = (inputs + Kind::DEPTH - 1) / Kind::DEPTH * Kind::DEPTH;
    const float* from = widened(states, tokens, inputs, row, memory, lacking);
    return !lacking && multiply<Kind>(from, weights, beside, tokens, row, outputs,
        [=](int64_t token, int64_t output, const Native<float>& sums, int64_t count) {
            T* to = out + token * outputs + output;
            for (int64_t i = 0; i < count; ++i) to[i] = narrow<T>(bias ? sums[i] + wide(bias[output + i]) : sums[i]);
        });
}

// Of each token states times `narrower` as whole numbers of steps of its own, of which 127 are its largest; see
// `int8_weights.py`. Steps of what is no number are none, and so is whatever is multiplied by them.
template <typename T>
void rounded_states(const T* states, const float* narrower, std::int16_t* levels, float* sizes, int64_t tokens,
    int64_t inputs, int64_t row) {
#pragma omp parallel for if (tokens * inputs > FEW)
    for (int64_t token = 0; token < tokens; ++token) {
        const T* in = states + token * inputs;
        std::int16_t* to = levels + token * row;
        // As whole numbers what is larger has larger bits, and what is no number has the largest.
        std::uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
        for (int64_t i = 0; i < inputs; ++i) {
            const float given = std::fabs(float(wide(in[i])) * narrower[i]);
            std::uint32_t bits;
            std::memcpy(&bits, &given, sizeof bits);
            largest = bits > largest ? bits : largest;
        }
        float most;
        std::memcpy(&most, &largest, sizeof most);
        sizes[token] = most / 127.0f;
#pragma omp simd
        for (int64_t i = 0; i < inputs; ++i) {
            const float level = std::nearbyint(float(wide(in[i])) * narrower[i] / most * 127.0f);
            to[i] = std::int16_t(level > -127.0f ? (level < 127.0f ? level : 127.0f) : -127.0f);
        }
    }
}

template <typename T>
bool int8_product(const T* states, const float* narrower, const char* weights, const float* steps, const T* bias, T* out,
    int64_t tokens, int64_t inputs, int64_t outputs) {
    const int64_t row = inputs + inputs % InInt8::DEPTH;
    std::atomic<bool> lacking(false);
    const auto levels = scratch<std::int16_t>(tokens * row, lacking);
    const auto memory = scratch<float>(tokens, lacking);
    if (lacking) return false;
    rounded_states(states, narrower, levels.get(), memory.get(), tokens, inputs, row);
    const float* sizes = memory.get();
    return multiply<InInt8>(levels.get(), weights, {}, tokens, row, outputs,
        [=](int64_t token, int64_t output, const Native<std::int32_t>& sums, int64_t count) {
            T* to = out + token * outputs + output;
            for (int64_t i = 0; i < count; ++i) {
                const float product = float(sums[i]) * (sizes[token] * steps[output + i]);
                to[i] = narrow<T>(bias ? product + wide(bias[output + i]) : product);
            }
        });
}

}  // namespace

#define PRODUCT(Kind, T, name)                                                                                        \
    extern "C" bool name(const T* states, const char* weights, const T* bias, T* out, int64_t tokens, int64_t inputs, \
        int64_t outputs) {                                                                                            \
        return product<Kind>(states, weights, bias, out, tokens, inputs, outputs);                                    \
    }

PRODUCT(InFloat32, float, product_float32)
PRODUCT(InBfloat16, float, narrow_product_float32)
PRODUCT(InBfloat16, bfloat16, product_bfloat16)

extern "C" bool grids_product_float32(const float* states, const char* weights, const float* bias, const float* more,
    const char* beside, float* out, int64_t tokens, int64_t inputs, int64_t outputs, int64_t inputs_beside, int64_t bits) {
    const auto multiplied = bits == 4 ? product<OnGrids<4>, float> : product<OnGrids<8>, float>;
    return multiplied(states, weights, bias, out, tokens, inputs, outputs, {more, beside, inputs_beside});
}

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
    extern "C" bool attend_##name(const T* query, int64_t head_row, int64_t token_row, const T* keys,                 \
        const T* values, T* out, const int64_t* tokens, const int64_t* places, const int64_t* held,                   \
        int64_t requests, int64_t longest, int64_t key_heads, int64_t group, int64_t width, int64_t value_width,      \
        int64_t window, double scale) {                                                                               \
        Asked asked{                                                                                                  \
            tokens, places, held, requests, longest, key_heads, group, width, value_width, window, scale};            \
        auto attends = width != value_width ? attend<T, 0>                                                            \
            : width == 64                   ? attend<T, 64>                                                           \
            : width == 128                  ? attend<T, 128>                                                          \
                                            : attend<T, 0>;                                                           \
        return attends(query, head_row, token_row, keys, values, out, asked);                                         \
    }                                                                                                                 \
    extern "C" bool int8_product_##name(const T* states, const float* narrower, const char* weights,                  \
        const float* steps, const T* bias, T* out, int64_t tokens, int64_t inputs, int64_t outputs) {                 \
        return int8_product(states, narrower, weights, steps, bias, out, tokens, inputs, outputs);                    \
    }

KERNELS(bfloat16, bfloat16)
KERNELS(float, float32)
KERNELS(double, float64)
