#ifndef INSTAR_EXAMPLES_IMAGE_CLASSIFIER_IMAGE_NETWORK_HPP
#define INSTAR_EXAMPLES_IMAGE_CLASSIFIER_IMAGE_NETWORK_HPP

// An image_model at work on the device that was chosen: images and results are host memory, the network and its optimiser the device's.
//
//     std::unique_ptr<image_network> network = place(device, model);
//     tensor_view<const float, 2> logits = network->logits(images);                       // images [n, 3, crop, crop]
//     double loss = network->accumulate(images, targets, weights, options, rng);          // gradients add up
//     examples::trainable what = network->trained_by(settings);                           // the optimiser; fit() brings the model up to date

#include "common/device.hpp"
#include "common/fit.hpp"

#include "image_model.hpp"
#include "settings.hpp"

namespace image_classifier {

struct loss_options {
    bool focal = false;
    double gamma = 2.0;
    double label_smoothing = 0.0;
    double denominator = 1.0;
};

class image_network {
public:
    virtual ~image_network() = default;

    /// Logits in evaluation, [n, n_labels]; valid until the next call.
    virtual tensor_view<const float, 2> logits(tensor_view<const float, 4> images) = 0;
    /// Features before the classifier in evaluation, [n, d]; valid until the next call.
    virtual tensor_view<const float, 2> features(tensor_view<const float, 4> images) = 0;
    /// Forward and backward of one batch in training mode; gradients add up. Returns Σ loss / denominator.
    virtual double accumulate(tensor_view<const float, 4> images, tensor_view<const std::int32_t, 1> targets, tensor_view<const float, 1> weights, const loss_options& o, philox rng) = 0;
    /// What fit() trains, by the settings' optimiser; this object must outlive it.
    virtual examples::trainable trained_by(const settings& s) = 0;
};

/// The model's network on the device; `model` must outlive it.
std::unique_ptr<image_network> place(examples::device& device, image_model& model);

}  // namespace image_classifier

#endif
