#ifndef INSTAR_BENCHMARKS_PEAK_MEMORY_HPP
#define INSTAR_BENCHMARKS_PEAK_MEMORY_HPP

// How much memory a piece of work takes at most.
//
//     bench::peak_memory::reset();
//     for (auto _ : state) work();
//     state.counters["peak_rss_MB"] = bench::peak_memory::megabytes();

#include <cstdio>
#include <cstring>

namespace instar::bench {

/// Highest resident size of this process since the last reset, in MB; 0 where the system does not tell.
class peak_memory {
public:
    static void reset() {
        if (std::FILE* f = std::fopen("/proc/self/clear_refs", "w")) {
            std::fputs("5", f);
            std::fclose(f);
        }
    }
    static double megabytes() {
        double kb = 0.0;
        if (std::FILE* f = std::fopen("/proc/self/status", "r")) {
            char line[256];
            while (std::fgets(line, sizeof line, f)) {
                if (std::strncmp(line, "VmHWM:", 6) == 0) std::sscanf(line + 6, "%lf", &kb);
            }
            std::fclose(f);
        }
        return kb / 1000.0;
    }
};

}  // namespace instar::bench

#endif
