#ifndef INSTAR_EXAMPLES_COMMON_DEVICE_OPTION_HPP
#define INSTAR_EXAMPLES_COMMON_DEVICE_OPTION_HPP

// The flags --device and --bf16 of a command line; what becomes of them: common/device.hpp.
//
//     examples::add_device_options(app, settings.device, settings.bf16);

#include <CLI/CLI.hpp>

#include "common/device.hpp"
#include "instar/core/isa.hpp"

namespace examples {

inline void add_device_options(CLI::App& app, std::string& name, bool& bf16) {
    const std::string other = other_device();
    app.add_option("--device", name, "where networks run: cpu" + (other.empty() ? std::string(" (this program was built for no other)") : " or " + other))
        ->capture_default_str()
        ->check(CLI::IsMember({"cpu", "cuda", "emulated"}));
    app.add_flag("--bf16", bf16, std::string("on the CPU, networks multiply in bf16: ") +
                                     (instar::isa::active_bf16() != instar::isa::bf16_products::as_float ? "about twice the speed" : "no faster on this processor, which has no instructions for it"));
}

}  // namespace examples

#endif
