#include <doctest/doctest.h>

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "instar/data/bioscan.hpp"
#include "instar/data/bioscan_clibd.hpp"
#include "instar/data/label_file.hpp"
#include "support/compare.hpp"

using namespace instar;
using namespace instar::data;
using test::error_text;

namespace {

bioscan_metadata read(const std::string& text, bioscan_options options = {}) { return read_bioscan(io::input_file::from_memory("m.csv", text), std::move(options)); }
bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string header_5m() {
    std::string text;
    for (std::string_view c : k_bioscan_5m_columns) text += (text.empty() ? "" : ",") + std::string(c);
    return text + "\n";
}

template <class Names>
std::string join_lines(const Names& names) {
    std::string text;
    bool first = true;
    for (const auto& n : names) {
        if (!first) text += '\n';
        first = false;
        if constexpr (std::is_integral_v<std::remove_cvref_t<decltype(n)>>) text += std::to_string(n);
        else text += n;
    }
    return text;
}

}  // namespace

TEST_CASE("bioscan: BIOSCAN-5M's columns, types and missing values") {
    const auto m = read(header_5m() +
                        "P1,S1,Apis mellifera,Arthropoda,Insecta,Hymenoptera,Apidae,Apinae,Apis,Apis mellifera,BOLD:AAA2326,ACGTNN,Canada,\"Newfoundland, Labrador\","
                        "45.5,-73.25,1234,0.25,1.5,0,train,77,3\n"
                        "P2,S2,NA,Arthropoda,Insecta,Diptera,,null,N/A,,,acgt,,,,,,,,255,pretrain,,\n");
    CHECK(m.format() == bioscan_format::bioscan_5m);
    CHECK(m.size() == 2);
    CHECK(m.columns().size() == 23);
    CHECK(m.processid(0) == "P1");
    CHECK(m.barcode(0) == "ACGTNN");
    CHECK(m.barcode(1) == "acgt");
    CHECK(m.label("species", 0) == "Apis mellifera");
    CHECK(m.label("species", 1).empty());
    CHECK(m.label_index("species", 1) == -1);
    CHECK(m.label("taxon", 1).empty());
    CHECK(m.label("subfamily", 1).empty());
    CHECK(m.label("genus", 1).empty());
    CHECK(m.label("province_state", 0) == "Newfoundland, Labrador");
    CHECK(m.label("bin_uri", 0) == "BOLD:AAA2326");
    CHECK(m.real("coord-lat")[0] == 45.5);
    CHECK(std::isnan(m.real("coord-lon")[1]));
    CHECK(m.integer("inferred_ranks")[1] == 255);
    CHECK(m.integer("index_bioscan_1M_insect")[0] == 77);
    CHECK(m.integer("index_bioscan_1M_insect")[1] == -1);
    CHECK(m.image_path(0) == "bioscan5m/images/cropped_256/train/3/P1.jpg");
    CHECK(m.image_path(1, "original_full") == "bioscan5m/images/original_full/pretrain/P2.jpg");
    CHECK(m.labels("order").size() == 2);
    CHECK(m.label_index("order", 0) == 1);
    CHECK(m.labels("order").name(0) == "Diptera");
    CHECK_THROWS_AS(m.image_path(0, "tiny"), value_error);
    CHECK_THROWS_AS(m.barcode(2), value_error);
    CHECK(has(error_text<value_error>([&] { (void)m.text("genus"); }), "column 'genus' is kept as category, not as text"));
}

TEST_CASE("bioscan: any subset of columns, in any order, under any of its names") {
    const std::string text = "split,extra,dna_barcode,processid,species\ntrain,x,ACGT,P1,Apis mellifera\nval,,ACGA,P2,\n";
    const auto m = read(text, {.columns = {"species", "nucraw"}});
    CHECK(m.columns() == std::vector<std::string>{"species", "dna_barcode"});
    CHECK_FALSE(m.has("processid"));
    CHECK(has(error_text<value_error>([&] { (void)m.rows_of("train"); }), "column 'split' was not read"));
    CHECK(has(error_text<value_error>([&] { (void)m.processid(0); }), "column 'processid' was not read; there are: species, dna_barcode"));
    CHECK(read(text).text("extra")[0] == "x");
    CHECK(read(text).chunk(0) == md5_hex("P1").substr(0, 1));  // no column chunk: by the rule
    CHECK(has(error_text<parse_error>([&] { read(text, {.columns = {"genus"}}); }), "m.csv: has no column 'genus'; its columns are: split, extra"));
    CHECK_THROWS_AS(read(text, {.columns = {"species", "species"}}), value_error);
    CHECK(has(error_text<parse_error>([&] { read("a,b\n1,2\n"); }), "is no metadata of BIOSCAN-5M"));
    CHECK(has(error_text<parse_error>([&] { read(text, {.format = bioscan_format::bioscan_1m}); }), "was to be BIOSCAN-1M, but its header is that of BIOSCAN-5M"));
    CHECK(error_text<parse_error>([&] { read(text + "x,y\n"); }) == "m.csv:4: has 2 fields, the header has 5");
    CHECK(has(error_text<parse_error>([&] { read("processid,coord-lat\nP1,north\n"); }), "m.csv:2: column 'coord-lat': 'north' is no number"));
}

