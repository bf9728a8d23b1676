#include "work.hpp"

instar::tensor<float, 2> native_work(instar::cpu_context& ctx) { return work(ctx); }
