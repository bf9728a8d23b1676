// The k-mer tokenizer of cuda_context as host C++ on the emulator.

#include "../cuda_kmer.cu"