TEST_CASE("bioscan: splits, their other names and unions") {
    std::string text = "processid,dna_barcode,split\n";
    for (const char* s : {"pretrain", "train", "val", "test", "key_unseen", "val_unseen", "test_unseen", "other_heldout", "validation", "test_seen", ""}) {
        text += std::string(s) + ",A," + s + "\n";
    }
    const auto m = read(text);
    const auto rows = [&](std::string_view s) { return m.rows_of(s); };
    using list = std::vector<index_t>;
    CHECK(rows("train") == list{1});
    CHECK(rows("val") == list{2, 8});
    CHECK(rows("validation") == list{2, 8});
    CHECK(rows("test") == list{3, 9});
    CHECK(rows("seen") == list{1, 2, 3, 8, 9});
    CHECK(rows("unseen") == list{4, 5, 6});
    CHECK(rows("pre_training") == list{0, 7});
    CHECK(rows("supervised_val") == list{2, 8});
    CHECK(rows("test_unseen+pretrain") == list{0, 6});
    CHECK(rows("all").size() == 11);
    CHECK(m.split(9) == "test");
    const std::string unknown = error_text<value_error>([&] { rows("tset"); });
    CHECK(has(unknown, "unknown split 'tset'; BIOSCAN-5M has: pretrain, train, val, test, key_unseen, val_unseen, test_unseen, other_heldout"));
    CHECK_THROWS_AS(rows("train+"), value_error);
    CHECK_THROWS_AS(rows(""), value_error);
    CHECK(has(error_text<parse_error>([&] { read("processid,split\nP1,train\nP2,dev\n"); }), "m.csv:3: unknown split 'dev'; BIOSCAN-5M has: pretrain, train"));
}

TEST_CASE("bioscan: four ways to drop repeated barcodes") {
    const auto m = read("processid,dna_barcode,split\n"
                        "0,NACGTNN,train\n"
                        "1,NACGT,test\n"
                        "2,ACGT,train\n"
                        "3,NACGT,train\n"
                        "4,ACGTACGT,val\n"
                        "5,ACGTAC,val\n"
                        "6,,val\n"
                        "7,,val\n");
    using list = std::vector<index_t>;
    CHECK(m.unique_rows(dedup::none).size() == 8);
    CHECK(m.unique_rows(dedup::data_split) == list{0, 2, 4, 5, 6});
    CHECK(m.unique_rows(dedup::within_split) == list{0, 1, 2, 4, 5, 6});
    CHECK(m.unique_rows(dedup::both_ends) == list{0, 4, 5, 6});
    CHECK(m.rows_of("train", dedup::within_split) == list{0, 2});
    CHECK(m.rows_of("test", dedup::data_split).empty());
    // Cut to four letters, 0, 1 and 3 are one barcode, and so are 2, 4 and 5: one row of each stays, and one without.
    CHECK(deduplicate(m.barcodes(), dedup::package, {}, 4).size() == 3);
    const auto cut = read("processid,dna_barcode,split\n0,ACGTA,train\n1,ACGTC,train\n", {.max_nucleotides = 4});
    CHECK(cut.barcode(1) == "ACGT");
    CHECK(cut.unique_rows(dedup::package).size() == 1);
    CHECK_THROWS_AS(cut.unique_rows(dedup::data_split), value_error);
    const auto dropped = read("processid,dna_barcode,split,coord-lat\n0,A,train,1\n1,A,train,2\n2,C,train,3\n", {.deduplicate = dedup::data_split});
    CHECK(dropped.size() == 2);
    CHECK(dropped.processid(1) == "2");
    CHECK(dropped.real("coord-lat")[1] == 3.0);
    CHECK_THROWS_AS(deduplicate(m.barcodes(), dedup::within_split), value_error);
}

