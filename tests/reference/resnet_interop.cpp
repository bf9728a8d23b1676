// Loads a residual network's folder, writes the features of images and saves the network again. See resnet_interop.py.
//
//     resnet_interop FOLDER IMAGES.npy FEATURES.npy SAVED_FOLDER
#include <cstdio>
#include <exception>

#include "instar/io/npy.hpp"
#include "instar/nn/resnet_io.hpp"

int main(int argc, char** argv) {
    using namespace instar;
    if (argc != 5) return 2;
    try {
        cpu_context ctx;
        auto model = nn::load_resnet<float>(argv[1]);
        const auto array = io::read_npy<float>(argv[2]);
        const tensor_view<const float, 4> images(array.values.data(), {array.shape.at(0), array.shape.at(1), array.shape.at(2), array.shape.at(3)});
        nn::resnet_activations<float> memory;
        const auto features = model.forward(ctx, memory, images, false);
        io::write_npy(argv[3], tensor_view<const float, 2>(features));
        nn::save_resnet(model, argv[4]);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
