// Work beside the caller: it runs, one piece after the other, gives its exception to whoever waits, once, and ends before its owner does.
#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>

#include "instar/core/background_task.hpp"
#include "instar/core/parallel_for.hpp"

using namespace instar;

TEST_CASE("background_task: work is done when wait returns, and pieces follow each other") {
    for (const int threads : {1, 2, 4}) {
        cpu_context ctx{threads};
        background_task task(ctx);
        CHECK_FALSE(task.running());
        task.wait();  // nothing to wait for
        int order = 0;
        std::atomic<int> elements{0};
        task.start([&] { order = order * 10 + 1; });
        task.start([&] {  // not before the first has ended
            order = order * 10 + 2;
            parallel_for(ctx, 1000, 10, [&](index_t begin, index_t end) { elements += static_cast<int>(end - begin); });
        });
        task.wait();
        CHECK_FALSE(task.running());
        CHECK(order == 12);
        CHECK(elements == 1000);
    }
}

TEST_CASE("background_task: an exception comes out of wait once, and out of the next start") {
    cpu_context ctx{2};
    background_task task(ctx);
    task.start([] { throw std::runtime_error("broken"); });
    CHECK_THROWS_WITH_AS(task.wait(), "broken", std::runtime_error);
    task.wait();
    task.start([] { throw std::runtime_error("broken again"); });
    bool ran = false;
    CHECK_THROWS_WITH_AS(task.start([&] { ran = true; }), "broken again", std::runtime_error);
    task.wait();
    CHECK_FALSE(ran);
    task.start([&] { ran = true; });
    task.wait();
    CHECK(ran);
}

TEST_CASE("background_task: the destructor waits, and keeps an exception to itself") {
    cpu_context ctx{2};
    for (int i = 0; i < 50; ++i) {
        std::atomic<int> done{0};
        {
            background_task one(ctx), two(ctx);
            one.start([&] { ++done; });
            two.start([&] {
                ++done;
                throw std::runtime_error("nobody asks");
            });
        }
        CHECK(done == 2);
    }
}
