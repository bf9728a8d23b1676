// The operators of cuda_context as host C++ on the emulator: what cuda_instantiations.cu is to a CUDA build.

#include "../cuda_instantiations.cu"
