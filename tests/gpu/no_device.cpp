// Linked with the real CUDA runtime, run where there is no driver, or with every device hidden: a context must say so. Prints the error and exits
// with 0 when it is the right one.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "instar/cuda/cuda_context.hpp"

int main() {
    setenv("CUDA_VISIBLE_DEVICES", "", 1);  // before the runtime's first call
    try {
        const instar::cuda_context ctx;
        std::printf("a context on %s, where there should be none\n", ctx.properties().name.c_str());
    } catch (const instar::device_error& e) {
        const std::string text = e.what();
        std::printf("%s\n", text.c_str());
        return text == "cuda_context: device 0 of 0 (no usable driver)" || text == "cuda_context: device 0 of 0 (no device)" ? 0 : 1;
    }
    return 1;
}
