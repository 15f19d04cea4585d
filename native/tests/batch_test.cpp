#include "batch/batch.hpp"

#include <functional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/utf8.hpp"
#include "batch/encode_batch.hpp"
#include "check.hpp"

using namespace persia;

namespace {

// One dense tensor and one feature, field by field, so that a test can spoil any of them.
struct Wire {
    std::uint32_t storage = 0, dtype = 2;
    std::vector<float> data = {1, 2, 3, 4};
    std::vector<std::uint64_t> shape = {2, 2};
    std::vector<std::int64_t> stride = {2, 1};
    std::string tensor_name = "dense";
    std::uint32_t device = 0;
    std::uint32_t tag = 1;
    std::uint8_t requires_grad = 0;
    std::uint32_t features = 1;
    std::string name = "f";
    std::uint32_t entries = 2;
    std::vector<Position> first = {{0, 0}, {1, 1}};
    std::vector<Position> second = {{1, 0}};
    std::vector<std::uint32_t> ids_per_sample = {1, 2};
    std::uint32_t mapped = 2;
    std::uint16_t batch_size = 2;
    std::uint8_t internal = 0;
    std::string after;

    std::vector<std::byte> bytes() const {
        Writer out;
        out.write(std::uint32_t{1});
        out.write(storage);
        out.write(dtype);
        out.length(data.size());
        out.bytes(std::as_bytes(std::span(data)));
        out.length(shape.size());
        for (const auto size : shape) out.write(size);
        out.length(stride.size());
        for (const auto step : stride) out.write(step);
        out.write(std::uint8_t{1});
        out.string(tensor_name);
        out.write(device);
        out.write(std::uint8_t{0});
        out.write(tag);
        out.write(requires_grad);
        out.write(features);
        for (std::uint32_t i = 0; i < features; ++i) feature(out);
        out.write(internal);
        out.write(std::uint16_t{0});
        out.write(std::uint32_t{0});
        out.write(std::uint16_t{0});
        out.bytes(std::as_bytes(std::span(after)));
        return {out.view().begin(), out.view().end()};
    }

    void feature(Writer& out) const {
        out.string(name);
        out.write(entries);
        for (const auto& positions : {first, second}) {
            out.write(std::uint64_t{70} + positions.size());
            out.length(positions.size());
            out.bytes(std::as_bytes(std::span(positions)));
        }
        out.length(ids_per_sample.size());
        for (const auto count : ids_per_sample) out.write(count);
        out.write(mapped);
        for (std::uint64_t i = 0; i < mapped; ++i) {
            out.write(i);
            out.write(i);
        }
        out.write(batch_size);
    }
};

// The error that the spoiled bytes give: "" for none.
std::string error_of(const std::function<void(Wire&)>& spoil) {
    Wire wire;
    spoil(wire);
    const auto bytes = wire.bytes();
    try {
        decode_batch(bytes);
    } catch (const DecodeError& error) {
        return error.what();
    }
    return "";
}

bool says(const std::string& text, const char* part) {
    if (text.find(part) != std::string::npos) return true;
    std::fprintf(stderr, "  '%s' lacks '%s'\n", text.c_str(), part);
    return false;
}

}  // namespace

TEST(decodes_every_field) {
    const auto bytes = Wire{}.bytes();
    const Batch batch = decode_batch(bytes);
    CHECK(batch.dense.size() == 1 && batch.dense[0].dtype == DType::f32 && batch.dense[0].name == "dense");
    CHECK(batch.dense[0].shape == (std::vector<std::uint64_t>{2, 2}));
    CHECK(load<float>(batch.dense[0].data.data() + 12) == 4);
    CHECK(batch.has_ids && !batch.requires_grad && !batch.meta && !batch.batch_id && batch.labels.empty());
    CHECK(batch.features.size() == 1 && batch.features[0].name == "f" && batch.features[0].batch_size == 2);
    CHECK(batch.ids == (std::vector<std::uint64_t>{72, 71}));
    CHECK(batch.position_offsets == (std::vector<std::uint32_t>{0, 2, 3}));
    CHECK(batch.positions.size() == 3 && batch.positions[1].sample == 1 && batch.positions[1].column == 1);
    CHECK(batch.positions[2].sample == 1 && batch.positions[2].column == 0);
    CHECK(batch.ids_per_sample == (std::vector<std::uint32_t>{1, 2}));
}

