// Batches made in the background: the same for any number of threads and from any place of an epoch; broken items; archives; work that throws.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "instar/data/image_encode.hpp"
#include "instar/data/image_file.hpp"
#include "instar/data/image_loader.hpp"
#include "instar/data/image_warp.hpp"
#include "instar/io/file_source.hpp"
#include "instar/io/zip_archive.hpp"
#include "instar/train/batch_order.hpp"
#include "support/temp_folder.hpp"

using namespace instar;

namespace {

void numbers(index_t item, tensor_view<float, 3> x, philox rng) {
    if (item % 7 == 3) throw parse_error("item " + std::to_string(item), "is broken");
    for (index_t i = 0; i < 2 * 3 * 4; ++i) x.data()[i] = static_cast<float>(item) + rng.uniform(static_cast<std::uint64_t>(i));
}

std::vector<float> epoch(data::image_loader& loader, index_t n, index_t number, index_t first = 0) {
    loader.start(train::epoch_order(n, philox{.seed = 7}, number), philox{.seed = 8}.fork(static_cast<std::uint64_t>(number)), first);
    std::vector<float> all;
    while (const auto* batch = loader.next()) {
        CHECK(batch->pixels().extent(0) == batch->size());
        for (const index_t i : batch->items) all.push_back(static_cast<float>(i));
        all.insert(all.end(), batch->pixels().data(), batch->pixels().data() + batch->size() * 24);
    }
    return all;
}

data::image_loader_options options(int threads, index_t ahead) { return {.batch_size = 5, .n_channels = 2, .height = 3, .width = 4, .n_ahead = ahead, .threads = threads}; }

}  // namespace

TEST_CASE("image_loader: order, numbers and what is broken do not depend on threads or on how far it reads ahead") {
    data::image_loader one(options(1, 0), numbers);
    const auto expected = epoch(one, 33, 0), second = epoch(one, 33, 1);
    CHECK(one.n_batches() == 0 + 7);
    CHECK(one.n_broken() == 10);  // 3, 10, 17, 24, 31, twice
    CHECK(one.errors().size() == 10);
    CHECK(one.errors()[0].find("is broken") != std::string::npos);
    CHECK(expected.size() == 28 * 25);
    CHECK(expected != second);
    for (const int threads : {1, 2, 4}) {
        for (const index_t ahead : {0, 1, 3, 20}) {
            data::image_loader loader(options(threads, ahead), numbers);
            CHECK(epoch(loader, 33, 0) == expected);
            CHECK(epoch(loader, 33, 1) == second);
            // In the middle of an epoch: the rest of it.
            const auto rest = epoch(loader, 33, 0, 4);
            CHECK(std::equal(rest.begin(), rest.end(), expected.end() - static_cast<std::ptrdiff_t>(rest.size())));
            CHECK(epoch(loader, 33, 0, 7).empty());
            // Left alone before its end, then started anew.
            loader.start(train::epoch_order(33, philox{.seed = 7}, 3), philox{});
            loader.next();
            CHECK(epoch(loader, 33, 1) == second);
        }
    }
    auto o = options(2, 2);
    o.drop_last = true;
    data::image_loader full(o, [](index_t, tensor_view<float, 3>, philox) {});
    full.start({1, 2, 3, 4, 5, 6, 7}, philox{});
    CHECK(full.next()->size() == 5);
    CHECK(full.next() == nullptr);
    CHECK(full.next() == nullptr);
}

