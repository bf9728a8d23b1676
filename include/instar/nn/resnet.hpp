#ifndef INSTAR_NN_RESNET_HPP
#define INSTAR_NN_RESNET_HPP

// Residual networks of 18, 34 and 50 layers, as torchvision builds them.
//
//     nn::resnet<float> model(nn::resnet_config::resnet50(), philox{.seed = 1});
//     nn::resnet_activations<float> memory;
//     auto features = model.forward(ctx, memory, images);                               // images [n, 3, 224, 224] → [n, 2048]
//     auto logits = model.classify(ctx, memory);                                        // [n, n_labels]
//
// Parameters and buffers have torchvision's names (named_parameters() of nn/bert_io.hpp reads and writes them by name). Channels last inside.
// The same source runs on the CPU and on a GPU: resnet<float, device_memory> with a cuda_context. He et al. 2015 (arXiv:1512.03385); the
// stride is in the 3 × 3 convolution ("v1.5"), as in torchvision.

#include <array>

#include "instar/core/memory.hpp"
#include "instar/nn/bert.hpp"
#include "instar/ops/batch_norm.hpp"
#include "instar/ops/channels_last.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/max_pool2d.hpp"
#include "instar/ops/pooling.hpp"
#include "instar/ops/relu.hpp"

namespace instar::nn {

/// How the images enter. imagenet: a 7 × 7 convolution of stride 2 and a pooling, together a quarter of the size. small_image: a 3 × 3
/// convolution of stride 1 and no pooling, for images of about 32 pixels (as in He et al. 2015, section 4.2).
enum class resnet_stem { imagenet, small_image };

struct resnet_config {
    std::array<index_t, 4> n_blocks{3, 4, 6, 3};
    bool bottleneck = true;   ///< blocks of 1×1, 3×3, 1×1 convolutions; otherwise two of 3×3
    index_t width = 64;       ///< channels of the first stage; each stage doubles them
    index_t n_channels = 3;
    index_t n_labels = 0;     ///< 0 = no classifier
    double eps = 1e-5;
    double momentum = 0.1;    ///< of the running statistics
    resnet_stem stem = resnet_stem::imagenet;

    static resnet_config resnet18(index_t n_labels = 0) { return {.n_blocks = {2, 2, 2, 2}, .bottleneck = false, .n_labels = n_labels}; }
    static resnet_config resnet34(index_t n_labels = 0) { return {.bottleneck = false, .n_labels = n_labels}; }
    static resnet_config resnet50(index_t n_labels = 0) { return {.n_labels = n_labels}; }

    index_t expansion() const { return bottleneck ? 4 : 1; }
    index_t d_features() const { return width * 8 * expansion(); }
    bool pools() const { return stem == resnet_stem::imagenet; }
    /// Images are at least this high and wide: the last stage then has a pixel, with the imagenet stem of its whole window.
    index_t smallest_image() const { return pools() ? 32 : 8; }
};

/// A convolution without bias, and the batch normalisation after it.
class conv_norm {
public:
    conv_norm() = default;
    conv_norm(parameter_layout& layout, parameter_layout& buffers, const std::string& conv, const std::string& norm, ops::conv2d_shape shape) : shape_(shape) {
        // Kaiming, fan out: N(0, 2 / (d_out · kernel²)).
        const double scale = std::sqrt(2.0 / static_cast<double>(shape.d_out * shape.kernel * shape.kernel));
        weight_ = layout.add<4>(conv + ".weight", {shape.d_out, shape.d_in, shape.kernel, shape.kernel}, init::normal, scale);
        norm_weight_ = layout.add<1>(norm + ".weight", {shape.d_out}, init::ones);
        norm_bias_ = layout.add<1>(norm + ".bias", {shape.d_out}, init::zeros);
        running_mean_ = buffers.add<1>(norm + ".running_mean", {shape.d_out}, init::zeros);
        running_variance_ = buffers.add<1>(norm + ".running_var", {shape.d_out}, init::ones);
    }

