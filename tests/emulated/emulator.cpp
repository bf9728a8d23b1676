// The SIMT emulator: what it computes, and that it catches what a GPU would silently get wrong.

#include <algorithm>
#include <vector>

#include <doctest/doctest.h>

#include "instar/cuda/async_copy.cuh"
#include "instar/cuda/launch.cuh"
#include "instar/cuda/mma.cuh"
#include "instar/cuda/vector.cuh"
#include "support/compare.hpp"

using namespace instar;
using namespace instar::cuda;

namespace {

bool contains(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos) return true;
    MESSAGE("got: " << text);
    return false;
}

// The error that a launch gives, and a check that the context still works afterwards.
template <class F>
std::string error_of(cuda_context& ctx, F&& f) {
    const std::string text = test::error_text<device_error>(f);
    const auto touch = +[](float* y) { y[grid_thread()] = 1.0f; };
    std::vector<float> y(64);
    launch(ctx, "touch", touch, {2}, {32}, 0, y.data());
    CHECK(std::count(y.begin(), y.end(), 1.0f) == 64);
    return text;
}

__global__ void write_positions(int* seen) {
    const extent3 t = threadIdx, b = blockIdx, n = blockDim, g = gridDim;
    const unsigned thread = (t.z * n.y + t.y) * n.x + t.x, block = (b.z * g.y + b.y) * g.x + b.x;
    seen[block * n.x * n.y * n.z + thread] += static_cast<int>(thread + 1000 * block + 1);
}

template <bool Synchronised>
__global__ void reverse(float* y, const float* x) {
    INSTAR_SHARED_ARRAY(float, tile, 128);
    const int t = thread_x();
    tile[t] = x[block_x() * 128 + t];
    if constexpr (Synchronised) __syncthreads();
    y[block_x() * 128 + t] = tile[127 - t];
}

}  // namespace

TEST_CASE("emulator gives every thread its place in block and grid") {
    cuda_context ctx;
    std::vector<int> seen(3 * 2 * 2 * 24, 0);
    launch(ctx, "positions", write_positions, {3, 2, 2}, {4, 3, 2}, 0, seen.data());
    bool right = true;
    for (std::size_t i = 0; i < seen.size(); ++i) right = right && seen[i] == static_cast<int>(i % 24 + 1000 * (i / 24) + 1);
    CHECK(right);
    launch(ctx, "nothing", write_positions, {0}, {32}, 0, static_cast<int*>(nullptr));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "many", write_positions, {1}, {1025}, 0, seen.data()); }),
                   "many: emulator: a block of 1025 threads, expected 1 to 1024"));
}

TEST_CASE("emulator passes values through shared memory behind a barrier, in any thread order") {
    const auto x = test::random_tensor<float, 1>({128 * 3}, 1);
    for (const std::uint64_t seed : {0u, 1u, 2u, 3u}) {
        cuda_context ctx(0, {.order = seed == 0 ? emulator::thread_order::fixed : emulator::thread_order::shuffled, .seed = seed});
        tensor<float, 1> y({128 * 3});
        launch(ctx, "reverse", reverse<true>, {3}, {128}, 0, y.data(), x.data());
        bool right = true;
        for (index_t i = 0; i < 384; ++i) right = right && y(i) == x(i / 128 * 128 + 127 - i % 128);
        CHECK(right);
    }
}

TEST_CASE("emulator catches a missing barrier as a race") {
    const auto x = test::random_tensor<float, 1>({128}, 1);
    tensor<float, 1> y({128});
    cuda_context ctx;
    // Thread 0 runs first and finds element 127 unwritten; thread 64 finds element 63 written by a thread not ordered with it.
    const std::string first = error_of(ctx, [&] { launch(ctx, "reverse", reverse<false>, {1}, {128}, 0, y.data(), x.data()); });
    CHECK(contains(first, "reverse: block (0, 0, 0), thread (0, 0, 0): uninitialised read, element 127 of a shared array of 128 float32, at emulator.cpp:"));
    const auto kernel = +[](float* out) {
        INSTAR_SHARED_ARRAY(float, tile, 128);
        tile[thread_x()] = 1.0f;
        __syncthreads();
        tile[thread_x()] = 2.0f;
        out[thread_x()] = tile[(thread_x() + 1) % 128];
    };
    const std::string race = error_of(ctx, [&] { launch(ctx, "shift", kernel, {1}, {128}, 0, y.data()); });
    CHECK(contains(race, "race: write of what another thread reads"));
    CHECK(contains(race, "shift: block (0, 0, 0), thread (0, 0, 0): race"));  // the last to arrive goes on first
    CHECK(contains(race, "element 0 of a shared array of 128 float32, the other is thread (127, 0, 0), at emulator.cpp:"));
}