TEST_CASE("bioscan: NumPy's legacy permutation") {
    CHECK(data::detail::numpy_permutation(10, 0) == std::vector<index_t>{2, 8, 4, 9, 1, 6, 7, 3, 0, 5});
    const auto p = data::detail::numpy_permutation(1000, 0);
    CHECK(std::vector<index_t>(p.begin(), p.begin() + 8) == std::vector<index_t>{993, 859, 298, 553, 672, 971, 27, 231});
    CHECK(data::detail::numpy_permutation(0, 0).empty());
    CHECK(data::detail::numpy_permutation(1, 0).size() == 1);
}

TEST_CASE("bioscan: label indices") {
    // Twelve columns: pandas takes 65,536 rows at a time, so "Aa" in row 65,537 comes behind "Zz" of row 1.
    CHECK(data::detail::pandas_chunk_rows(23) == 32768);
    CHECK(data::detail::pandas_chunk_rows(12) == 65536);
    std::string text = "processid,dna_bin,phylum,class,order,family,genus,species,dna_barcode,sequence_len,split,sampleid\n";
    for (int i = 0; i < 65540; ++i) {
        text += ",,,,,,," + std::string(i == 0 ? "Zz" : i == 1 ? "Mm" : i == 65536 ? "Bb" : i == 65537 ? "Aa" : "") + ",,,,\n";
    }
    const auto names = [&](label_order order) { return join_lines(read(text, {.columns = {"species"}, .labels = order}).labels("species").names()); };
    CHECK(names(label_order::reference) == "Mm\nZz\nAa\nBb");
    CHECK(names(label_order::sorted) == "Aa\nBb\nMm\nZz");
    CHECK(names(label_order::first_seen) == "Zz\nMm\nBb\nAa");
    const auto m = read(text);
    CHECK(m.format() == bioscan_format::canadian_invertebrates);
    CHECK(m.label_index("species", 0) == 1);
    CHECK(m.label_index("species", 65537) == 2);
    CHECK(m.label("species", 65537) == "Aa");
}

TEST_CASE("bioscan: label maps") {
    const std::vector<std::string> names{"b", "a", "a,\"c\""};
    label_map labels(names);
    CHECK(labels.size() == 3);
    CHECK(labels.index("a") == 1);
    CHECK(labels.index("x") == -1);
    CHECK(labels.index("") == -1);
    CHECK(labels.name(-1).empty());
    CHECK(labels.at("") == -1);
    CHECK(has(error_text<value_error>([&] { labels.at("x"); }), "no label 'x' among the 3 known ones"));
    CHECK_THROWS_AS(labels.name(3), value_error);
    CHECK(labels.insert("a") == 1);
    for (int i = 0; i < 10000; ++i) labels.insert("label number " + std::to_string(i));
    for (int i = 0; i < 10000; ++i) REQUIRE(labels.index("label number " + std::to_string(i)) == i + 3);

    const auto path = (std::filesystem::temp_directory_path() / ("instar_labels_" + std::to_string(::getpid()) + ".csv")).string();
    write_labels(path, labels);
    const label_map back = read_labels(path);
    CHECK(join_lines(back.names()) == join_lines(labels.names()));
    std::filesystem::remove(path);
    const auto bad = [](const char* text) { return error_text<parse_error>([&] { read_labels(io::input_file::from_memory("l.csv", text)); }); };
    CHECK(bad("index,label\n0,a\n2,b\n") == "l.csv:3: index 2 where 1 should follow");
    CHECK(bad("index,label\n0,a\n1,a\n") == "l.csv:3: label 'a' is there twice");
    CHECK(bad("index,label\n0,\n") == "l.csv:2: an empty label");
}