    /// With the image's size filled in.
    ops::conv2d_shape shape(index_t n, index_t height, index_t width) const {
        ops::conv2d_shape s = shape_;
        s.n_batch = n;
        s.height = height;
        s.width = width;
        return s;
    }

    template <class T>
    struct saved {
        ops::conv2d_shape shape;
        tensor_view<T, 4> convolved, y;  // the same memory in evaluation
        ops::batch_norm_saved<T> statistics;
    };

    template <class T, class Memory>
    saved<T> take(arena<Memory>& memory, index_t n, index_t height, index_t width, bool training) const {
        saved<T> s;
        s.shape = shape(n, height, width);
        s.convolved = memory.template take<T>({n, s.shape.height_out(), s.shape.width_out(), s.shape.d_out});
        s.y = training ? memory.template take<T>({n, s.shape.height_out(), s.shape.width_out(), s.shape.d_out}) : s.convolved;
        s.statistics.mean = memory.template take<accumulator_t<T>>({s.shape.d_out});
        s.statistics.rstd = memory.template take<accumulator_t<T>>({s.shape.d_out});
        return s;
    }

    /// buffers: of the layout given to the constructor; updated in training.
    template <class Context, class T>
    void forward(Context& ctx, tensor_view<const T, 1> values, tensor_view<accumulator_t<T>, 1> buffers, const saved<T>& s, in_view<T, 4> x, ops::batch_norm_options options,
                 bool training, out_view<T, 1> scratch) const {
        ops::conv2d_forward<T>(ctx, s.convolved, x, weight_(values), {}, s.shape, scratch);
        const auto from = rows(s.convolved), to = rows(s.y);
        const ops::batch_norm_running<T> running{running_mean_(buffers), running_variance_(buffers)};
        if (training) ops::batch_norm_forward<T>(ctx, to, s.statistics, running, from, norm_weight_(values), norm_bias_(values), options);
        else ops::batch_norm_inference<T>(ctx, to, running, from, norm_weight_(values), norm_bias_(values), options);
    }

    /// dx may be empty. dy is overwritten.
    template <class Context, class T>
    void backward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 1> gradients, out_view<T, 4> dx, out_view<T, 4> dy, const saved<T>& s, in_view<T, 4> x,
                  ops::batch_norm_options options, out_view<T, 1> scratch) const {
        ops::batch_norm_backward<T>(ctx, rows(dy), norm_weight_(gradients), norm_bias_(gradients), rows(dy), s.statistics, rows(s.y), rows(s.convolved), norm_weight_(values), options);
        ops::conv2d_backward<T>(ctx, dx, weight_(gradients), {}, dy, x, weight_(values), s.shape, scratch);
    }

private:
    template <class T>
    static tensor_view<T, 2> rows(tensor_view<T, 4> v) { return tensor_view<T, 2>(v.data(), {v.extent(0) * v.extent(1) * v.extent(2), v.extent(3)}); }

    ops::conv2d_shape shape_;
    parameter<4> weight_;
    parameter<1> norm_weight_, norm_bias_, running_mean_, running_variance_;
};

/// y = relu(convolutions(x) + shortcut(x)).
class residual_block {
public:
    residual_block(parameter_layout& layout, parameter_layout& buffers, const std::string& prefix, bool bottleneck, index_t d_in, index_t d_mid, index_t d_out, index_t stride) {
        const auto add = [&](int i, ops::conv2d_shape s) {
            units_.emplace_back(layout, buffers, prefix + "conv" + std::to_string(i), prefix + "bn" + std::to_string(i), s);
        };
        if (bottleneck) {
            add(1, {.d_in = d_in, .d_out = d_mid});
            add(2, {.d_in = d_mid, .d_out = d_mid, .kernel = 3, .stride = stride, .padding = 1});
            add(3, {.d_in = d_mid, .d_out = d_out});
        } else {
            add(1, {.d_in = d_in, .d_out = d_out, .kernel = 3, .stride = stride, .padding = 1});
            add(2, {.d_in = d_out, .d_out = d_out, .kernel = 3, .padding = 1});
        }
        projects_ = stride != 1 || d_in != d_out;
        if (projects_) shortcut_ = conv_norm(layout, buffers, prefix + "downsample.0", prefix + "downsample.1", {.d_in = d_in, .d_out = d_out, .stride = stride});
    }