TEST_CASE("emulator catches two threads that write one element") {
    cuda_context ctx;
    const auto kernel = +[](int) {
        INSTAR_SHARED_ARRAY(float, total, 1);
        total[0] = 1.0f;
    };
    const std::string text = error_of(ctx, [&] { launch(ctx, "total", kernel, {1}, {32}, 0, 0); });
    CHECK(contains(text, "race: two threads write, element 0 of a shared array of 1 float32, the other is thread (0, 0, 0)"));
}

TEST_CASE("emulator orders the lanes of one warp by __syncwarp, and nobody else") {
    cuda_context ctx;
    const auto kernel = +[](float* y, int distance) {
        INSTAR_SHARED_ARRAY(float, tile, 64);
        tile[thread_x()] = 0.0f;
        __syncthreads();
        tile[thread_x()] = static_cast<float>(thread_x());
        __syncwarp();
        const float v = tile[(thread_x() + distance) % 64];
        __syncwarp();
        tile[thread_x()] = 0.0f;
        y[thread_x()] = v;
    };
    std::vector<float> y(64);
    CHECK(error_of(ctx, [&] { launch(ctx, "own", kernel, {1}, {64}, 0, y.data(), 0); }) == "");
    // Lane 31 of warp 0 reads from warp 1.
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "next", kernel, {1}, {64}, 0, y.data(), 1); }), "race"));
    const auto within = +[](float* out) {
        INSTAR_SHARED_ARRAY(float, tile, 64);
        for (int round = 0; round < 3; ++round) {
            tile[thread_x()] = static_cast<float>(thread_x() + round);
            __syncwarp();
            out[thread_x()] = tile[thread_x() ^ 5];
            __syncwarp();
        }
    };
    CHECK(error_of(ctx, [&] { launch(ctx, "within", within, {1}, {64}, 0, y.data()); }) == "");
    CHECK(y[8] == 15.0f);
    CHECK(y[40] == 47.0f);
}

TEST_CASE("emulator catches an index outside shared memory") {
    cuda_context ctx;
    const auto past = +[](int n) {
        INSTAR_SHARED_ARRAY(float, tile, 64);
        tile[thread_x() + n] = 0.0f;
    };
    CHECK(error_of(ctx, [&] { launch(ctx, "inside", past, {1}, {64}, 0, 0); }) == "");
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "past", past, {1}, {64}, 0, 1); }),
                   "past: block (0, 0, 0), thread (63, 0, 0): index 64 is outside a shared array of 64 float32, at emulator.cpp:"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "before", past, {1}, {64}, 0, -1); }), "index -1 is outside"));
    const auto dynamic = +[](int n, int offset) {
        shared_memory memory;
        auto a = memory.take<float>(16);
        auto b = memory.take<bf16>(n);
        a[thread_x() % 16 + 0 * n] = 1.0f;
        (b + offset)[thread_x()] = bf16(1.0f);
    };
    const std::size_t bytes = shared_bytes<float>(16) + shared_bytes<bf16>(8);
    CHECK(error_of(ctx, [&] { launch(ctx, "dynamic", dynamic, {1}, {8}, bytes, 8, 0); }) == "");
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "offset", dynamic, {1}, {8}, bytes, 8, 2); }), "index 8 is outside a shared array of 8 bfloat16"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "large", dynamic, {1}, {8}, bytes, 9, 0); }),
                   "9 bfloat16 do not fit: 64 of 80 bytes are taken"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "beyond", dynamic, {1}, {8}, std::size_t{1} << 20, 9, 0); }), "bytes of shared memory a block"));
}

