#include <algorithm>

#include "base/hash.hpp"
#include "files/file_input.hpp"
#include "files/row_files.hpp"

namespace persia {

namespace {

constexpr std::size_t kHeaderSize = 8 + 4 * 4 + 4;
constexpr std::size_t kLinks = 4 + 4 + 1;  // a node up to and with the flag that says whether it holds a row
constexpr std::uint32_t kNoRow = 0xFFFFFFFF;

// Order-independent fingerprint of a set of links: sums of these are equal if the sets are, and only then but for a chance of
// 2^-64. It is made against accidents: a crafted file can get past it, and has then told a wrong order of use.
std::uint64_t edge(std::uint64_t from, std::uint64_t to) { return table_hash(from << 32 | to); }

}  // namespace

EmbReader::EmbReader(std::string path, Recency recency) : in_(std::make_unique<FileInput>(std::move(path))) {
    read_header();
    if (recency == Recency::read) learn_recency();
}

EmbReader::~EmbReader() = default;
EmbReader::EmbReader(EmbReader&&) noexcept = default;
EmbReader& EmbReader::operator=(EmbReader&&) noexcept = default;

const std::string& EmbReader::path() const { return in_->path(); }
const NonFinite& EmbReader::non_finite() const { return in_->non_finite; }

void EmbReader::read_header() {
    in_->fill(kHeaderSize, "the header");
    count_ = in_->read<std::uint64_t>("the number of rows");
    first_ = in_->read<std::uint32_t>("first");
    last_ = in_->read<std::uint32_t>("last");
    const auto free = in_->read<std::uint32_t>("free");
    const auto end = in_->read<std::uint32_t>("end");
    nodes_ = in_->read<std::uint32_t>("the number of nodes");
    if (nodes_ > in_->remaining() / kLinks || nodes_ == kNoRow) {
        in_->corrupt("at most " + std::to_string(in_->remaining() / kLinks) + " nodes in the bytes that are left",
                     std::to_string(nodes_), 24);
    }
    if (count_ > nodes_) {
        in_->corrupt("at most as many rows as nodes (" + std::to_string(nodes_) + ")", std::to_string(count_), 0);
    }
    const std::uint32_t places[] = {first_, last_, free, end};
    for (std::size_t i = 0; i < 4; ++i) {
        if (places[i] <= nodes_) continue;
        in_->corrupt("a position from 0 to " + std::to_string(nodes_), std::to_string(places[i]), 8 + 4 * i);
    }
    if ((first_ == 0) != (count_ == 0) || (last_ == 0) != (count_ == 0)) {
        in_->corrupt("a first and a last row exactly if there are rows (" + std::to_string(count_) + ")",
                     std::to_string(first_) + " and " + std::to_string(last_), 8);
    }
    next_.reserve(nodes_);
}

bool EmbReader::next(RowBlock& block) {
    block.clear();
    while (node_ < nodes_ && block.size() < kRowsPerBlock) {
        if (!read_node(block)) return true;
    }
    if (block.size() != 0) return true;
    if (!finished_) finish();
    return false;
}

bool EmbReader::read_node(RowBlock& block) {
    if (in_->available() < kLinks) {
        if (block.size() != 0) return false;
        in_->fill(kLinks, "a node");
    }
    const std::byte* node = in_->data();
    const auto flag = load<std::uint8_t>(node + 8);
    if (flag == 0) {
        // An empty place: its links belong to a free list, and the one backwards is left over from something else.
        in_->skip(kLinks);
        next_.push_back(kNoRow);
        ++node_;
        return true;
    }
    if (flag != 1) in_->corrupt("0 or 1 for the presence of a row", std::to_string(flag), in_->position() + 8);
    const auto next = load<std::uint32_t>(node);
    const auto prev = load<std::uint32_t>(node + 4);
    if (next > nodes_ || prev > nodes_) {
        in_->corrupt("links from 0 to " + std::to_string(nodes_), std::to_string(next) + " and " + std::to_string(prev),
                     in_->position());
    }
    if (!take_row(*in_, kLinks, block)) return false;
    if (!quarter_.empty()) block.recency.push_back(quarter_[node_]);
    next_.push_back(next);
    ++node_;
    ++filled_;
    if (next != 0) next_edges_ += edge(node_, next);
    if (prev != 0) prev_edges_ += edge(prev, node_);
    return true;
}

void EmbReader::finish() {
    if (in_->remaining() != 0) {
        in_->corrupt("the end of the file", std::to_string(in_->remaining()) + " more bytes", in_->position());
    }
    if (filled_ != count_) {
        in_->corrupt("the " + std::to_string(filled_) + " rows that are in the file", std::to_string(count_), 0);
    }
    // A walk of `count` steps that ends in 0 cannot have met a row twice, so it met each of the `count` rows once.
    std::uint32_t at = first_, before = 0;
    for (std::uint64_t step = 0; step < count_; ++step) {
        if (at == 0 || next_[at - 1] == kNoRow) {
            in_->corrupt("a list of " + std::to_string(count_) + " rows",
                         at == 0 ? "one of " + std::to_string(step) : "an empty node at position " + std::to_string(at),
                         kHeaderSize);
        }
        before = at;
        at = next_[at - 1];
    }
    if (at != 0 || before != last_) {
        in_->corrupt("a list that ends at position " + std::to_string(last_) + ", the last",
                     "position " + std::to_string(before) + (at != 0 ? " linked on to " + std::to_string(at) : ""),
                     kHeaderSize);
    }
    if (next_edges_ != prev_edges_) {
        in_->corrupt("links backwards that mirror the links forwards", "others", kHeaderSize);
    }
    finished_ = true;
}

void EmbReader::learn_recency() {
    EmbReader pass(in_->path());
    RowBlock block;
    while (pass.next(block)) continue;
    if (pass.nodes_ != nodes_ || pass.count_ != count_) {
        in_->corrupt("a file that nobody changes", "another header", 0);
    }
    quarter_.assign(nodes_, 0);
    std::uint32_t at = pass.first_;
    for (std::uint64_t step = 0; step < count_; ++step) {
        quarter_[at - 1] = static_cast<std::uint8_t>(step * 4 / count_);
        at = pass.next_[at - 1];
    }
}

EmbSummary summarize_emb(const std::string& path) {
    EmbReader reader(path);
    EmbSummary summary;
    RowBlock block;
    while (reader.next(block)) {
        summary.rows += block.size();
        // Rows of one slot come in runs, and a map is slow.
        for (std::size_t i = 0; i < block.size();) {
            std::size_t end = i + 1;
            while (end < block.size() && block.dims[end] == block.dims[i]) ++end;
            summary.rows_by_dim[block.dims[i]] += end - i;
            i = end;
        }
    }
    return summary;
}

}  // namespace persia
