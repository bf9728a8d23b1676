// The clusterers of cuda_context as host C++ on the emulator.

#include "../cuda_clustering.cu"
