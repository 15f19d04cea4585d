// Feeds spoiled golden files to the decoders. Each must end in a value that keeps its promises or in a typed error, and may
// not ask for much more memory than the input has bytes. The seed is fixed: a failure here is a failure everywhere.
// PERSIA_FUZZ_MUTANTS sets how many mutants each decoder gets.
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "batch/batch.hpp"
#include "batch/id_part.hpp"
#include "check.hpp"
#include "files/row_files.hpp"
#include "spoiling.hpp"

namespace {

std::size_t live = 0, peak = 0;

void* counted(std::size_t size) {
    void* memory = std::malloc(size);
    if (memory == nullptr) throw std::bad_alloc();
    live += ::malloc_usable_size(memory);
    peak = std::max(peak, live);
    return memory;
}

void uncounted(void* memory) {
    if (memory == nullptr) return;
    live -= ::malloc_usable_size(memory);
    std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { uncounted(memory); }
void operator delete[](void* memory) noexcept { uncounted(memory); }
void operator delete(void* memory, std::size_t) noexcept { uncounted(memory); }
void operator delete[](void* memory, std::size_t) noexcept { uncounted(memory); }

namespace {

using namespace persia;
namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

std::vector<Bytes> golden(const std::string& extension, std::size_t largest) {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(PERSIA_TEST_DATA) / "golden")) {
        if (entry.path().extension() == extension && entry.file_size() <= largest) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    std::vector<Bytes> files;
    for (const fs::path& path : paths) {
        std::ifstream file(path, std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(file)), {});
        const auto bytes = std::as_bytes(std::span(text));
        files.emplace_back(bytes.begin(), bytes.end());
    }
    return files;
}

class Mutator {
  public:
    explicit Mutator(const std::vector<Bytes>& seeds) : seeds_(seeds) {}

    Bytes next() {
        Bytes bytes = seeds_[spoiler_.below(seeds_.size())];
        for (std::size_t n = 1 + spoiler_.below(3); n > 0 && !bytes.empty(); --n) mutate(bytes);
        return bytes;
    }

  private:
    // Half of the places near the start, where the lengths of everything else are.
    std::size_t place(const Bytes& bytes) {
        return spoiler_.below(spoiler_.below(2) == 0 ? std::min<std::size_t>(bytes.size(), 64) : bytes.size());
    }

    void mutate(Bytes& bytes) {
        const std::size_t at = place(bytes);
        switch (spoiler_.below(8)) {
            case 0:
                inflate<std::uint32_t>(bytes, at);
                break;
            case 1:
                inflate<std::uint64_t>(bytes, at);
                break;
            case 2: {
                const Bytes& other = seeds_[spoiler_.below(seeds_.size())];
                const std::size_t from = spoiler_.below(other.size()),
                                  count = std::min({other.size() - from, bytes.size() - at, 1 + spoiler_.below(40)});
                std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(from), count,
                            bytes.begin() + static_cast<std::ptrdiff_t>(at));
                break;
            }
            default:
                spoiler_.spoil(bytes, at);
        }
    }

    // What lengths and counts go wrong with: the extremes, and a little or a lot too much.
    template <class T>
    void inflate(Bytes& bytes, std::size_t at) {
        if (bytes.size() < at + sizeof(T)) return;
        const T old = load<T>(bytes.data() + at);
        const T values[] = {static_cast<T>(~T{0}),
                            static_cast<T>(~T{0} / 2),
                            static_cast<T>(old + 1),
                            static_cast<T>(old - 1),
                            static_cast<T>(old * 2),
                            static_cast<T>(old << 16),
                            T{0}};
        store(bytes.data() + at, values[spoiler_.below(std::size(values))]);
    }

    const std::vector<Bytes>& seeds_;
    Spoiler spoiler_{20'240'229};
};

// Uses everything that a decoded batch points at.
void check_batch(const Batch& batch, std::size_t& sum) {
    for (const auto* tensors : {&batch.dense, &batch.labels}) {
        for (const TensorView& tensor : *tensors) {
            std::uint64_t items = 1;
            for (const std::uint64_t size : tensor.shape) items *= size;
            CHECK(items * item_size(tensor.dtype) == tensor.data.size());
            for (const std::byte value : tensor.data) sum += static_cast<std::size_t>(value);
        }
    }
    CHECK(batch.position_offsets.size() == batch.ids.size() + 1 && batch.position_offsets.back() == batch.positions.size());
    for (const FeatureView& feature : batch.features) {
        CHECK(feature.ids_begin <= feature.ids_end && feature.ids_end <= batch.ids.size());
        CHECK(feature.samples_begin + feature.batch_size <= batch.ids_per_sample.size());
        for (std::size_t i = feature.ids_begin; i < feature.ids_end; ++i) {
            CHECK(batch.position_offsets[i] < batch.position_offsets[i + 1]);
            for (std::size_t k = batch.position_offsets[i]; k < batch.position_offsets[i + 1]; ++k) {
                CHECK(batch.positions[k].sample < feature.batch_size);
            }
        }
    }
}

