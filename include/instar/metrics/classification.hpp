#ifndef INSTAR_METRICS_CLASSIFICATION_HPP
#define INSTAR_METRICS_CLASSIFICATION_HPP

// Scores of predicted labels against true ones, as scikit-learn defines them.
//
//     auto s = metrics::classification_scores(predicted, truth);
//     s.accuracy; s.balanced_accuracy; s.f1_macro;
//
// Pairs whose true label is negative (unlabelled) are left out, never counted wrong. A negative prediction is a wrong one.

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "instar/core/element.hpp"
#include "instar/core/error.hpp"

namespace instar::metrics {

/// All in [0, 1]; 0 when nothing was counted.
struct classification_report {
    index_t n_counted = 0;           ///< pairs with a true label
    double accuracy = 0.0;           ///< = micro F1 when every pair gets one label
    double balanced_accuracy = 0.0;  ///< mean recall over classes that occur in `truth`
    double f1_macro = 0.0;           ///< mean over classes that occur in truth or prediction
    double f1_weighted = 0.0;        ///< weighted by occurrences in truth
    double precision_macro = 0.0;    ///< mean over the same classes as f1_macro; 0 for a class never predicted
};

/// Throws value_error when the lengths differ. Cost: O(n log n_classes).
inline classification_report classification_scores(std::span<const std::int32_t> predicted, std::span<const std::int32_t> truth) {
    if (predicted.size() != truth.size()) {
        throw value_error("classification_scores: " + std::to_string(predicted.size()) + " predictions for " + std::to_string(truth.size()) + " labels");
    }
    struct counts {
        double tp = 0, fp = 0, fn = 0;
    };
    std::map<std::int32_t, counts> classes;
    classification_report r;
    double hits = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        if (truth[i] < 0) continue;
        ++r.n_counted;
        if (predicted[i] == truth[i]) {
            ++hits;
            ++classes[truth[i]].tp;
        } else {
            ++classes[truth[i]].fn;
            if (predicted[i] >= 0) ++classes[predicted[i]].fp;
        }
    }
    if (r.n_counted == 0) return r;
    double n_true = 0;
    for (const auto& [label, c] : classes) {
        const double support = c.tp + c.fn;
        const double f1 = 2 * c.tp / std::max(1.0, 2 * c.tp + c.fp + c.fn);
        if (support > 0) {
            ++n_true;
            r.balanced_accuracy += c.tp / support;
            r.f1_weighted += f1 * support;
        }
        r.f1_macro += f1;
        r.precision_macro += c.tp + c.fp > 0 ? c.tp / (c.tp + c.fp) : 0.0;
    }
    const auto n = static_cast<double>(r.n_counted);
    r.accuracy = hits / n;
    r.balanced_accuracy /= n_true;
    r.f1_weighted /= n;
    r.f1_macro /= static_cast<double>(classes.size());
    r.precision_macro /= static_cast<double>(classes.size());
    return r;
}

}  // namespace instar::metrics

#endif