    template <class T>
    struct saved {
        std::vector<conv_norm::saved<T>> units;
        conv_norm::saved<T> shortcut;
        tensor_view<T, 4> y;
    };

    /// Everything but y: in evaluation the next block may use the same memory.
    template <class T, class Memory>
    saved<T> take(arena<Memory>& memory, index_t n, index_t height, index_t width, bool training) const {
        saved<T> s;
        if (projects_) s.shortcut = shortcut_.take<T>(memory, n, height, width, training);
        for (const conv_norm& unit : units_) {
            s.units.push_back(unit.take<T>(memory, n, height, width, training));
            height = s.units.back().shape.height_out();
            width = s.units.back().shape.width_out();
        }
        return s;
    }

    template <class Context, class T>
    void forward(Context& ctx, tensor_view<const T, 1> values, tensor_view<accumulator_t<T>, 1> buffers, const saved<T>& s, in_view<T, 4> x, ops::batch_norm_options options,
                 bool training, out_view<T, 1> scratch) const {
        tensor_view<const T, 4> in = x;
        for (std::size_t u = 0; u < units_.size(); ++u) {
            options.relu = u + 1 < units_.size();
            units_[u].forward(ctx, values, buffers, s.units[u], in, options, training, scratch);
            in = s.units[u].y;
        }
        options.relu = false;
        if (projects_) shortcut_.forward(ctx, values, buffers, s.shortcut, x, options, training, scratch);
        ops::add_relu<T>(ctx, flat(s.y), flat(in), flat(projects_ ? tensor_view<const T, 4>(s.shortcut.y) : x));
    }

    /// dx is overwritten; dy too. Takes gradients of the block's inside from `memory` and gives them back.
    template <class Context, class T, class Memory>
    void backward(Context& ctx, tensor_view<const T, 1> values, out_view<T, 1> gradients, out_view<T, 4> dx, out_view<T, 4> dy, const saved<T>& s, in_view<T, 4> x,
                  ops::batch_norm_options options, out_view<T, 1> scratch, arena<Memory>& memory) const {
        const std::size_t mark = memory.mark();
        const auto take_like = [&](const auto& v) { return memory.template take<T>({v.extent(0), v.extent(1), v.extent(2), v.extent(3)}); };
        auto d_sum = take_like(s.y), d_shortcut = take_like(x);
        std::vector<tensor_view<T, 4>> d_unit(units_.size());  // gradient at the input of each unit but the first
        for (std::size_t u = 1; u < units_.size(); ++u) d_unit[u] = take_like(s.units[u - 1].y);
        if (!memory.measuring()) {
            ops::relu_backward<T>(ctx, flat(dy), flat(tensor_view<const T, 4>(dy)), flat(tensor_view<const T, 4>(s.y)));
            ops::copy<T>(ctx, flat(d_sum), flat(tensor_view<const T, 4>(dy)));
            options.relu = false;
            for (std::size_t u = units_.size(); u-- > 0;) {
                const auto in = u == 0 ? x : tensor_view<const T, 4>(s.units[u - 1].y);
                units_[u].backward(ctx, values, gradients, u == 0 ? dx : d_unit[u], u + 1 == units_.size() ? d_sum : d_unit[u + 1], s.units[u], in, options, scratch);
                options.relu = true;
            }
            options.relu = false;
            if (projects_) shortcut_.backward(ctx, values, gradients, d_shortcut, dy, s.shortcut, x, options, scratch);
            ops::add<T>(ctx, flat(dx), flat(tensor_view<const T, 4>(dx)), flat(tensor_view<const T, 4>(projects_ ? d_shortcut : dy)));
        }
        memory.rewind(mark);
    }

