// The main function of every doctest executable: doctest's own, and a run that selected no test case fails.
//
//     instar_test_unit --source-file=*/unit/layer_norm.cpp          what ctest runs, one entry a file
//     instar_test_unit --test-case="layer_norm*" --success

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

namespace {

// ctest selects by file name: a renamed file or an empty one must not pass as "0 failures".
class selection_counter : public doctest::IReporter {
public:
    explicit selection_counter(const doctest::ContextOptions&) {}
    static inline unsigned selected = 0;

    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats& stats) override { selected = stats.numTestCasesPassingFilters; }
    void test_case_start(const doctest::TestCaseData&) override {}
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_end(const doctest::CurrentTestCaseStats&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}
};

}  // namespace

DOCTEST_REGISTER_LISTENER("selection_counter", 1, selection_counter);

int main(int argc, char** argv) {
    doctest::Context context(argc, argv);
    const int result = context.run();
    if (context.shouldExit()) return result;  // a query: --list-test-cases, --help
    if (selection_counter::selected == 0) {
        std::fputs("no test case was selected\n", stderr);
        return 1;
    }
    return result;
}