TEST_CASE("emulator catches shared memory that was never written, in every block anew") {
    cuda_context ctx;
    const auto kernel = +[](float* y) {
        shared_memory memory;
        auto tile = memory.take<float>(32);
        if (block_x() == 0) tile[thread_x()] = 3.0f;
        __syncthreads();
        y[grid_thread()] = tile[thread_x()];
    };
    std::vector<float> y(64);
    CHECK(error_of(ctx, [&] { launch(ctx, "one", kernel, {1}, {32}, 128, y.data()); }) == "");
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "two", kernel, {2}, {32}, 128, y.data()); }),
                   "two: block (1, 0, 0), thread (31, 0, 0): uninitialised read, element 31"));
}

TEST_CASE("emulator catches divergent barriers") {
    cuda_context ctx;
    const auto early_exit = +[](int n) {
        if (thread_x() >= n) return;
        __syncthreads();
    };
    CHECK(error_of(ctx, [&] { launch(ctx, "all", early_exit, {1}, {64}, 0, 64); }) == "");
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "exit", early_exit, {1}, {64}, 0, 40); }),
                   "divergent barrier: the thread exits while 40 threads wait at emulator.cpp:"));
    const auto late = +[](int n) {
        if (thread_x() < n) return;
        __syncthreads();
    };
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "late", late, {1}, {64}, 0, 1); }), "thread (0, 0, 0) has exited, so emulator.cpp:"));
    const auto two_places = +[](int n) {
        if (thread_x() < n) {
            __syncthreads();
        } else {
            __syncthreads();
        }
    };
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "two", two_places, {1}, {64}, 0, 3); }), "while 3 threads wait at emulator.cpp:"));
    const auto collective = +[](int n) {
        if (thread_x() < n) {
            __syncthreads();
        } else {
            __syncwarp();
        }
    };
    const std::string deadlock = error_of(ctx, [&] { launch(ctx, "mixed", collective, {1}, {32}, 0, 5); });
    CHECK(contains(deadlock, "no thread can go on; at a block barrier wait 5 threads, the first thread (0, 0, 0) at emulator.cpp:"));
    CHECK(contains(deadlock, "; in a warp collective wait 27 threads, the first thread (5, 0, 0) at emulator.cpp:"));
}

TEST_CASE("emulator shuffles as CUDA does") {
    cuda_context ctx;
    const auto kernel = +[](int* y, int width, int amount) {
        const int lane = lane_id();
        int* const out = y + 4 * lane;
        out[0] = __shfl_sync(k_full_warp, lane, amount, width);
        out[1] = __shfl_up_sync(k_full_warp, lane, static_cast<unsigned>(amount), width);
        out[2] = __shfl_down_sync(k_full_warp, lane, static_cast<unsigned>(amount), width);
        out[3] = __shfl_xor_sync(k_full_warp, lane, amount, width);
    };
    for (const int width : {32, 16, 8, 2}) {
        for (const int amount : {0, 1, 3, 9, 16}) {
            CAPTURE(width);
            CAPTURE(amount);
            std::vector<int> y(128);
            launch(ctx, "shuffle", kernel, {1}, {32}, 0, y.data(), width, amount);
            bool right = true;
            for (int lane = 0; lane < 32; ++lane) {
                const int segment = lane / width * width;
                const int* const out = y.data() + 4 * lane;
                right = right && out[0] == segment + amount % width;
                right = right && out[1] == (lane - amount >= segment ? lane - amount : lane);
                right = right && out[2] == (lane + amount < segment + width ? lane + amount : lane);
                right = right && out[3] == ((lane ^ amount) < segment + width ? lane ^ amount : lane);
            }
            CHECK(right);
        }
    }
    const auto doubles = +[](double* y) {
        double v = 1.0 / (1.0 + lane_id());
        for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(k_full_warp, v, offset);
        y[lane_id()] = v;
    };
    std::vector<double> sums(32);
    launch(ctx, "doubles", doubles, {1}, {32}, 0, sums.data());
    CHECK(sums[0] == doctest::Approx(4.05849519543652));
    CHECK(sums[31] == sums[0]);
}

