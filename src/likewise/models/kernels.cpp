// What a step of training on a processor spends its time on beside convolutions, in as few passes over the pixels as there
// can be: batch norm with the sum of a residual block and the ReLU that follow it (two passes forward, for statistics and
// result, and two backward), and pooling of 2 x 2 pixels (one each way).
//
// Pixels are rows of channels (channels_last), bfloat16 or float32; the number of channels is a multiple of LANES. Sums
// are in float32 over the rows of a tile and in float64 beyond. The threads are those of torch, whose OpenMP is found when
// this library is loaded; each has its own tiles, and their sums are added in order, so that equal runs are equal.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

constexpr int LANES = 16;      // channels in a vector
constexpr int64_t TILE = 512;  // rows
using Float = float __attribute__((vector_size(4 * LANES)));
using Word = uint32_t __attribute__((vector_size(4 * LANES)));
using Int = int32_t __attribute__((vector_size(4 * LANES)));
using Half = uint16_t __attribute__((vector_size(2 * LANES)));

inline Float load(const float* from) {
  Float value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline Float load(const uint16_t* from) {
  Half half;
  std::memcpy(&half, from, sizeof half);
  return reinterpret_cast<Float>(__builtin_convertvector(half, Word) << 16);
}

inline void store(float* to, Float value) { std::memcpy(to, &value, sizeof value); }

inline void store(uint16_t* to, Float value) {  // the nearest bfloat16, ties to even
  const Word bits = reinterpret_cast<Word>(value);
  const Half half = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Half);
  std::memcpy(to, &half, sizeof half);
}

// A number that was loaded, which needs no rounding.
inline void store_exactly(float* to, Float value) { store(to, value); }

inline void store_exactly(uint16_t* to, Float value) {
  const Half half = __builtin_convertvector(reinterpret_cast<Word>(value) >> 16, Half);
  std::memcpy(to, &half, sizeof half);
}

inline Float rectified(Float value) { return value < 0.0f ? Float{} : value; }  // NaN stays: a broken run must show

inline Float where_positive(Float value, Float sign) { return sign <= 0.0f ? Float{} : value; }

// What is made of the normalised pixels n, and where a residual r is added.
enum What { NORM, RELU, RELU_OF_SUM, SUM_WITH_RELU };  // n, relu(n), relu(n + r), relu(n) + r

// Calls work(first row, rows, thread) for the tiles of all threads.
template <class Work>
void over_tiles(int64_t rows, Work work) {
  const int64_t tiles = (rows + TILE - 1) / TILE;
#pragma omp parallel for schedule(static)
  for (int64_t tile = 0; tile < tiles; ++tile)
    work(tile * TILE, std::min(TILE, rows - tile * TILE), omp_get_thread_num());
}

// Calls work(channel, count as a constant) for blocks of as many vectors of channels as fit into the registers.
template <class Work>
void over_channels(int64_t channels, Work work) {
  int64_t channel = 0;
  for (; channel + 4 * LANES <= channels; channel += 4 * LANES) work(channel, std::integral_constant<int, 4>());
  for (; channel < channels; channel += LANES) work(channel, std::integral_constant<int, 1>());
}

// Two sums for each channel over all rows: term(place, channel, first, second) adds what one row has for one vector.
template <class Term>
void sum_up(int64_t rows, int64_t channels, double* first, double* second, Term term) {
  const int threads = omp_get_max_threads();
  std::vector<double> partial(threads * 2 * channels, 0.0);
  over_tiles(rows, [&](int64_t row, int64_t count, int thread) {
    double* own = partial.data() + thread * 2 * channels;
    over_channels(channels, [&](int64_t channel, auto vectors) {
      Float one[vectors] = {}, other[vectors] = {};
      for (int64_t place = row * channels + channel; place < (row + count) * channels; place += channels)
        for (int v = 0; v < vectors; ++v) term(place + v * LANES, channel + v * LANES, one[v], other[v]);
      for (int v = 0; v < vectors; ++v)
        for (int lane = 0; lane < LANES; ++lane) {
          own[channel + v * LANES + lane] += one[v][lane];
          own[channels + channel + v * LANES + lane] += other[v][lane];
        }
    });
  });
  for (int64_t channel = 0; channel < channels; ++channel) {
    first[channel] = second[channel] = 0;
    for (int thread = 0; thread < threads; ++thread) {
      first[channel] += partial[thread * 2 * channels + channel];
      second[channel] += partial[thread * 2 * channels + channels + channel];
    }
  }
}

