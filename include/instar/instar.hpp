#ifndef INSTAR_INSTAR_HPP
#define INSTAR_INSTAR_HPP

// Everything, for a first try:
//
//     #include "instar/instar.hpp"
//     g++ -std=c++20 -O2 -Iinclude try.cpp -ltbb
//
// A program that stays includes the headers that it uses: that compiles several times faster, and without nlohmann_json where
// no model folder is read. The library, its tests and its examples never include this file.

#include "instar/core/build_info.hpp"
#include "instar/core/cpu_context.hpp"
#include "instar/core/element.hpp"
#include "instar/core/error.hpp"
#include "instar/core/isa.hpp"
#include "instar/core/memory.hpp"
#include "instar/core/parallel_for.hpp"
#include "instar/core/philox.hpp"
#include "instar/core/tensor.hpp"
#include "instar/core/tensor_view.hpp"
#include "instar/core/version.hpp"

#include "instar/ops/adamw.hpp"
#include "instar/ops/attention.hpp"
#include "instar/ops/batch_norm.hpp"
#include "instar/ops/contrastive.hpp"
#include "instar/ops/conv2d.hpp"
#include "instar/ops/cross_entropy.hpp"
#include "instar/ops/dropout.hpp"
#include "instar/ops/elementwise.hpp"
#include "instar/ops/embedding.hpp"
#include "instar/ops/gelu.hpp"
#include "instar/ops/gemm.hpp"
#include "instar/ops/info_nce.hpp"
#include "instar/ops/l2_normalize.hpp"
#include "instar/ops/layer_norm.hpp"
#include "instar/ops/linear.hpp"
#include "instar/ops/max_pool2d.hpp"
#include "instar/ops/patch_embedding.hpp"
#include "instar/ops/pooling.hpp"
#include "instar/ops/relu.hpp"
#include "instar/ops/siglip.hpp"
#include "instar/ops/softmax.hpp"
#include "instar/ops/sup_con.hpp"

#include "instar/nn/bert.hpp"
#include "instar/nn/bert_io.hpp"
#include "instar/nn/heads.hpp"
#include "instar/nn/layer_norm.hpp"
#include "instar/nn/linear.hpp"
#include "instar/nn/mlp.hpp"
#include "instar/nn/parameters.hpp"
#include "instar/nn/position_projection.hpp"
#include "instar/nn/resnet.hpp"
#include "instar/nn/self_attention.hpp"
#include "instar/nn/transformer_block.hpp"
#include "instar/nn/vit.hpp"
#include "instar/nn/vit_io.hpp"

#include "instar/optim/adamw.hpp"
#include "instar/optim/schedule.hpp"
#include "instar/optim/sgd.hpp"

#include "instar/tokenize/kmer.hpp"
#include "instar/tokenize/kmer_counts.hpp"

#include "instar/data/anchor.hpp"
#include "instar/data/barcode_augment.hpp"
#include "instar/data/barcode_dedup.hpp"
#include "instar/data/bioscan.hpp"
#include "instar/data/bioscan_clibd.hpp"
#include "instar/data/bioscan_format.hpp"
#include "instar/data/bioscan_reader.hpp"
#include "instar/data/column.hpp"
#include "instar/data/csv.hpp"
#include "instar/data/csv_scan.hpp"
#include "instar/data/csv_writer.hpp"
#include "instar/data/fasta.hpp"
#include "instar/data/label_file.hpp"
#include "instar/data/md5.hpp"
#include "instar/data/sequence.hpp"
#include "instar/data/simulate.hpp"
#include "instar/data/simulate_names.hpp"
#include "instar/data/simulate_sequence.hpp"
#include "instar/data/simulate_splits.hpp"
#include "instar/data/simulate_tree.hpp"

#include "instar/cluster/agglomerative.hpp"
#include "instar/cluster/dendrogram.hpp"
#include "instar/cluster/kmeans.hpp"
#include "instar/cluster/knn.hpp"
#include "instar/cluster/pca.hpp"
#include "instar/cluster/silhouette.hpp"
#include "instar/cluster/umap.hpp"

#include "instar/metrics/classification.hpp"
#include "instar/metrics/clustering.hpp"
#include "instar/metrics/retrieval.hpp"

#include "instar/io/atomic_file.hpp"
#include "instar/io/dtype.hpp"
#include "instar/io/file.hpp"
#include "instar/io/gzip.hpp"
#include "instar/io/hf.hpp"
#include "instar/io/json.hpp"
#include "instar/io/json_text.hpp"
#include "instar/io/npy.hpp"
#include "instar/io/safetensors.hpp"
#include "instar/io/safetensors_writer.hpp"

#include "instar/train/batch_order.hpp"
#include "instar/train/bert_trainer.hpp"
#include "instar/train/checkpoint.hpp"
#include "instar/train/interrupt.hpp"
#include "instar/train/log.hpp"
#include "instar/train/progress.hpp"

#if defined(__CUDACC__) || defined(INSTAR_CUDA_EMULATED)
#include "instar/cuda/cuda_context.hpp"
#endif

#endif