TEST(refuses_each_spoiled_field_by_name) {
    CHECK(error_of([](Wire&) {}) == "");
    CHECK(says(error_of([](Wire& w) { w.storage = 1; }), "at byte 4: expected a tensor in CPU memory"));
    CHECK(says(error_of([](Wire& w) { w.dtype = 12; }), "dtype tag from 0 to 11, got 12"));
    CHECK(says(error_of([](Wire& w) { w.dtype = 0; }), "0 or 1 for a bool"));
    CHECK(says(error_of([](Wire& w) { w.device = 1; }), "device 0"));
    CHECK(says(error_of([](Wire& w) { w.shape = {2, 3}; }), "a shape of 4 items"));
    CHECK(says(error_of([](Wire& w) { w.shape = {1ULL << 63, 4}; }), "a shape that fits into memory"));
    CHECK(says(error_of([](Wire& w) {
                   w.data.clear();
                   w.shape = {0, 1ULL << 62, 1ULL << 62};
                   w.stride = {0, 0, 0};
               }),
               "a shape that fits into memory"));
    CHECK(says(error_of([](Wire& w) { w.stride = {1, 2}; }), "contiguous strides"));
    CHECK(says(error_of([](Wire& w) { w.stride = {2}; }), "2 strides"));
    CHECK(says(error_of([](Wire& w) {
                   w.shape.assign(33, 1);
                   w.stride.assign(33, 1);
               }),
               "at most 32 dimensions"));
    CHECK(says(error_of([](Wire& w) { w.tensor_name.assign(1, '\xff'); }), "UTF-8 in tensor name"));
    CHECK(says(error_of([](Wire& w) { w.tag = 2; }), "training only"));
    CHECK(says(error_of([](Wire& w) { w.tag = 3; }), "tag 3"));
    CHECK(says(error_of([](Wire& w) { w.requires_grad = 2; }), "0 or 1 for requires_grad, got 2"));
    CHECK(says(error_of([](Wire& w) { w.features = 2; }), "'f' again"));
    CHECK(says(error_of([](Wire& w) { w.name = "\xed\xa0\x80"; }), "UTF-8 in feature name"));
    CHECK(says(error_of([](Wire& w) { w.entries = 0xFFFFFFFF; }), "ids of a feature in the"));
    CHECK(says(error_of([](Wire& w) { w.second.clear(); }), "at least 1 position"));
    CHECK(says(error_of([](Wire& w) { w.second = {{2, 0}}; }), "positions in samples below 2"));
    CHECK(says(error_of([](Wire& w) { w.first = {{0, 0}, {2, 0}}; }), "positions in samples below 2"));
    CHECK(says(error_of([](Wire& w) { w.ids_per_sample = {2, 2}; }), "as many ids in the samples"));
    CHECK(says(error_of([](Wire& w) { w.ids_per_sample = {1, 2, 0}; }), "samples, the batch size"));
    CHECK(says(error_of([](Wire& w) { w.mapped = 1; }), "2 ids in the map"));
    CHECK(says(error_of([](Wire& w) { w.internal = 1; }), "only training batches"));
    CHECK(says(error_of([](Wire& w) { w.after.assign(1, 'x'); }), "the end of the batch, got 1 more bytes"));
}

TEST(ignores_strides_that_are_never_stepped_over) {
    CHECK(error_of([](Wire& w) {
              w.shape = {1, 4, 1};
              w.stride = {-7, 1, 99};
          }) == "");
    CHECK(error_of([](Wire& w) {
              w.data.clear();
              w.shape = {2, 0};
              w.stride = {5, 5};
          }) == "");
}

TEST(refuses_every_truncation) {
    const auto bytes = Wire{}.bytes();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        CHECK_THROWS(decode_batch(std::span(bytes).first(size)), DecodeError);
    }
}