template <class Work>
void over_all(int64_t rows, int64_t channels, Work work) {
  over_tiles(rows, [&](int64_t row, int64_t count, int) {
    over_channels(channels, [&](int64_t channel, auto vectors) {
      for (int64_t place = row * channels + channel; place < (row + count) * channels; place += channels)
        for (int v = 0; v < vectors; ++v) work(place + v * LANES, channel + v * LANES);
    });
  });
}

// A normalised pixel is x * scale + offset, in both directions from the same numbers.
struct Line {
  std::vector<float> scale, offset;

  Line(const float* weight, const float* bias, const float* mean, const float* inverse, int64_t channels)
      : scale(channels), offset(channels) {
    for (int64_t c = 0; c < channels; ++c) {
      scale[c] = weight[c] * inverse[c];
      offset[c] = bias[c] - mean[c] * scale[c];
    }
  }

  Float operator()(Float x, int64_t c) const { return x * load(&scale[c]) + load(&offset[c]); }
};

// statistics [3][channels]: mean, 1 / deviation, variance.
template <class T, What what>
void forward(const T* x, const T* residual, T* y, const float* weight, const float* bias, float* statistics,
             int64_t rows, int64_t channels, double epsilon) {
  float *mean = statistics, *inverse = statistics + channels, *variance = statistics + 2 * channels;
  std::vector<double> first(channels), second(channels);
  std::vector<float> shift(channels);  // squares of numbers far from 0 would leave nothing of a small variance
  for (int64_t c = 0; c < channels; c += LANES) store(&shift[c], load(x + c));
  sum_up(rows, channels, first.data(), second.data(), [&](int64_t place, int64_t c, Float& one, Float& other) {
    const Float value = load(x + place) - load(&shift[c]);
    one += value;
    other += value * value;
  });
  for (int64_t c = 0; c < channels; ++c) {
    const double average = first[c] / rows, spread = second[c] / rows - average * average;
    mean[c] = float(shift[c] + average);
    variance[c] = float(spread < 0 ? 0 : spread);  // NaN stays
    inverse[c] = float(1 / std::sqrt(variance[c] + epsilon));
  }
  const Line line(weight, bias, mean, inverse, channels);
  over_all(rows, channels, [&](int64_t place, int64_t c) {
    Float value = line(load(x + place), c);
    if constexpr (what == RELU_OF_SUM) value += load(residual + place);
    if constexpr (what != NORM) value = rectified(value);
    if constexpr (what == SUM_WITH_RELU) value += load(residual + place);
    store(y + place, value);
  });
}

// gradients [2][channels]: of weight and bias. y is read, and passed, the gradient of the residual, is written for
// relu(n + r) only: elsewhere x tells where the ReLU was open, and the residual gets the gradient as it is.
template <class T, What what>
void backward(const T* gradient, const T* x, const T* y, T* result, T* passed, const float* weight, const float* bias,
              const float* statistics, float* gradients, int64_t rows, int64_t channels) {
  const float *mean = statistics, *inverse = statistics + channels;
  const Line line(weight, bias, mean, inverse, channels);
  const auto arriving = [&](int64_t place, int64_t c, Float pixel) {
    const Float value = load(gradient + place);
    if constexpr (what == NORM) return value;
    return where_positive(value, what == RELU_OF_SUM ? load(y + place) : line(pixel, c));
  };
  std::vector<double> first(channels), second(channels);
  sum_up(rows, channels, first.data(), second.data(), [&](int64_t place, int64_t c, Float& one, Float& other) {
    const Float pixel = load(x + place), value = arriving(place, c, pixel);
    one += value;
    other += value * (pixel - load(&mean[c]));
  });
  std::vector<float> of_x(channels), constant(channels);
  for (int64_t c = 0; c < channels; ++c) {
    gradients[c] = float(second[c] * inverse[c]);
    gradients[channels + c] = float(first[c]);
    of_x[c] = float(-line.scale[c] * (inverse[c] * double(inverse[c])) * second[c] / rows);
    constant[c] = float(-line.scale[c] * first[c] / rows - double(of_x[c]) * mean[c]);
  }
  over_all(rows, channels, [&](int64_t place, int64_t c) {
    const Float pixel = load(x + place), value = arriving(place, c, pixel);
    if constexpr (what == RELU_OF_SUM) store_exactly(passed + place, value);
    store(result + place, value * load(&line.scale[c]) + pixel * load(&of_x[c]) + load(&constant[c]));
  });
}

