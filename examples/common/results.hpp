#ifndef INSTAR_EXAMPLES_COMMON_RESULTS_HPP
#define INSTAR_EXAMPLES_COMMON_RESULTS_HPP

// results.json, the same for every example.
//
//     metrics_map metrics{{"test.top1.micro", 0.97}};
//     write_results("out/", "train", seconds_since(start), samples_per_second, metrics);

#include <chrono>
#include <filesystem>
#include <map>
#include <string>

#include "instar/io/json.hpp"

namespace examples {

using metrics_map = std::map<std::string, double>;

inline double seconds_since(std::chrono::steady_clock::time_point start) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }

/// {"task", "seconds", "samples_per_second", "metrics": {…}}, written aside and renamed. `out`: a folder (made when it is missing) or a
/// .json file.
inline void write_results(const std::string& out, const std::string& task, double seconds, double samples_per_second, const metrics_map& metrics) {
    const bool file = out.ends_with(".json");
    if (!file) std::filesystem::create_directories(out);
    instar::io::write_json(file ? out : out + "/results.json", {{"task", task}, {"seconds", seconds}, {"samples_per_second", samples_per_second}, {"metrics", metrics}});
}

}  // namespace examples

#endif