    const std::vector<conv_norm>& units() const { return units_; }
    const conv_norm* shortcut() const { return projects_ ? &shortcut_ : nullptr; }

private:
    template <class T>
    static tensor_view<T, 1> flat(const tensor_view<T, 4>& v) { return tensor_view<T, 1>(v.data(), {v.size()}); }

    std::vector<conv_norm> units_;
    conv_norm shortcut_;
    bool projects_ = false;
};

/// The modules of a ResNet, the layout of its parameters and that of its running statistics. Holds no values.
class resnet_network {
public:
    explicit resnet_network(const resnet_config& config) : config_(config) {
        if (config.width < 1 || config.n_channels < 1 || config.n_labels < 0) throw value_error("resnet_config: width and n_channels must be positive, n_labels not negative");
        ops::conv2d_shape stem{.d_in = config.n_channels, .d_out = config.width, .kernel = 3, .stride = 1, .padding = 1};
        if (config.stem == resnet_stem::imagenet) {
            stem.kernel = 7;
            stem.stride = 2;
            stem.padding = 3;
        }
        stem_ = conv_norm(layout_, buffers_, "conv1", "bn1", stem);
        index_t d_in = config.width;
        for (std::size_t stage = 0; stage < 4; ++stage) {
            const index_t d_mid = config.width << stage, d_out = d_mid * config.expansion();
            if (config.n_blocks[stage] < 1) throw value_error("resnet_config: every stage needs a block");
            for (index_t b = 0; b < config.n_blocks[stage]; ++b) {
                blocks_.emplace_back(layout_, buffers_, "layer" + std::to_string(stage + 1) + "." + std::to_string(b) + ".", config.bottleneck, d_in, d_mid, d_out,
                                     b == 0 && stage > 0 ? 2 : 1);
                d_in = d_out;
            }
        }
        if (config.n_labels > 0) head_ = linear(layout_, "fc", linear_config::torch_default(config.d_features(), config.n_labels));
    }

    const resnet_config& config() const noexcept { return config_; }
    const parameter_layout& layout() const noexcept { return layout_; }
    const parameter_layout& buffers() const noexcept { return buffers_; }
    const conv_norm& stem() const noexcept { return stem_; }
    const std::vector<residual_block>& blocks() const noexcept { return blocks_; }
    const linear& head() const noexcept { return head_; }

private:
    resnet_config config_;
    parameter_layout layout_, buffers_;
    conv_norm stem_;
    std::vector<residual_block> blocks_;
    linear head_;
};

/// Memory of a forward (and of its backward): sized once for a batch and an image size, a step allocates little after that:
/// batch normalisation's column sums and lists of views.
template <class T, class Memory = host_memory>
class resnet_activations {
public:
    template <class Context>
    void reserve(Context& ctx, const resnet_network& net, index_t n, index_t height, index_t width, bool training) {
        if (n == n_ && height == height_ && width == width_ && training == training_) return;
        n_ = -1;  // stays so when an allocation throws
        memory_.measure();
        take(net, n, height, width, training);
        memory_.commit();
        take(net, n, height, width, training);
        if (training) {
            scratch_.measure();
            for (std::size_t i = net.blocks().size(); i-- > 0;) {
                net.blocks()[i].backward(ctx, tensor_view<const T, 1>{}, {}, {}, {}, blocks[i], input(i), {}, {}, scratch_);
            }
            scratch_.commit();
        }
        n_ = n;
        height_ = height;
        width_ = width;
        training_ = training;
    }
    std::size_t bytes() const noexcept { return memory_.committed_bytes() + scratch_.committed_bytes(); }
    bool training() const noexcept { return training_; }
    arena<Memory>& scratch() noexcept { return scratch_; }
    tensor_view<const T, 4> input(std::size_t block) const { return block == 0 ? tensor_view<const T, 4>(pooled) : tensor_view<const T, 4>(blocks[block - 1].y); }