// The largest of 2 x 2 pixels, and the first of them that has it, as torch chooses: a later NaN counts as larger.
struct Largest {
  Float value;
  Int place;

  template <class T>
  Largest(const T* x, int64_t right, int64_t below) : value(load(x)), place{} {
    const int64_t steps[] = {right, below, below + right};
    for (int k = 0; k < 3; ++k) {
      const Float other = load(x + steps[k]);
      const Int larger = (other > value) | (other != other);
      value = larger ? other : value;
      place = larger ? Int{} + (k + 1) : place;
    }
  }
};

// Calls work(place of the result, place of the upper left pixel, from one line to the next) for 2 x 2 pixels each.
template <class Work>
void over_squares(int64_t images, int64_t height, int64_t width, int64_t channels, Work work) {
  const int64_t line = width * channels;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < images * height / 2; ++row)
    for (int64_t column = 0; column < width / 2; ++column)
      for (int64_t c = 0; c < channels; c += LANES)
        work((row * (width / 2) + column) * channels + c, 2 * row * line + 2 * column * channels + c, line);
}

template <class T>
void pool(const T* x, T* y, int64_t images, int64_t height, int64_t width, int64_t channels) {
  over_squares(images, height, width, channels, [&](int64_t to, int64_t from, int64_t line) {
    store_exactly(y + to, Largest(x + from, channels, line).value);
  });
}

template <class T>
void unpool(const T* gradient, const T* x, T* result, int64_t images, int64_t height, int64_t width, int64_t channels) {
  over_squares(images, height, width, channels, [&](int64_t from, int64_t to, int64_t line) {
    const Int place = Largest(x + to, channels, line).place;
    const Float value = load(gradient + from);
    const int64_t steps[] = {0, channels, line, line + channels};
    for (int k = 0; k < 4; ++k) store_exactly(result + to + steps[k], place == k ? value : Float{});
  });
}

template <class T>
constexpr decltype(&forward<T, NORM>) FORWARD[] = {forward<T, NORM>, forward<T, RELU>, forward<T, RELU_OF_SUM>,
                                                   forward<T, SUM_WITH_RELU>};
template <class T>
constexpr decltype(&backward<T, NORM>) BACKWARD[] = {backward<T, NORM>, backward<T, RELU>, backward<T, RELU_OF_SUM>,
                                                     backward<T, SUM_WITH_RELU>};

}  // namespace

extern "C" {

void norm_forward(int half, int what, const void* x, const void* residual, void* y, const float* weight,
                  const float* bias, float* statistics, int64_t rows, int64_t channels, double epsilon) {
  if (half)
    FORWARD<uint16_t>[what](static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(residual),
                            static_cast<uint16_t*>(y), weight, bias, statistics, rows, channels, epsilon);
  else
    FORWARD<float>[what](static_cast<const float*>(x), static_cast<const float*>(residual), static_cast<float*>(y),
                         weight, bias, statistics, rows, channels, epsilon);
}

void norm_backward(int half, int what, const void* gradient, const void* x, const void* y, void* result, void* passed,
                   const float* weight, const float* bias, const float* statistics, float* gradients, int64_t rows,
                   int64_t channels) {
  if (half)
    BACKWARD<uint16_t>[what](static_cast<const uint16_t*>(gradient), static_cast<const uint16_t*>(x),
                             static_cast<const uint16_t*>(y), static_cast<uint16_t*>(result),
                             static_cast<uint16_t*>(passed), weight, bias, statistics, gradients, rows, channels);
  else
    BACKWARD<float>[what](static_cast<const float*>(gradient), static_cast<const float*>(x),
                          static_cast<const float*>(y), static_cast<float*>(result), static_cast<float*>(passed),
                          weight, bias, statistics, gradients, rows, channels);
}

void pool_forward(int half, const void* x, void* y, int64_t images, int64_t height, int64_t width, int64_t channels) {
  if (half)
    pool(static_cast<const uint16_t*>(x), static_cast<uint16_t*>(y), images, height, width, channels);
  else
    pool(static_cast<const float*>(x), static_cast<float*>(y), images, height, width, channels);
}

void pool_backward(int half, const void* gradient, const void* x, void* result, int64_t images, int64_t height,
                   int64_t width, int64_t channels) {
  if (half)
    unpool(static_cast<const uint16_t*>(gradient), static_cast<const uint16_t*>(x), static_cast<uint16_t*>(result),
           images, height, width, channels);
  else
    unpool(static_cast<const float*>(gradient), static_cast<const float*>(x), static_cast<float*>(result), images,
           height, width, channels);
}
}
