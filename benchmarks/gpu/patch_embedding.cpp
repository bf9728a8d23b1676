// Around the first product of a vision transformer: patches cut out of images, and the class token and positions put to them; forward and
// backward. Bytes: what is read and written of images, patches and tokens. All of it is checked against ops/ref.
// Names: extract_patches/batch/channels/size, extract_patches_backward, prepend_class_token/batch/patches/d_model, prepend_class_token_backward.

#include "instar/ops/patch_embedding.hpp"

#include "harness.hpp"
#include "instar/ops/ref/patch_embedding.hpp"

namespace {

using namespace instar;
namespace gpu = bench::gpu;

constexpr index_t k_batch = 256, k_channels = 3, k_size = 224, k_patch = 16, k_patches = 196, k_width = 768;

template <class T>
void extract(gpu::run& r, bool backward) {
    const index_t n = gpu::sized(k_batch, 2), size = gpu::sized(k_size, 12), patch = gpu::sized(k_patch, 4), side = size / patch;
    gpu::both<T, 4> images(r.ctx, {n, k_channels, size, size}, 1);
    gpu::both<T, 2> patches(r.ctx, {n * side * side, k_channels * patch * patch}, 2);
    const auto work = [&] {
        if (backward) ops::extract_patches_backward<T>(r.ctx, images, patches, patch);
        else ops::extract_patches<T>(r.ctx, patches, images, patch);
    };
    work();
    if (backward) {
        ops::ref::extract_patches_backward<T>(images.host, patches.host, patch);
        if (!r.check_equal(images.fetch().view(), images.host.view())) return;
    } else {
        ops::ref::extract_patches<T>(patches.host, images.host, patch);
        if (!r.check_equal(patches.fetch().view(), patches.host.view())) return;
    }
    r.time(work, {.bytes = 2.0 * static_cast<double>(images.host.size()) * sizeof(T)});
}

template <class T>
void prepend(gpu::run& r, bool backward) {
    const index_t n = gpu::sized(k_batch, 2), p = gpu::sized(k_patches, 9), d = gpu::sized(k_width, 40);
    gpu::both<T, 3> tokens(r.ctx, {n, p + 1, d}, 1);
    gpu::both<T, 2> patches(r.ctx, {n * p, d}, 2), position(r.ctx, {p + 1, d}, 3);
    gpu::both<T, 1> token(r.ctx, {d}, 4);
    const auto work = [&] {
        if (backward) ops::prepend_class_token_backward<T>(r.ctx, patches, token, position, tokens);
        else ops::prepend_class_token<T>(r.ctx, tokens, patches, token, position);
    };
    work();
    if (backward) {
        ops::ref::prepend_class_token_backward<T>(patches.host, token.host, position.host, tokens.host);
        if (!r.check_equal(patches.fetch().view(), patches.host.view()) || !r.check(position.fetch().view(), position.host.view()) ||
            !r.check(token.fetch().view(), token.host.view())) {
            return;
        }
    } else {
        ops::ref::prepend_class_token<T>(tokens.host, patches.host, token.host, position.host);
        if (!r.check(tokens.fetch().view(), tokens.host.view())) return;
    }
    r.time(work, {.bytes = 2.0 * static_cast<double>(tokens.host.size()) * sizeof(T)});
}

const bool registered = [] {
    for (const bool backward : {false, true}) {
        gpu::add(backward ? "extract_patches_backward" : "extract_patches", gpu::slashed(k_batch, k_channels, k_size), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { extract<T>(r, backward); });
        gpu::add(backward ? "prepend_class_token_backward" : "prepend_class_token", gpu::slashed(k_batch, k_patches, k_width), gpu::k_no_products,
                 [backward]<class T>(gpu::run& r) { prepend<T>(r, backward); });
    }
    return true;
}();

}  // namespace
