// Loads a residual network's folder, writes the features of images and saves the network again; then, in double, the features in training (statistics
// of the batch) and the gradients of their sum weighted by D_FEATURES. See resnet_interop.py.
//
//     resnet_interop FOLDER IMAGES.npy FEATURES.npy SAVED_FOLDER D_FEATURES.npy TRAINED_FEATURES.npy GRADIENTS.safetensors
#include <algorithm>
#include <cstdio>
#include <exception>

#include "instar/io/npy.hpp"
#include "instar/nn/resnet_io.hpp"

int main(int argc, char** argv) {
    using namespace instar;
    if (argc != 8) return 2;
    try {
        cpu_context ctx;
        auto model = nn::load_resnet<float>(argv[1]);
        const auto array = io::read_npy<float>(argv[2]);
        const tensor_view<const float, 4> images(array.values.data(), {array.shape.at(0), array.shape.at(1), array.shape.at(2), array.shape.at(3)});
        nn::resnet_activations<float> memory;
        const auto features = model.forward(ctx, memory, images, false);
        io::write_npy(argv[3], tensor_view<const float, 2>(features));
        nn::save_resnet(model, argv[4]);
        // In double: in float a ReLU whose input is nearly 0 may open or stay shut, which moves a gradient by a whole pixel.
        auto exact = nn::load_resnet<double>(argv[1]);
        const auto d = io::read_npy<double>(argv[5]);
        tensor<double, 4> x({images.extent(0), images.extent(1), images.extent(2), images.extent(3)});
        std::copy_n(images.data(), x.size(), x.data());
        tensor<double, 1> gradients({exact.layout().size()});
        nn::resnet_activations<double> saved;
        io::write_npy(argv[6], tensor_view<const double, 2>(exact.forward(ctx, saved, x.view(), true)));
        exact.backward(ctx, gradients.view(), saved, tensor_view<const double, 2>(d.values.data(), {d.shape.at(0), d.shape.at(1)}));
        io::write_safetensors(argv[7], nn::named_parameters(exact.layout(), gradients.view()));
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
