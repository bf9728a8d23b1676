// Loads a vision transformer's folder, writes the features of images, the gradients of their sum weighted by D_FEATURES, and saves the model
// again. See vit_interop.py.
//
//     vit_interop FOLDER IMAGES.npy FEATURES.npy SAVED_FOLDER [D_FEATURES.npy GRADIENTS.safetensors]
#include <cstdio>
#include <exception>

#include "instar/io/npy.hpp"
#include "instar/nn/vit_io.hpp"

int main(int argc, char** argv) {
    using namespace instar;
    if (argc != 5 && argc != 7) return 2;
    try {
        cpu_context ctx;
        auto model = nn::load_vit<float>(argv[1]);
        const auto array = io::read_npy<float>(argv[2]);
        const tensor_view<const float, 4> images(array.values.data(), {array.shape.at(0), array.shape.at(1), array.shape.at(2), array.shape.at(3)});
        nn::vit_activations<float> memory;
        const auto features = model.forward(ctx, memory, images);
        io::write_npy(argv[3], tensor_view<const float, 2>(features));
        nn::save_vit(model, argv[4]);
        if (argc == 7) {
            const auto d = io::read_npy<float>(argv[5]);
            auto gradients = model.make_gradients();
            model.forward(ctx, memory, images, {.training = true});
            model.backward(ctx, gradients.view(), memory, tensor_view<const float, 2>(d.values.data(), {d.shape.at(0), d.shape.at(1)}));
            io::write_safetensors(argv[6], nn::named_parameters(model.layout(), gradients.view()));
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