TEST_CASE("bioscan: BIOSCAN-1M, its repairs and its paths") {
    const std::string head = "sampleid\tprocessid\turi\tname\tphylum\tclass\torder\tfamily\tsubfamily\ttribe\tgenus\tspecies\tsubspecies\tnucraw\timage_file\t"
                             "large_diptera_family\tlarge_insect_order\tchunk_number\n";
    const auto row = [](const char* id, const char* ranks, const char* splits = "train\tno_split") {
        return std::string(id) + "\tP" + id + "\tBOLD:AAA0001\tx\tArthropoda\tInsecta\tDiptera\t" + ranks + "\tnot_classified\tACGT\t" + id + ".jpg\t" + splits + "\t18\n";
    };
    const std::string text = head + row("0", "Asteiidae\tnot_classified\tnot_classified\tAsteia\tAsteia amoena") +
                             row("1", "Tachinidae\tExoristinae\tx\tNemorilla\tnot_classified", "validation\ttest") +
                             row("2", "Apidae\tnot_classified\tnot_classified\tnot_classified\tApis mellifera", "test\ttrain") +
                             row("3", "Apidae\tApinae\tnot_classified\tApis\tnot_classified", "no_split\tvalidation") +
                             row("4", "not_classified\tnot_classified\tnot_classified\tApis\tnot_classified") +
                             row("5", "Apidae\tnot_classified\tnot_classified\tnot_classified\tnot_classified");
    const auto m = read(text);
    CHECK(m.format() == bioscan_format::bioscan_1m);
    const auto ranks = [&](index_t r) {
        return std::string(m.label("subfamily", r)) + "|" + std::string(m.label("tribe", r)) + "|" + std::string(m.label("genus", r)) + "|" + std::string(m.label("species", r));
    };
    CHECK(ranks(0) == "unassigned Asteiidae|Asteiini|Asteia|Asteia amoena");
    CHECK(ranks(1) == "Exoristinae|Winthemiini|Nemorilla|");
    CHECK(ranks(2) == "unassigned Apidae|unassigned Apidae|Apis|Apis mellifera");
    CHECK(ranks(3) == "Apinae|unassigned Apinae|Apis|");
    CHECK(ranks(4) == "||Apis|");
    CHECK(ranks(5) == "|||");
    CHECK(m.label("subspecies", 0) == "not_classified");  // the package leaves this column alone
    CHECK(m.image_path(0) == "bioscan1m/images/cropped_256/part18/0.jpg");
    using list = std::vector<index_t>;
    CHECK(m.rows_of("train") == list{0, 4, 5});
    CHECK(m.rows_of("val") == list{1});
    CHECK(m.rows_of("pretrain") == list{3});
    CHECK(read(text, {.columns = {"split"}, .partition = "large_insect_order"}).rows_of("train") == list{2});
    CHECK(has(error_text<parse_error>([&] { read(text, {.columns = {"split"}, .partition = "small_insect_order"}); }), "has no column 'small_insect_order' to take the split from"));
    CHECK(read(text, {.columns = {"tribe"}}).label("tribe", 3) == "unassigned Apinae");
    CHECK(read(text, {.columns = {"tribe"}, .fix_ups = false}).label("tribe", 3).empty());
    CHECK(join_lines(m.labels("genus").names()) == "Apis\nAsteia\nNemorilla");
    CHECK(has(error_text<value_error>([&] { m.rows_of("key_unseen"); }), "BIOSCAN-1M has: train, validation, test, no_split"));

    const auto folder = std::filesystem::temp_directory_path() / ("instar_clibd_" + std::to_string(::getpid()));
    std::filesystem::create_directory(folder);
    io::write_file((folder / "train_seen.txt").string(), "4\n1\n");
    io::write_file((folder / "val_seen.txt").string(), "3\n1\n");
    io::write_file((folder / "no_split.txt").string(), "4\n9\n");
    CHECK(clibd_rows(m, folder.string(), "train") == list{4, 1});
    CHECK(clibd_rows(m, folder.string(), "train_seen+val_seen") == list{1, 3, 4});
    CHECK(has(error_text<parse_error>([&] { clibd_rows(m, folder.string(), "pretrain"); }), "no_split.txt:2: sampleid '9' is not in m.csv"));
    CHECK_THROWS_AS(clibd_rows(m, folder.string(), "nothing"), value_error);
    CHECK_THROWS_AS(clibd_rows(m, folder.string(), "test"), io_error);
    std::filesystem::remove_all(folder);
}

