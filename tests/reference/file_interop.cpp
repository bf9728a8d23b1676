// The C++ side of file_interop.py: reads what Python wrote, writes it again.
//
//     file_interop safetensors IN OUT     every tensor with its own type; the metadata too
//     file_interop floats IN OUT          floating point of any width as F32
//     file_interop npy IN OUT             the array with its own type, row-major
//     file_interop hf IN_DIR OUT_DIR      a model folder, one file or shards
#include <iostream>
#include <memory>
#include <string>

#include "instar/io/hf.hpp"
#include "instar/io/npy.hpp"

using namespace instar;

namespace {

void copy_safetensors(const std::string& in, const std::string& out, bool floats) {
    const io::safetensors_file f(in);
    std::vector<io::tensor_info> infos = f.tensors();
    if (floats) {
        std::erase_if(infos, [](const io::tensor_info& t) { return !io::convertible<float>(t.type); });
        for (io::tensor_info& t : infos) t.type = io::dtype::f32;
    }
    io::safetensors_writer writer(out, infos, f.metadata());
    for (const io::tensor_info& t : writer.tensors()) {
        if (t.type == io::dtype::f16 || floats) {  // no C++ type holds a half: through float, which holds every half
            const auto values = f.read<float>(t.name);
            writer.append(values.data(), values.size());
            continue;
        }
        io::with_element_type(t.type, [&](auto* type) {
            using T = std::remove_pointer_t<decltype(type)>;
            const auto n = static_cast<std::size_t>(t.size());
            const std::unique_ptr<T[]> values(new T[n]);
            f.read_into(t.name, io::named_tensor(t.name, t.shape, values.get()));
            writer.append(values.get(), n);
        });
    }
    writer.commit();
}

template <class T>
void copy_npy(const std::string& in, const std::string& out) {
    const auto array = io::read_npy<T>(in);
    io::npy_writer<T> writer(out, array.shape);
    writer.append(array.values.data(), static_cast<index_t>(array.values.size()));
    writer.commit();
}

void copy_npy(const std::string& in, const std::string& out) {
    const io::dtype type = io::read_npy_info(in).type;
    if (type == io::dtype::f16) return copy_npy<float>(in, out);
    if (type == io::dtype::boolean) return copy_npy<std::uint8_t>(in, out);
    io::with_element_type(type, [&](auto* t) {
        using T = std::remove_pointer_t<decltype(t)>;
        if constexpr (!std::is_same_v<T, bf16> && !std::is_same_v<T, bool>) copy_npy<T>(in, out);
    });
}

void copy_hf(const std::string& in, const std::string& out) {
    const io::hf_folder folder(in);
    std::vector<std::vector<float>> memory;
    std::vector<io::named_tensor> parameters;
    for (const std::string& name : folder.names()) {
        const io::tensor_info& info = folder.info(name);
        if (!io::convertible<float>(info.type)) continue;
        memory.emplace_back(static_cast<std::size_t>(info.size()));
        parameters.emplace_back(name, info.shape, memory.back().data());
    }
    io::load_parameters(folder, parameters);
    io::save_parameters(out, folder.config(), parameters);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string what = argc == 4 ? argv[1] : "";
    try {
        if (what == "safetensors") copy_safetensors(argv[2], argv[3], false);
        else if (what == "floats") copy_safetensors(argv[2], argv[3], true);
        else if (what == "npy") copy_npy(argv[2], argv[3]);
        else if (what == "hf") copy_hf(argv[2], argv[3]);
        else throw value_error("usage: file_interop safetensors|floats|npy|hf IN OUT");
    } catch (const error& e) {
        std::cerr << e.what() << '\n';
        return 1;
    }
}