// Counts what became of the mutants, and holds the memory to `factor` times the input plus `fixed`.
struct Outcome {
    std::size_t accepted = 0, refused = 0, sum = 0;

    template <class Decode, class Error>
    void one(const Bytes& bytes, std::size_t factor, std::size_t fixed, Decode&& decode, const Error*) {
        const std::size_t before = live;
        peak = live;
        try {
            decode();
            ++accepted;
        } catch (const Error&) {
            ++refused;
        }
        if (peak - before > factor * bytes.size() + fixed) {
            ++check::failures;
            std::fprintf(stderr, "%zu bytes of memory for %zu bytes of input\n", peak - before, bytes.size());
        }
        CHECK(live == before);
    }
};

template <class Reader>
void read_rows(Reader&& reader, std::size_t& sum) {
    RowBlock block;
    while (reader.next(block)) {
        for (std::size_t i = 0; i < block.size(); ++i) {
            CHECK(block.dims[i] >= 1 && block.dims[i] <= kMaxDim);
            sum += load<std::uint32_t>(block.values[i]) + load<std::uint32_t>(block.values[i] + 4 * (block.dims[i] - 1));
        }
    }
}

// `read` takes the path of a file that holds the mutant.
template <class Read>
void fuzz_files(const std::vector<Bytes>& seeds, std::size_t factor, Read&& read) {
    CHECK(!seeds.empty());
    // In memory: a quarter of a million files would spend the time on the disk.
    const int fd = ::memfd_create("mutant", MFD_CLOEXEC);
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    Outcome outcome;
    Mutator mutator(seeds);
    const std::size_t total = fuzz_mutants(80'000);
    for (std::size_t i = 0; i < total + seeds.size(); ++i) {
        const Bytes bytes = i < seeds.size() ? seeds[i] : mutator.next();
        CHECK(::ftruncate(fd, 0) == 0);
        CHECK(::pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
        outcome.one(
            bytes, factor, std::size_t{1} << 20, [&] { read(path, outcome.sum); }, static_cast<const CorruptFile*>(nullptr));
        if (i + 1 == seeds.size()) CHECK(outcome.accepted == seeds.size());
    }
    ::close(fd);
    std::printf("  %zu accepted, %zu refused\n", outcome.accepted, outcome.refused);
    CHECK(outcome.accepted > seeds.size() && outcome.refused > total / 4);
}

// `factor`: what a decoded batch may take of memory for each byte.
template <class Decode>
void fuzz_batches(const std::vector<Bytes>& seeds, std::size_t factor, Decode&& decode) {
    CHECK(!seeds.empty());
    Outcome outcome;
    const auto one = [&](const Bytes& bytes) {
        // Memory of exactly its size, so that a sanitizer sees a step beyond it.
        const std::unique_ptr<std::byte[]> exact(new std::byte[bytes.size()]);
        std::copy(bytes.begin(), bytes.end(), exact.get());
        const std::span<const std::byte> view(exact.get(), bytes.size());
        outcome.one(
            bytes, factor, 1 << 16, [&] { check_batch(decode(view), outcome.sum); }, static_cast<const DecodeError*>(nullptr));
    };
    for (const Bytes& seed : seeds) one(seed);
    CHECK(outcome.accepted == seeds.size());
    Mutator mutator(seeds);
    const std::size_t total = fuzz_mutants(80'000);
    for (std::size_t i = 0; i < total; ++i) one(mutator.next());
    std::printf("  %zu accepted, %zu refused\n", outcome.accepted, outcome.refused);
    CHECK(outcome.accepted > seeds.size() && outcome.refused > total / 4);
}

}  // namespace

TEST(batches) { fuzz_batches(golden(".bin", 8000), 16, decode_batch); }

TEST(id_parts) {
    std::vector<Bytes> seeds;
    for (const Bytes& bytes : golden(".bin", 8000)) {
        const Batch batch = decode_batch(bytes);
        if (!batch.has_ids) continue;
        Writer out;
        encode_ids(batch, out);
        seeds.emplace_back(out.view().begin(), out.view().end());
    }
    fuzz_batches(seeds, 24, decode_ids);
}

TEST(checkpoint_files) {
    fuzz_files(golden(".emb", 34'000), 2,
               [](const std::string& path, std::size_t& sum) { read_rows(EmbReader(path, Recency::read), sum); });
}

TEST(packet_files) {
    fuzz_files(golden(".inc", 1'000'000), 2,
               [](const std::string& path, std::size_t& sum) { read_rows(IncReader(path), sum); });
}