TEST_CASE("image_loader: broken items may be fatal; what is no error of the data comes out; sizes are checked") {
    auto o = options(2, 2);
    o.broken = data::broken_items::fatal;
    data::image_loader loader(o, numbers);
    loader.start({1, 2, 10, 4}, philox{});
    CHECK_THROWS_WITH_AS(loader.next(), doctest::Contains("item 10"), error);
    CHECK(loader.next() == nullptr);
    loader.start({1, 2}, philox{});
    CHECK(loader.next()->size() == 2);
    data::image_loader other(options(2, 2), [](index_t item, tensor_view<float, 3>, philox) {
        if (item == 6) throw std::logic_error("a mistake");
    });
    other.start({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, philox{});
    CHECK(other.next()->size() == 5);
    CHECK_THROWS_AS(other.next(), std::logic_error);
    other.start({1, 2}, philox{});
    CHECK(other.next()->size() == 2);
    CHECK_THROWS_AS(other.start({1}, philox{}, 2), value_error);
    CHECK_THROWS_AS(data::image_loader({.batch_size = 0}, numbers), value_error);
    { data::image_loader dropped(options(2, 3), numbers); dropped.start({1, 2, 4, 5, 6, 7, 8, 9}, philox{}); }  // destroyed while it works
}

TEST_CASE("file_source: folders and archives") {
    const test::temp_folder folder;
    std::filesystem::create_directories(folder / "a/b");
    std::ofstream(folder / "a/b/x.bin", std::ios::binary) << "one";
    const io::file_source files({folder / "a"});
    CHECK(files.read("b/x.bin") == "one");
    CHECK_THROWS_AS(files.read("b/y.bin"), io_error);
    CHECK_THROWS_AS(io::file_source({folder / "nowhere"}), io_error);
    CHECK_THROWS_AS(io::file_source({}), value_error);
    std::ofstream(folder / "no.zip") << "no archive";
    CHECK_THROWS_AS(io::file_source({folder / "no.zip"}), io_error);
#if defined(INSTAR_HAVE_LIBZIP) && INSTAR_HAVE_LIBZIP
    // An archive with photographs, one of them cut, one stored and one deflated; made with libzip itself.
    const std::string path = folder / "photos.zip";
    std::vector<std::string> photos;
    {
        int code = 0;
        zip_t* z = zip_open(path.c_str(), ZIP_CREATE, &code);
        REQUIRE(z != nullptr);
        for (int k = 0; k < 6; ++k) {
            data::image x{20, 30, std::vector<std::uint8_t>(1800, static_cast<std::uint8_t>(40 * k))};
            photos.push_back(data::encode_jpeg(x, 90));
            if (k == 4) photos.back().resize(photos.back().size() / 2);
        }
        for (std::size_t k = 0; k < photos.size(); ++k) {
            const auto at = zip_file_add(z, ("in/" + std::to_string(k) + ".jpg").c_str(), zip_source_buffer(z, photos[k].data(), photos[k].size(), 0), ZIP_FL_ENC_UTF_8);
            REQUIRE(at >= 0);
            zip_set_file_compression(z, static_cast<zip_uint64_t>(at), k % 2 == 0 ? ZIP_CM_STORE : ZIP_CM_DEFLATE, 0);
        }
        REQUIRE(zip_close(z) == 0);
    }
    const io::zip_archive zip(path);
    CHECK(zip.size() == 6);
    CHECK(zip.name(2) == "in/2.jpg");
    CHECK(zip.find("in/3.jpg") == 3);
    CHECK_FALSE(zip.find("3.jpg"));
    for (std::size_t k = 0; k < photos.size(); ++k) CHECK(zip.read("in/" + std::to_string(k) + ".jpg") == photos[k]);
    CHECK_THROWS_WITH_AS(zip.read("in/0.jpg", 10), doctest::Contains("the limit is 10"), io_error);
    CHECK_THROWS_WITH_AS(zip.read("in/9.jpg"), doctest::Contains("is not in the archive"), io_error);
    CHECK_THROWS_AS(zip.name(6), value_error);

    const io::file_source both({folder / "a", path});
    CHECK(both.read("b/x.bin") == "one");
    CHECK_THROWS_WITH_AS(both.read("c"), doctest::Contains("photos.zip"), io_error);
    data::image_loader loader({.batch_size = 6, .height = 8, .width = 8, .threads = 2}, [&](index_t item, tensor_view<float, 3> x, philox) {
        const auto photo = data::read_image(both, "in/" + std::to_string(item) + ".jpg");
        data::warp_image(x, photo, data::center_map(photo, 8));
    });
    loader.start({5, 4, 3, 2, 1, 0}, philox{});
    const auto* batch = loader.next();
    CHECK(batch->items == std::vector<index_t>{5, 3, 2, 1, 0});
    for (index_t i = 0; i < batch->size(); ++i) CHECK(batch->pixels()(i, 0, 4, 4) == doctest::Approx(static_cast<double>(40 * batch->items[static_cast<std::size_t>(i)]) / 255.0).epsilon(0.05));
    CHECK(loader.errors()[0].find("in/4.jpg") != std::string::npos);

    // A flipped byte of a stored photograph: the checksum tells.
    std::string all;
    {
        std::ifstream in(path, std::ios::binary);
        all.assign(std::istreambuf_iterator<char>(in), {});
    }
    all[all.find(photos[2]) + photos[2].size() / 2] ^= 1;
    const std::string broken = folder / "broken.zip";
    std::ofstream(broken, std::ios::binary) << all;
    CHECK_THROWS_WITH_AS(io::zip_archive(broken).read("in/2.jpg"), doctest::Contains("CRC"), io_error);
#endif
}
