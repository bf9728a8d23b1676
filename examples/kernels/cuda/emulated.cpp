// The ladders as host C++ on the emulated device: what nvcc compiles one by one.

#include "attention_ladder.cu"
#include "gemm_ladder.cu"
#include "layer_norm_ladder.cu"
