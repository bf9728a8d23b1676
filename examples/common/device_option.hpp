#ifndef INSTAR_EXAMPLES_COMMON_DEVICE_OPTION_HPP
#define INSTAR_EXAMPLES_COMMON_DEVICE_OPTION_HPP

// The flag --device of a command line; what becomes of its value: common/device.hpp.
//
//     examples::add_device_option(app, settings.device);

#include <CLI/CLI.hpp>

#include "common/device.hpp"

namespace examples {

inline void add_device_option(CLI::App& app, std::string& name) {
    const std::string other = other_device();
    app.add_option("--device", name, "where networks run: cpu" + (other.empty() ? std::string(" (this program was built for no other)") : " or " + other))
        ->capture_default_str()
        ->check(CLI::IsMember({"cpu", "cuda", "emulated"}));
}

}  // namespace examples

#endif