TEST_CASE("emulator lets parts of a warp work apart") {
    for (const std::uint64_t seed : {0u, 1u, 2u}) {
        cuda_context ctx(0, {.order = seed == 0 ? emulator::thread_order::fixed : emulator::thread_order::shuffled, .seed = seed});
        const auto kernel = +[](int* y) {
            const int lane = lane_id();
            const int all = __shfl_sync(k_full_warp, lane, 0);
            int v = lane;
            if (lane < 16) {
                for (int i = 0; i < 5; ++i) v = __shfl_xor_sync(0x0000ffffu, v, 1) + all;
            } else {
                v = __shfl_xor_sync(0xffff0000u, v, 15);
            }
            y[lane] = v;
        };
        std::vector<int> y(32);
        launch(ctx, "halves", kernel, {1}, {32}, 0, y.data());
        CHECK(y[4] == 5);
        CHECK(y[5] == 4);
        CHECK(y[16] == 31);
        CHECK(y[31] == 16);
    }
}

TEST_CASE("emulator votes") {
    cuda_context ctx;
    const auto kernel = +[](std::uint32_t* y) {
        const int lane = lane_id();
        y[0] = __ballot_sync(k_full_warp, lane % 3 == 0);
        y[1] = static_cast<std::uint32_t>(__any_sync(k_full_warp, lane == 7) + 2 * __any_sync(k_full_warp, lane > 31));
        y[2] = static_cast<std::uint32_t>(__all_sync(k_full_warp, lane < 32) + 2 * __all_sync(k_full_warp, lane < 31));
        if (lane < 4) y[3] = __ballot_sync(0xfu, lane != 2);
    };
    std::vector<std::uint32_t> y(4);
    launch(ctx, "votes", kernel, {1}, {32}, 0, y.data());
    CHECK(y[0] == 0x49249249u);
    CHECK(y[1] == 1u);
    CHECK(y[2] == 1u);
    CHECK(y[3] == 0xbu);
}

TEST_CASE("emulator catches warp collectives whose lanes disagree") {
    cuda_context ctx;
    const auto shuffle_mask = +[](std::uint32_t mask, int source) { __shfl_sync(mask, 1, source); };
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", shuffle_mask, {1}, {32}, 0, 0xfffffffeu, 3); }), "the calling lane is not in the mask"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", shuffle_mask, {1}, {16}, 0, 0xffffffffu, 3); }), "the block has no such lanes"));
    const auto half = +[](int source) {
        if (lane_id() < 16) __shfl_sync(0x0000ffffu, 1, source);
    };
    CHECK(error_of(ctx, [&] { launch(ctx, "k", half, {1}, {32}, 0, 15); }) == "");
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", half, {1}, {32}, 0, 16); }), "reads lane 16, which is not in the mask 0x0000ffff"));
    const auto exits = +[](int n) {
        if (lane_id() < n) return;
        __ballot_sync(k_full_warp, true);
    };
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", exits, {1}, {32}, 0, 2); }), "divergent __ballot_sync at emulator.cpp:"));
    const auto kinds = +[](int n) {
        if (lane_id() < n) {
            __ballot_sync(k_full_warp, true);
        } else {
            __syncwarp();
        }
    };
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", kinds, {1}, {32}, 0, 2); }), "lane 0 is in __ballot_sync"));
}