    // What one forward keeps; public to the model, not part of the interface.
    tensor_view<T, 4> images;                          // channels last
    conv_norm::saved<T> stem;
    tensor_view<T, 4> pooled;
    tensor_view<std::int32_t, 4> place;
    std::vector<residual_block::saved<T>> blocks;
    tensor_view<T, 2> features, logits;
    tensor_view<T, 1> unfold;                          // scratch of the convolutions
    tensor_view<T, 1> gradient[2];                     // of blocks' inputs, alternating

private:
    void take(const resnet_network& net, index_t n, index_t height, index_t width, bool training) {
        const resnet_config& c = net.config();
        images = memory_.template take<T>({n, height, width, c.n_channels});
        stem = net.stem().template take<T>(memory_, n, height, width, training);
        index_t scratch = ops::conv2d_scratch(stem.shape), h = stem.shape.height_out(), w = stem.shape.width_out();
        pooled = stem.y;
        place = {};
        if (c.pools()) {
            h = k_pool.out(h);
            w = k_pool.out(w);
            pooled = memory_.template take<T>({n, h, w, c.width});
            place = memory_.template take<std::int32_t>({n, h, w, c.width});
        }
        index_t largest = stem.convolved.size();
        const std::size_t mark = memory_.mark();
        blocks.clear();
        // Sizes first: what evaluation shares must hold the largest of each.
        std::vector<std::array<index_t, 4>> shapes;
        for (const auto& block : net.blocks()) {
            blocks.push_back(block.template take<T>(memory_, n, h, w, training));
            auto& s = blocks.back();
            for (const auto& u : s.units) scratch = std::max(scratch, ops::conv2d_scratch(u.shape));
            if (block.shortcut()) scratch = std::max(scratch, ops::conv2d_scratch(s.shortcut.shape));
            const auto& last = s.units.back().y;
            shapes.push_back({last.extent(0), last.extent(1), last.extent(2), last.extent(3)});
            h = last.extent(1);
            w = last.extent(2);
            largest = std::max(largest, last.size());
            if (!training) memory_.rewind(mark);
        }
        if (training) {
            for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i].y = memory_.template take<T>({shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]});
        } else {
            // Insides of all blocks lie at the same place; that place must stay free up to the end of the largest.
            index_t inside = 0;
            for (const auto& block : net.blocks()) inside = std::max(inside, inside_of(block, blocks[static_cast<std::size_t>(&block - net.blocks().data())]));
            (void)memory_.template take<T>({inside});
            const tensor_view<T, 1> out[2] = {memory_.template take<T>({largest}), memory_.template take<T>({largest})};
            for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i].y = tensor_view<T, 4>(out[i % 2].data(), {shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]});
        }
        features = memory_.template take<T>({n, c.d_features()});
        logits = memory_.template take<T>({n, c.n_labels});
        unfold = memory_.template take<T>({scratch});
        if (training) {
            for (auto& g : gradient) g = memory_.template take<T>({std::max(largest, stem.convolved.size())});
        }
    }
    /// Elements that a block's inside takes, alignment included.
    static index_t inside_of(const residual_block& block, const residual_block::saved<T>& s) {
        constexpr auto k_statistic = static_cast<index_t>(sizeof(accumulator_t<T>) / sizeof(T));
        const auto one = [](const conv_norm::saved<T>& u) { return (u.y.size() + 2 * k_statistic * u.shape.d_out) + 3 * 64; };
        index_t total = block.shortcut() ? one(s.shortcut) : 0;
        for (const auto& u : s.units) total += one(u);
        return total;
    }

public:
    static constexpr ops::max_pool2d_options k_pool{};

private:
    arena<Memory> memory_, scratch_;
    index_t n_ = -1, height_ = -1, width_ = -1;
    bool training_ = false;
};

