// io/atomic_file.hpp and io/file.hpp: either the new file or the old one, whatever goes wrong.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include "instar/io/atomic_file.hpp"
#include "instar/io/file.hpp"
#include "support/compare.hpp"
#include "support/temp_folder.hpp"

using namespace instar;
using test::error_text;
using names = std::vector<std::string>;

namespace {
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("atomic_file: replaces the content at commit, and only then") {
    test::temp_folder folder;
    const std::string path = folder / "a.txt";
    io::write_file(path, "old");
    {
        io::atomic_file f(path);
        f.write("new ");
        f.write(std::string(200'000, 'x'));  // larger than the buffer
        f.write("");
        f.write(" end");
        CHECK(f.bytes() == 200'008);
        CHECK(io::read_text(path) == "old");
        CHECK(folder.names() == names{"a.txt", "a.txt.tmp"});
        f.commit();
    }
    CHECK(io::read_text(path) == "new " + std::string(200'000, 'x') + " end");
    CHECK(folder.names() == names{"a.txt"});
}

TEST_CASE("atomic_file: without commit the old file stays and nothing else is left") {
    test::temp_folder folder;
    const std::string path = folder / "a.txt";
    io::write_file(path, "old");
    { io::atomic_file(path).write(std::string(100'000, 'y')); }
    {
        io::atomic_file f(folder / "never.txt");
        f.write("x");
        f.discard();
        CHECK(contains(error_text([&] { f.write("more"); }), "never.txt: written to after"));
        CHECK(contains(error_text([&] { f.commit(); }), "never.txt: committed twice"));
    }
    CHECK(io::read_text(path) == "old");
    CHECK(folder.names() == names{"a.txt"});
}

TEST_CASE("atomic_file: a missing folder, a folder in its place and an empty name are named") {
    test::temp_folder folder;
    CHECK(contains(error_text<io_error>([&] { io::write_file(folder / "no/such/a.txt", "x"); }),
                   "no/such/a.txt: cannot create " + folder.path() + "/no/such/a.txt.tmp: No such file or directory"));
    CHECK(contains(error_text<io_error>([&] { io::write_file(folder.path(), "x"); }), folder.path() + ": cannot write: Is a directory"));
    CHECK(contains(error_text<io_error>([&] { io::write_file("", "x"); }), "the path is empty"));
    CHECK(folder.names().empty());
}

TEST_CASE("atomic_file: a full device") {
    if (!io::exists("/dev/full")) {
        MESSAGE("skipped: there is no /dev/full");
        return;
    }
    CHECK(error_text<io_error>([] { io::write_file("/dev/full", "hello"); }) ==
          "/dev/full: cannot write 5 bytes at byte 0: No space left on device");
    struct stat status {};
    CHECK(::stat("/dev/full", &status) == 0);
    CHECK(S_ISCHR(status.st_mode));  // a device is written to, never replaced
}

TEST_CASE("atomic_file: a file that cannot grow leaves the old one, and nothing aside") {
    test::temp_folder folder;
    const std::string path = folder / "a.bin";
    io::write_file(path, "old");
    std::string text;
    {
        const test::file_size_limit limit(100'000);
        text = error_text<io_error>([&] {
            io::atomic_file f(path);
            for (int i = 0; i < 10; ++i) f.write(std::string(50'000, 'z'));
            f.commit();
        });
    }
    CHECK(contains(text, "a.bin: cannot write "));
    CHECK(contains(text, " at byte 100000: File too large"));
    CHECK(io::read_text(path) == "old");
    CHECK(folder.names() == names{"a.bin"});
}

TEST_CASE("atomic_file: killed in the middle, the old file stays and the next writer succeeds") {
    test::temp_folder folder;
    const std::string path = folder / "a.bin";
    const std::string content(300'000, 'n');
    io::write_file(path, "old");
    for (const std::uint64_t at : {0u, 1u, 65'536u, 150'000u, 299'999u}) {
        const int status = test::run_in_child([&] {
            const test::file_size_limit limit(at, true);
            io::write_file(path, content);
        });
        CHECK(WIFSIGNALED(status));
        CHECK(io::read_text(path) == "old");
        CHECK(folder.names() == names{"a.bin", "a.bin.tmp"});
    }
    io::write_file(path, "shorter");  // takes over what the killed writers left, which was longer
    CHECK(io::read_text(path) == "shorter");
    CHECK(folder.names() == names{"a.bin"});
}

TEST_CASE("atomic_file: two writers of one file at once") {
    test::temp_folder folder;
    const std::string path = folder / "a.txt";
    {
        io::atomic_file first(path);
        first.write("first");
        CHECK(contains(error_text<io_error>([&] { io::write_file(path, "second"); }), "another writer is at work"));
        first.commit();
    }
    CHECK(io::read_text(path) == "first");
    io::write_file(path, "second");
    CHECK(io::read_text(path) == "second");
}

TEST_CASE("atomic_file: without permission") {
    test::temp_folder folder;
    const std::string path = folder / "a.txt", inner = folder / "open/b.txt";
    io::write_file(path, "old");
    io::create_folders(folder / "open");
    io::write_file(inner, "kept");
    ::chmod(folder.path().c_str(), 0555);
    ::chmod((folder / "open").c_str(), 0777);
    ::chmod(inner.c_str(), 0444);
    // root may write anywhere, so the child becomes nobody.
    const int status = test::run_in_child([&] {
        if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(2);
        if (!contains(error_text<io_error>([&] { io::write_file(folder / "new.txt", "x"); }), "new.txt.tmp: Permission denied")) ::_exit(3);
        if (!contains(error_text<io_error>([&] { io::write_file(inner, "x"); }), "b.txt: cannot open for writing: Permission denied")) ::_exit(4);
    });
    ::chmod(folder.path().c_str(), 0755);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(io::read_text(path) == "old");
    CHECK(io::read_text(inner) == "kept");
    CHECK(folder.names() == names{"a.txt", "open"});
}

TEST_CASE("atomic_file: keeps the mode, and follows symbolic links") {
    test::temp_folder folder;
    const std::string path = folder / "a.txt", link = folder / "link.txt", dangling = folder / "dangling.txt";
    io::write_file(path, "old");
    ::chmod(path.c_str(), 0640);
    REQUIRE(::symlink(path.c_str(), link.c_str()) == 0);
    REQUIRE(::symlink((folder / "nowhere").c_str(), dangling.c_str()) == 0);
    io::write_file(link, "through the link");
    struct stat status {};
    REQUIRE(::lstat(link.c_str(), &status) == 0);
    CHECK(S_ISLNK(status.st_mode));
    CHECK(io::read_text(path) == "through the link");
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0640);
    CHECK(contains(error_text<io_error>([&] { io::write_file(dangling, "x"); }), "dangling.txt: cannot follow the symbolic link"));
}

TEST_CASE("file: positioned reads never give less than asked for") {
    test::temp_folder folder;
    const std::string path = folder / "a.bin";
    io::write_file(path, "0123456789");
    io::file_reader f(path);
    char buffer[16] = {};
    f.read_at(3, buffer, 4);
    CHECK(std::string(buffer, 4) == "3456");
    f.read_at(10, buffer, 0);
    CHECK(contains(error_text<io_error>([&] { f.read_at(8, buffer, 3); }), "3 bytes at byte 8 are beyond the end (10 bytes)"));
    CHECK(contains(error_text<io_error>([&] { f.read_at(~0ull, buffer, 3); }), "beyond the end"));
    REQUIRE(::truncate(path.c_str(), 5) == 0);  // another process, meanwhile
    CHECK(contains(error_text<io_error>([&] { f.read_at(3, buffer, 4); }), "a.bin: ends at byte 5, it was shortened while being read"));
    io::file_reader moved(std::move(f));
    moved.read_at(0, buffer, 5);
    CHECK(contains(error_text<io_error>([&] { io::file_reader(folder / "none"); }), "none: cannot open for reading: No such file or directory"));
    CHECK(contains(error_text<io_error>([&] { io::file_reader(folder.path()); }), "Is a directory"));
    CHECK(contains(error_text<io_error>([&] { io::read_text(folder / "none"); }), "none: cannot open for reading"));
    CHECK(contains(error_text<io_error>([&] { io::read_text(folder.path()); }), "Is a directory"));
    CHECK(contains(error_text<io_error>([&] { io::read_text(path, 4); }), "longer than the 4 bytes allowed"));
}

TEST_CASE("file: create_folders makes what is missing, and names what stands in the way") {
    test::temp_folder folder;
    io::create_folders(folder / "a/b/c/");
    io::create_folders(folder / "a/b/c");
    CHECK(std::filesystem::is_directory(folder / "a/b/c"));
    io::write_file(folder / "file", "x");
    CHECK(contains(error_text<io_error>([&] { io::create_folders(folder / "file/d"); }), "/file: cannot create the folder: Not a directory"));
}