namespace {

// y[16, 16] = a[16, 16] · b, b given as [16, 16] or as its transpose, by one warp.
template <bool Transposed>
__global__ void warp_product(float* y, const bf16* a, const bf16* b) {
    INSTAR_SHARED_ARRAY(bf16, left, 16 * 24);
    INSTAR_SHARED_ARRAY(bf16, right, 16 * 24);
    const int lane = lane_id();
    for (int p = lane; p < 32; p += k_warp_size) {
        alignas(16) bf16 raw[8];
        for (int i = 0; i < 8; ++i) raw[i] = a[p / 2 * 16 + p % 2 * 8 + i];
        store_shared(left, p / 2 * 24 + p % 2 * 8, raw);
        for (int i = 0; i < 8; ++i) raw[i] = b[p / 2 * 16 + p % 2 * 8 + i];
        store_shared(right, p / 2 * 24 + p % 2 * 8, raw);
    }
    __syncwarp();
    std::uint32_t x[4], w[4];
    float c[2][4] = {{1.0f, 1.0f, 1.0f, 1.0f}, {}};
    load_matrices<false>(x, left, lane % 16 * 24 + lane / 16 * 8);
    // As rows of k, transposed on the way; or as rows of columns.
    if constexpr (Transposed) load_matrices<false>(w, right, (lane / 16 * 8 + lane % 8) * 24 + lane / 8 % 2 * 8);
    else load_matrices<true>(w, right, (lane / 8 % 2 * 8 + lane % 8) * 24 + lane / 16 * 8);
    mma_16x8x16(c[0], x, {w[0], w[1]});
    mma_16x8x16(c[1], x, {w[2], w[3]});
    for (int n = 0; n < 2; ++n) {
        for (int r = 0; r < 4; ++r) y[(lane / 4 + r / 2 * 8) * 16 + n * 8 + lane % 4 * 2 + r % 2] = c[n][r];
    }
}

}  // namespace

TEST_CASE("emulator multiplies on tensor cores, from matrices loaded as they are and transposed") {
    cuda_context ctx;
    const auto a = test::random_tensor<bf16, 2>({16, 16}, 1), b = test::random_tensor<bf16, 2>({16, 16}, 2);
    for (const bool transposed : {false, true}) {
        CAPTURE(transposed);
        tensor<float, 2> y({16, 16});
        launch(ctx, "product", transposed ? warp_product<true> : warp_product<false>, {1}, {32}, 0, y.data(), a.data(), b.data());
        bool right = true;
        for (index_t i = 0; i < 16; ++i) {
            for (index_t j = 0; j < 16; ++j) {
                double sum = j < 8 ? 1.0 : 0.0;  // what the sums began with
                for (index_t k = 0; k < 16; ++k) sum += static_cast<double>(to_float(a(i, k))) * static_cast<double>(to_float(transposed ? b(j, k) : b(k, j)));
                right = right && std::fabs(static_cast<double>(y(i, j)) - sum) <= 1e-6 * (1.0 + std::fabs(sum));
            }
        }
        CHECK(right);
    }
    CHECK(pack_bf16(1.0f, -2.0f) == 0xc0003f80u);
}

TEST_CASE("emulator catches tensor-core operations that a device would not survive") {
    cuda_context ctx;
    const auto alone = +[](int* y) {
        if (lane_id() == 5) return;
        float c[4] = {};
        mma_16x8x16(c, {0, 0, 0, 0}, {0, 0});
        y[0] = 1;
    };
    const auto crooked = +[](int* y) {
        INSTAR_SHARED_ARRAY(bf16, tile, 64 * 8);
        for (int i = lane_id(); i < 512; i += k_warp_size) tile[i] = from_float<bf16>(0.0f);
        __syncwarp();
        std::uint32_t x[4];
        load_matrices<false>(x, tile, lane_id() * 8 + 4);
        y[0] = static_cast<int>(x[0]);
    };
    const auto unwritten = +[](int* y) {
        INSTAR_SHARED_ARRAY(bf16, tile, 64 * 8);
        std::uint32_t x[4];
        load_matrices<true>(x, tile, lane_id() * 8);
        y[0] = static_cast<int>(x[0]);
    };
    int y = 0;
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", alone, {1}, {32}, 0, &y); }), "mma.sync"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", crooked, {1}, {32}, 0, &y); }), "ldmatrix: offset"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", unwritten, {1}, {32}, 0, &y); }), "uninitialised read"));
    CHECK(contains(test::error_text<device_error>([] {
        float c[4] = {};
        mma_16x8x16(c, {0, 0, 0, 0}, {0, 0});
    }), "mma.sync outside a kernel"));
}