/// A ResNet with its parameters and running statistics. T: float or double, on a GPU float or bf16; Memory: host_memory, or the CUDA context's.
template <class T, class Memory = host_memory>
class resnet {
public:
    using memory = Memory;

    /// Initialised as torchvision does: Kaiming (fan out) convolutions, normalisation 1 and 0.
    resnet(const resnet_config& config, philox rng) requires std::same_as<Memory, host_memory> : resnet(config) { initialise(net_.layout(), parameters_.view(), rng); }
    /// Parameters zero, to be filled by the caller; running means 0 and variances 1, but on a device zero too: fill buffers() as parameters().
    explicit resnet(const resnet_config& config) : net_(config), parameters_({net_.layout().size()}), buffers_({net_.buffers().size()}) {
        if constexpr (std::same_as<Memory, host_memory>) initialise(net_.buffers(), buffers_.view(), philox{0, 0});
    }

    const resnet_config& config() const noexcept { return net_.config(); }
    const resnet_network& network() const noexcept { return net_; }
    const parameter_layout& layout() const noexcept { return net_.layout(); }
    tensor_view<T, 1> parameters() noexcept { return parameters_.view(); }
    tensor_view<const T, 1> parameters() const noexcept { return parameters_.view(); }
    /// Running statistics; layout: network().buffers().
    tensor_view<accumulator_t<T>, 1> buffers() noexcept { return buffers_.view(); }
    tensor_view<const accumulator_t<T>, 1> buffers() const noexcept { return buffers_.view(); }
    /// A zero-filled buffer for gradients.
    tensor<T, 1, Memory> make_gradients() const { return tensor<T, 1, Memory>({net_.layout().size()}); }

    /// Features after the global mean.
    ///
    /// | argument | shape                                | element | note                                      |
    /// |----------|--------------------------------------|---------|-------------------------------------------|
    /// | images   | [n_batch, n_channels, height, width]  | T       | any size from config().smallest_image()                 |
    /// | result   | [n_batch, d_features]                | T       | lives in `memory` until the next forward  |
    ///
    /// In training the running statistics move. Same bits for any number of threads. Throws shape_error for other images.
    template <class Context>
    tensor_view<T, 2> forward(Context& ctx, resnet_activations<T, Memory>& memory, in_view<T, 4> images, bool training = false) {
        const index_t n = images.extent(0), height = images.extent(2), width = images.extent(3), channels = net_.config().n_channels;
        instar::detail::check_shape("resnet.forward", "images", images, {n, channels, height, width});
        const index_t least = net_.config().smallest_image();
        if (height < least || width < least) {
            throw shape_error("resnet.forward: images of " + std::to_string(height) + " × " + std::to_string(width) + " are smaller than " + std::to_string(least) + " × " + std::to_string(least));
        }
        memory.reserve(ctx, net_, n, height, width, training);
        ops::channels_last<T>(ctx, memory.images, images);
        const tensor_view<const T, 1> values = std::as_const(parameters_).view();
        ops::batch_norm_options norm = options();
        norm.relu = true;
        net_.stem().forward(ctx, values, buffers_.view(), memory.stem, memory.images, norm, training, memory.unfold);
        if (net_.config().pools()) ops::max_pool2d_forward<T>(ctx, memory.pooled, memory.place, memory.stem.y, activations::k_pool);
        for (std::size_t i = 0; i < net_.blocks().size(); ++i) {
            net_.blocks()[i].forward(ctx, values, buffers_.view(), memory.blocks[i], memory.input(i), options(), training, memory.unfold);
        }
        const auto& last = memory.blocks.back().y;
        ops::sequence_pool_forward<T>(ctx, memory.features, tensor_view<T, 3>(last.data(), {n, last.extent(1) * last.extent(2), last.extent(3)}), {}, ops::pooling::mean);
        return memory.features;
    }