TEST(encodes_what_it_decodes) {
    const std::vector<std::uint64_t> values = {5, 6, 5, 5, 9};
    const std::vector<std::int64_t> offsets = {0, 3, 3, 5};
    const std::vector<float> dense = {1, 2, 3};
    BatchEncoder encoder;
    encoder.add_ids("csr", values, offsets);
    encoder.add_single_ids("single", std::span(values).first(3));
    const std::vector<std::span<const std::uint64_t>> lists = {std::span(values).subspan(3), {}, {}};
    encoder.add_id_lists("lists", lists);
    TensorView tensor;
    tensor.shape = {3, 1};
    tensor.data = std::as_bytes(std::span(dense));
    encoder.add_dense(tensor);
    tensor.name = "label";
    encoder.add_label(tensor);
    encoder.set_batch_id(77);
    encoder.set_meta(std::as_bytes(std::span("xyz", 3)));
    std::vector<std::byte> bytes(encoder.size());
    encoder.write_to(bytes.data());

    const Batch batch = decode_batch(bytes);
    CHECK(batch.features.size() == 3 && batch.features[2].name == "lists");
    CHECK(batch.ids == (std::vector<std::uint64_t>{5, 6, 9, 5, 6, 5, 9}));
    CHECK(batch.position_offsets == (std::vector<std::uint32_t>{0, 3, 4, 5, 7, 8, 9, 10}));
    CHECK(batch.positions[1].sample == 0 && batch.positions[1].column == 2);
    CHECK(batch.positions[2].sample == 2 && batch.positions[2].column == 0);
    CHECK(batch.ids_per_sample == (std::vector<std::uint32_t>{3, 0, 2, 1, 1, 1, 2, 0, 0}));
    CHECK(batch.dense.size() == 1 && !batch.dense[0].name && batch.labels.size() == 1 && batch.labels[0].name == "label");
    CHECK(batch.batch_id == 77u && batch.meta && batch.meta->size() == 3);
}

TEST(an_encoder_without_features_writes_null) {
    const BatchEncoder encoder;
    std::vector<std::byte> bytes(encoder.size());
    encoder.write_to(bytes.data());
    CHECK(bytes == std::vector<std::byte>(14, std::byte{0}));
    CHECK(!decode_batch(bytes).has_ids);
}

TEST(finds_distinct_signs_among_many_features_of_different_sizes) {
    // Sizes up and down, so that the scratch table of one feature is reused, grown and reused by others.
    BatchEncoder encoder;
    std::vector<std::size_t> expected;
    for (std::size_t f = 0; f < 40; ++f) {
        const std::size_t size = 1 + (f * 7919) % 3000, distinct = 1 + (f * 31) % size;
        std::vector<std::uint64_t> values(size);
        for (std::size_t i = 0; i < size; ++i) values[i] = (i % distinct) * 0x100000001ULL;
        encoder.add_single_ids(std::to_string(f), values);
        expected.push_back(distinct);
    }
    std::vector<std::byte> bytes(encoder.size());
    encoder.write_to(bytes.data());
    const Batch batch = decode_batch(bytes);
    for (std::size_t f = 0; f < 40; ++f) CHECK(batch.features[f].ids_end - batch.features[f].ids_begin == expected[f]);
}

TEST(the_encoder_refuses_what_the_format_cannot_hold) {
    BatchEncoder encoder;
    const std::vector<std::uint64_t> values(65537);
    const std::vector<std::int64_t> one_sample = {0, 65537}, falls = {0, 5, 3, 65537}, short_of = {0, 65536}, late = {1, 65537};
    CHECK_THROWS(encoder.add_single_ids("f", std::span(values).first(65536)), FeatureError);
    CHECK_THROWS(encoder.add_ids("f", values, one_sample), FeatureError);
    CHECK_THROWS(encoder.add_ids("f", values, falls), FeatureError);
    CHECK_THROWS(encoder.add_ids("f", values, short_of), FeatureError);
    CHECK_THROWS(encoder.add_ids("f", values, late), FeatureError);
    CHECK_THROWS(encoder.add_ids("f", values, {}), FeatureError);
    CHECK_THROWS(encoder.add_single_ids("\xff", values), FeatureError);
    encoder.add_ids("f", std::span(values).first(65536), short_of);
    CHECK_THROWS(encoder.add_single_ids("f", std::span(values).first(1)), FeatureError);
    std::vector<std::byte> bytes(encoder.size());
    encoder.write_to(bytes.data());
    const Batch batch = decode_batch(bytes);  // the refused ones left nothing behind
    CHECK(batch.features.size() == 1 && batch.positions.size() == 65536 && batch.positions.back().column == 65535);
}

TEST(utf8) {
    for (const char* good :
         {"", "a", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
        CHECK(is_utf8(good));
    }
    for (const char* bad : {"\x80", "\xc1\x80", "\xc2", "\xc2\x41", "\xe0\x9f\x80", "\xed\xa0\x80", "\xe1\x80", "\xe1\x80\x41",
                            "\xf0\x8f\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
        CHECK(!is_utf8(bad));
    }
}