namespace {

// y = x reversed in packs of four, through two stages of shared memory: the next 128 floats are on their way while these are written out.
// What lies past n arrives as zeros.
__global__ void reverse_packs(float* y, const float* x, int n, int rounds) {
    shared_memory memory;
    const shared_array<float> tile = memory.take<float>(2 * 128);
    const auto begin = [&](int round) {
        const int first = round * 128 + 4 * thread_x(), left = n - first;
        if (round < rounds) copy_async(tile, round % 2 * 128 + 4 * thread_x(), left > 0 ? x + first : x, left < 0 ? 0 : left < 4 ? left : 4);
        commit_group();
    };
    begin(0);
    for (int round = 0; round < rounds; ++round) {
        begin(round + 1);
        wait_group<1>();
        __syncthreads();
        float v[4];
        load_shared(v, tile, round % 2 * 128 + 4 * (31 - thread_x()));
        store<4>(y + round * 128 + 4 * thread_x(), v);
        __syncthreads();
    }
}

enum class misstep { none, no_wait, no_commit, too_early, no_barrier, still_read, written, left_behind, crooked_source, crooked_target, outside, too_many };

// A copy of 64 floats by sixteen threads, read by their mirror images, with one step wrong. Two warps, so that lane 31 and lane 32 need a barrier.
__global__ void copy_wrongly(float* y, const float* x, misstep wrong) {
    INSTAR_SHARED_ARRAY(float, tile, 256);
    const int t = thread_x(), place = 4 * t;
    if (wrong == misstep::still_read) {
        tile[t] = 0.0f;
        __syncthreads();
        y[t] = tile[(t + 4) % 64];
    }
    copy_async(tile, wrong == misstep::crooked_target ? place + 2 : wrong == misstep::outside ? place + 4 : place,
               wrong == misstep::crooked_source ? x + place + 1 : x + place, wrong == misstep::too_many ? 5 : 4);
    if (wrong != misstep::no_commit) commit_group();
    if (wrong == misstep::left_behind) return;
    if (wrong == misstep::written) tile[place] = 1.0f;
    if (wrong == misstep::too_early) y[t] = tile[place];
    if (wrong != misstep::no_wait) wait_group<0>();
    if (wrong != misstep::no_barrier) __syncthreads();
    y[t] = tile[4 * (63 - t)];
    wait_group<0>();
}

}  // namespace

TEST_CASE("emulator's asynchronous copies arrive when their thread has waited, with zeros where nothing is") {
    for (const std::uint64_t seed : {0u, 1u, 2u}) {
        cuda_context ctx(0, {.order = seed == 0 ? emulator::thread_order::fixed : emulator::thread_order::shuffled, .seed = seed});
        const auto x = test::random_tensor<float, 1>({350}, 1);
        tensor<float, 1> y({3 * 128});
        launch(ctx, "reverse", reverse_packs, {1}, {32}, shared_bytes<float>(2 * 128), y.data(), x.data(), 350, 3);
        bool right = true;
        for (index_t i = 0; i < 384; ++i) {
            const index_t from = i / 128 * 128 + (31 - i % 128 / 4) * 4 + i % 4;
            right = right && y(i) == (from < 350 ? x(from) : 0.0f);
        }
        CHECK(right);
    }
}

TEST_CASE("emulator's asynchronous copies come at the wait and not before, and never two to one place") {
    cuda_context ctx;
    const auto kernel = +[](float* y, float* x) {
        INSTAR_SHARED_ARRAY(float, tile, 4);
        copy_async(tile, 0, x);
        commit_group();
        copy_async(tile, 0, x, 0);  // two copies to one place: nobody knows which comes last
        y[0] = 1.0f;
    };
    tensor<float, 1> x({4}), y({1});
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "twice", kernel, {1}, {1}, 0, y.data(), x.data()); }), "twice: block (0, 0, 0), thread (0, 0, 0): race: write of what an asynchronous copy writes, element 0"));
    // Without checks of shared memory the bytes still come at the wait, not before.
    cuda_context unchecked(0, {.check_shared = false});
    const auto stale = +[](float* out, const float* from) {
        INSTAR_SHARED_ARRAY(float, tile, 4);
        tile[0] = -1.0f;
        copy_async(tile, 0, from);
        wait_group<0>();  // not committed: not waited for
        out[0] = tile[0];
        commit_group();
        out[1] = tile[0];
        wait_group<1>();
        out[2] = tile[0];
        wait_group<0>();
        out[3] = tile[0];
    };
    x(0) = 5.0f;
    tensor<float, 1> seen({4});
    launch(unchecked, "stale", stale, {1}, {1}, 0, seen.data(), x.data());
    CHECK(seen(0) == -1.0f);
    CHECK(seen(1) == -1.0f);
    CHECK(seen(2) == -1.0f);
    CHECK(seen(3) == 5.0f);
}

