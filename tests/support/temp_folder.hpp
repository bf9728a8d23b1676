#ifndef INSTAR_TESTS_SUPPORT_TEMP_FOLDER_HPP
#define INSTAR_TESTS_SUPPORT_TEMP_FOLDER_HPP

// A folder of a test's own, removed at the end of the scope, and processes that may be killed.
//
//     test::temp_folder folder;
//     io::write_file(folder / "x.json", text);
//     CHECK(folder.names() == std::vector<std::string>{"x.json"});
//     int status = test::run_in_child([&] { … });        // waitpid's status; the child exits with 0 or, on an exception, 1

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace instar::test {

class temp_folder {
public:
    temp_folder() {
        // Memory where there is some: a thousand fsyncs on a busy disk take minutes.
        const std::string memory = "/dev/shm";
        std::string pattern = (::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path().string()) + "/instar_test_XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot create a folder like " + pattern);
        path_ = pattern;
    }
    ~temp_folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    temp_folder(const temp_folder&) = delete;
    temp_folder& operator=(const temp_folder&) = delete;

    const std::string& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }
    /// What the folder holds, sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const auto& entry : std::filesystem::directory_iterator(path_)) result.push_back(entry.path().filename().string());
        std::sort(result.begin(), result.end());
        return result;
    }

private:
    std::string path_;
};

/// Runs f in a forked process and waits for it.
template <class F>
int run_in_child(F&& f) {
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) {
        try {
            f();
        } catch (...) {
            ::_exit(1);
        }
        ::_exit(0);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/// The process may write no file beyond this size: EFBIG, or death by SIGXFSZ when `kill` is set. Undone at the scope's end.
class file_size_limit {
public:
    explicit file_size_limit(std::uint64_t bytes, bool kill = false) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        handler_ = std::signal(SIGXFSZ, kill ? SIG_DFL : SIG_IGN);
        rlimit limit = before_;
        limit.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~file_size_limit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }
    file_size_limit(const file_size_limit&) = delete;
    file_size_limit& operator=(const file_size_limit&) = delete;

private:
    rlimit before_{};
    void (*handler_)(int) = SIG_DFL;
};

}  // namespace instar::test

#endif