    /// Logits of the last forward's features, [n_batch, n_labels].
    template <class Context>
    tensor_view<T, 2> classify(Context& ctx, resnet_activations<T, Memory>& memory) const {
        if (net_.config().n_labels < 1) throw value_error("resnet.classify: the model has no classifier (n_labels = 0)");
        net_.head().forward(ctx, parameters(), memory.logits, memory.features);
        return memory.logits;
    }

    /// Accumulates the gradient of every parameter but the classifier's. d_features: gradient at the forward's result.
    template <class Context>
    void backward(Context& ctx, tensor_view<T, 1> gradients, resnet_activations<T, Memory>& memory, in_view<T, 2> d_features) const {
        if (!memory.training()) throw value_error("resnet.backward: the last forward was not run in training mode");
        instar::detail::check_shape("resnet.backward", "gradients", gradients, {net_.layout().size()});
        instar::detail::check_shape("resnet.backward", "d_features", d_features, {memory.features.extent(0), memory.features.extent(1)});
        const tensor_view<const T, 1> values = parameters_.view();
        const auto like = [](tensor_view<T, 1> room, const auto& v) { return tensor_view<T, 4>(room.data(), {v.extent(0), v.extent(1), v.extent(2), v.extent(3)}); };
        const auto& last = memory.blocks.back().y;
        tensor_view<T, 4> dy = like(memory.gradient[0], last);
        ops::sequence_pool_backward<T>(ctx, tensor_view<T, 3>(dy.data(), {last.extent(0), last.extent(1) * last.extent(2), last.extent(3)}), d_features, {}, ops::pooling::mean);
        for (std::size_t i = net_.blocks().size(); i-- > 0;) {
            tensor_view<T, 4> dx = like(memory.gradient[dy.data() == memory.gradient[0].data() ? 1 : 0], memory.input(i));
            net_.blocks()[i].backward(ctx, values, gradients, dx, dy, memory.blocks[i], memory.input(i), options(), memory.unfold, memory.scratch());
            dy = dx;
        }
        tensor_view<T, 4> d_stem = dy;
        if (net_.config().pools()) {
            d_stem = like(memory.gradient[dy.data() == memory.gradient[0].data() ? 1 : 0], memory.stem.y);
            ops::max_pool2d_backward<T>(ctx, d_stem, dy, memory.place, activations::k_pool);
        }
        ops::batch_norm_options norm = options();
        norm.relu = true;
        net_.stem().backward(ctx, values, gradients, {}, d_stem, memory.stem, memory.images, norm, memory.unfold);
    }

    /// FLOP of the convolutions in one forward of n images; the backward is twice that.
    double forward_flop(index_t n, index_t height, index_t width) const {
        double flop = 0.0;
        const auto add = [&](const ops::conv2d_shape& s) {
            flop += 2.0 * static_cast<double>(s.n_batch * s.height_out() * s.width_out()) * static_cast<double>(s.depth() * s.d_out);
        };
        const ops::conv2d_shape stem = net_.stem().shape(n, height, width);
        add(stem);
        index_t h = stem.height_out(), w = stem.width_out();
        if (net_.config().pools()) {
            h = activations::k_pool.out(h);
            w = activations::k_pool.out(w);
        }
        for (const auto& block : net_.blocks()) {
            if (block.shortcut()) add(block.shortcut()->shape(n, h, w));
            for (const auto& unit : block.units()) {
                const ops::conv2d_shape s = unit.shape(n, h, w);
                add(s);
                h = s.height_out();
                w = s.width_out();
            }
        }
        return flop;
    }

private:
    ops::batch_norm_options options() const { return {.eps = net_.config().eps, .momentum = net_.config().momentum}; }

    using activations = resnet_activations<T, Memory>;

    resnet_network net_;
    tensor<T, 1, Memory> parameters_;
    tensor<accumulator_t<T>, 1, Memory> buffers_;
};

}  // namespace instar::nn

#endif