TEST_CASE("emulator catches asynchronous copies that are used too early, from a wrong place or not at all") {
    const auto x = test::random_tensor<float, 1>({260}, 1);
    tensor<float, 1> y({64});
    const auto error = [&](misstep wrong, std::uint64_t seed) {
        cuda_context ctx(0, {.order = seed == 0 ? emulator::thread_order::fixed : emulator::thread_order::shuffled, .seed = seed});
        return error_of(ctx, [&] { launch(ctx, "copy", copy_wrongly, {1}, {64}, 0, y.data(), x.data(), wrong); });
    };
    CHECK(error(misstep::none, 0) == "");
    CHECK(y(0) == x(252));
    CHECK(y(63) == x(0));
    CHECK(contains(error(misstep::too_early, 0), "copy: block (0, 0, 0), thread (0, 0, 0): race: read of what an asynchronous copy writes, element 0 of a shared array of 256 "
                                                 "float32, the other is thread (0, 0, 0), at emulator.cpp:"));
    for (const std::uint64_t seed : {0u, 1u, 2u, 3u}) {
        CAPTURE(seed);
        CHECK(contains(error(misstep::no_wait, seed), "race: read of what an asynchronous copy writes"));
        CHECK(contains(error(misstep::no_commit, seed), "race: read of what an asynchronous copy writes"));
        const std::string no_barrier = error(misstep::no_barrier, seed);  // whoever reads first finds nothing, the copy, or another's write
        CHECK((no_barrier.find("race: ") != std::string::npos || no_barrier.find("uninitialised read") != std::string::npos));
        CHECK(contains(error(misstep::still_read, seed), "race: "));
    }
    CHECK(contains(error(misstep::still_read, 0), "race: write of what another thread reads"));
    CHECK(contains(error(misstep::written, 0), "race: write of what an asynchronous copy writes"));
    CHECK(contains(error(misstep::left_behind, 0), "the thread exits without having waited for its asynchronous copies (1)"));
    CHECK(contains(error(misstep::crooked_source, 0), "misaligned access of 16 bytes, at emulator.cpp:"));
    CHECK(contains(error(misstep::crooked_target, 0), "misaligned access of 16 bytes, element 2 of a shared array of 256 float32, at emulator.cpp:"));
    CHECK(contains(error(misstep::outside, 0), "index 256 is outside a shared array of 256 float32, at emulator.cpp:"));
    CHECK(contains(error(misstep::too_many, 0), "cp.async of 5 elements, expected 0 to 4"));
    CHECK(test::error_text<device_error>([] { wait_group<0>(); }) == "emulator: cp.async.wait_group outside a kernel");
}

TEST_CASE("emulator's atomics add up, in shared and in global memory") {
    cuda_context ctx(0, {.order = emulator::thread_order::shuffled});
    const auto kernel = +[](int* histogram, int* largest, const int* x, int n) {
        INSTAR_SHARED_ARRAY(int, count, 7);
        if (thread_x() < 7) count[thread_x()] = 0;
        __syncthreads();
        for (index_t i = grid_thread(); i < n; i += grid_threads()) {
            atomicAdd(&count[x[i] % 7], 1);
            atomicMax(largest, x[i]);
        }
        __syncthreads();
        if (thread_x() < 7) atomicAdd(histogram + thread_x(), static_cast<int>(count[thread_x()]));
    };
    std::vector<int> x(1000), expected(7), histogram(7);
    for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<int>(i * i % 613);
        ++expected[static_cast<std::size_t>(x[i] % 7)];
    }
    int largest = -1;
    launch(ctx, "histogram", kernel, {5}, {64}, 0, histogram.data(), &largest, x.data(), 1000);
    CHECK(histogram == expected);
    CHECK(largest == *std::max_element(x.begin(), x.end()));
    const auto mixed = +[](int) {
        INSTAR_SHARED_ARRAY(int, count, 1);
        if (thread_x() == 0) count[0] = 0;
        __syncthreads();
        atomicAdd(&count[0], 1);
        if (thread_x() == 31 && count[0] > 5) return;
    };
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "mixed", mixed, {1}, {32}, 0, 0); }), "race"));
}