TEST_CASE("bioscan: Canadian Invertebrates, both layouts") {
    const auto m = read("processid,sampleid,dna_bin,phylum,class,order,family,genus,species,dna_barcode,sequence_len,split\n"
                        "P1,S1,BOLD:AAA0001,Arthropoda,Insecta,Diptera,Muscidae,Musca,Musca domestica,ACGT,4,test_unseen\n");
    CHECK(m.format() == bioscan_format::canadian_invertebrates);
    CHECK(m.integer("sequence_len")[0] == 4);
    CHECK(m.rows_of("unseen").size() == 1);
    CHECK_THROWS_AS(m.rows_of("key_unseen"), value_error);
    CHECK_THROWS_AS(m.image_path(0), value_error);
    CHECK(has(error_text<parse_error>([&] { read("processid,dna_barcode,sequence_len,split\nP1,A,1,key_unseen\n"); }), "Canadian Invertebrates has: pretrain, train, val, test, test_unseen"));
    const auto old = read("processid\tsampleid\tbin_uri\tphylum_name\tclass_name\torder_name\tfamily_name\tgenus_name\tspecies_name\tnucleotides\n"
                          "P1\tS1\tBOLD:AAA0001\tArthropoda\tInsecta\tDiptera\tMuscidae\tMusca\tMusca domestica\tACGTN\n");
    CHECK(old.format() == bioscan_format::canadian_invertebrates);
    CHECK(old.label("genus", 0) == "Musca");
    CHECK(old.label("genus_name", 0) == "Musca");
    CHECK(old.label("dna_bin", 0) == "BOLD:AAA0001");
    CHECK(old.barcode(0) == "ACGTN");
    CHECK(has(error_text<value_error>([&] { (void)old.rows_of("train"); }), "'split'"));
    CHECK(old.rows_of("all").size() == 1);
}

TEST_CASE("bioscan: the real sample has the counts, indices and survivors that pandas gives") {
    const char* folder = std::getenv("INSTAR_DATA");
    if (folder == nullptr) {
        MESSAGE("skipped: INSTAR_DATA is not set");
        return;
    }
#if defined(INSTAR_HAVE_ZLIB) && INSTAR_HAVE_ZLIB
    const auto m = read_bioscan(std::string(folder) + "/bioscan_mini/metadata.csv.gz");
    CHECK(m.format() == bioscan_format::bioscan_5m);
    CHECK(m.size() == 42033);
    const auto count = [&](std::string_view split, dedup mode = dedup::none) { return m.rows_of(split, mode).size(); };
    CHECK(count("pretrain") == 16219);
    CHECK(count("train") == 14665);
    CHECK(count("val") == 658);
    CHECK(count("test") == 4696);
    CHECK(count("key_unseen") == 3860);
    CHECK(count("val_unseen") == 597);
    CHECK(count("test_unseen") == 1331);
    CHECK(count("other_heldout") == 7);
    CHECK(count("train", dedup::within_split) == 6827);
    CHECK(count("test_unseen", dedup::within_split) == 668);
    CHECK(count("test+test_unseen", dedup::within_split) == 3032);
    const auto n_species = [&](std::string_view split) {
        std::set<std::string_view> names;
        for (index_t r : m.rows_of(split)) names.insert(m.label("species", r));
        return names.size();
    };
    CHECK(n_species("train") == 878);
    CHECK(n_species("test_unseen") == 121);
    CHECK(m.labels("dna_bin").size() == 1282);
    index_t wrong_chunks = 0;
    for (index_t r = 0; r < m.size(); ++r) wrong_chunks += m.chunk(r) != bioscan_chunk(m.split(r), m.processid(r));
    CHECK(wrong_chunks == 0);
    // From pandas 2.3 and NumPy 2.4 on the same file: category lists, and the rows that bioscan-dataset's and BarcodeBERT's
    // steps keep. 42,033 rows are two of pandas' chunks, so these orders are not alphabetical.
    const auto digest = [&](std::string_view column) { return md5_hex(join_lines(m.labels(column).names())); };
    CHECK(digest("taxon") == "e4f80e5857fbc9290f059111fd3e5e6a");
    CHECK(digest("genus") == "ae857b2ce95318db17a752d240e5053d");
    CHECK(digest("species") == "f8b91d3f27ea75f98f3841d7428b4955");
    CHECK(digest("dna_bin") == "64a073d7bc3628c7bf7fc84a2e3fe705");
    CHECK(digest("country") == "ee4653af264eb149f823cc13424e7ecf");
    CHECK(md5_hex(join_lines(m.unique_rows(dedup::package))) == "be1f9229fa0a9a9ee69db27ee27deabe");
    CHECK(md5_hex(join_lines(m.unique_rows(dedup::data_split))) == "107c2973a4f1193ba329b5ed05f68ca5");
    const auto cut = read_bioscan(m.path(), {.columns = {"dna_barcode", "split"}, .max_nucleotides = 200, .deduplicate = dedup::package});
    CHECK(cut.size() == 10558);
    CHECK(cut.rows_of("train").size() == 3405);
    CHECK(md5_hex(join_lines(read_bioscan(m.path(), {.columns = {"dna_barcode"}, .max_nucleotides = 200}).unique_rows(dedup::package))) == "dfe43902f86d092fa3ffb12471aff073");
#else
    MESSAGE("skipped: built without zlib");
#endif
}