TEST_CASE("emulator demands the same shared arrays of every thread") {
    cuda_context ctx;
    const auto kernel = +[](int) {
        shared_memory memory;
        memory.take<float>(thread_x() < 8 ? 8 : 4);
    };
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "shapes", kernel, {1}, {32}, 64, 0); }),
                   "thread (8, 0, 0): dynamic shared memory: this thread takes 4 float32 where another took a shared array of 8 float32"));
}

TEST_CASE("emulator faults on a misaligned vector access") {
    cuda_context ctx;
    const auto kernel = +[](float* y, const float* x) {
        float v[4];
        load<4>(v, x);
        store<4>(y, v);
    };
    tensor<float, 1> x({8}), y({8});
    x(3) = 2.0f;
    launch(ctx, "aligned", kernel, {1}, {1}, 0, y.data() + 4, x.data());
    CHECK(y(7) == 2.0f);
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", kernel, {1}, {1}, 0, y.data(), x.data() + 1); }), "misaligned access of 16 bytes"));
    const auto shared = +[](float* out, int from, int to) {
        INSTAR_SHARED_ARRAY(float, tile, 16);
        float v[8] = {0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f};
        store_shared(tile, to, v);
        load_shared(v, tile, from);
        store<8>(out, v);
    };
    launch(ctx, "shared", shared, {1}, {1}, 0, y.data(), 8, 8);
    CHECK(y(7) == 7.0f);
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", shared, {1}, {1}, 0, y.data(), 2, 0); }), "misaligned access of 16 bytes, at emulator.cpp:"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", shared, {1}, {1}, 0, y.data(), 0, 2); }), "misaligned access of 16 bytes, at emulator.cpp:"));
    CHECK(contains(error_of(ctx, [&] { launch(ctx, "k", shared, {1}, {1}, 0, y.data(), 4, 0); }), "uninitialised read, element 8"));
}

TEST_CASE("emulator refuses what has no kernel around it") {
    CHECK(test::error_text<device_error>([] { __syncthreads(); }) == "emulator: __syncthreads outside a kernel");
    CHECK(test::error_text<device_error>([] { __shfl_sync(k_full_warp, 1, 0); }) == "emulator: __shfl_sync outside a kernel");
    CHECK(test::error_text<device_error>([] { cuda_context second(1); }) == "cuda_context: device 1, the emulator has one, 0");
}

TEST_CASE("emulator runs many blocks on one set of stacks") {
    cuda_context ctx;
    const auto kernel = +[](double* y) {
        INSTAR_SHARED_ARRAY(float, tile, 256);
        tile[thread_x()] = static_cast<float>(block_x());
        for (int stride = 128; stride > 0; stride /= 2) {
            __syncthreads();
            if (thread_x() < stride) tile[thread_x()] += tile[thread_x() + stride];
        }
        if (thread_x() == 0) y[block_x()] = tile[0];
    };
    std::vector<double> y(300);
    launch(ctx, "tree", kernel, {300}, {256}, 0, y.data());
    bool right = true;
    for (std::size_t b = 0; b < 300; ++b) right = right && y[b] == 256.0 * static_cast<double>(b);
    CHECK(right);
}

TEST_CASE("emulator's context copies views both ways") {
    cuda_context ctx;
    const auto x = test::random_tensor<float, 2>({3, 5}, 1);
    tensor<float, 2, device_memory> on_device({3, 5});
    ctx.upload(on_device.view(), x.view());
    test::strided_rows<float> back({3, 5}, 8, 2);
    ctx.download(back.view, on_device.view());
    CHECK(test::same_bits(back.view, x.view()));
    CHECK(back.gaps_intact());
    tensor<float, 2> wrong({3, 4});
    CHECK(test::error_text<shape_error>([&] { ctx.download(wrong.view(), on_device.view()); }) ==
          "cuda_context.download: from has shape [3, 5], expected [3, 4]");
}
