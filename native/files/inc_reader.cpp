#include "files/file_input.hpp"
#include "files/row_files.hpp"

namespace persia {

namespace {

constexpr std::size_t kRowMin = 4 + 4 + 8 + 8;  // with one value
constexpr std::size_t kTime = 8;

}  // namespace

IncReader::IncReader(std::string path) : in_(std::make_unique<FileInput>(std::move(path))) {
    count_ = in_->read<std::uint32_t>("the number of rows");
    const std::uint64_t room = in_->remaining() < kTime ? 0 : (in_->remaining() - kTime) / kRowMin;
    if (count_ > room) {
        in_->corrupt("at most " + std::to_string(room) + " rows in the bytes that are left", std::to_string(count_), 0);
    }
}

IncReader::~IncReader() = default;
IncReader::IncReader(IncReader&&) noexcept = default;
IncReader& IncReader::operator=(IncReader&&) noexcept = default;

const std::string& IncReader::path() const { return in_->path(); }
const NonFinite& IncReader::non_finite() const { return in_->non_finite; }

bool IncReader::next(RowBlock& block) {
    block.clear();
    while (row_ < count_ && block.size() < kRowsPerBlock) {
        if (!take_row(*in_, 0, block)) return true;
        ++row_;
    }
    if (block.size() != 0) return true;
    if (finished_) return false;
    if (in_->remaining() > kTime) {
        in_->corrupt("the end of the file", std::to_string(in_->remaining() - kTime) + " more bytes", in_->position() + kTime);
    }
    unix_seconds_ = in_->read<std::uint64_t>("the time of the packet");
    finished_ = true;
    return false;
}

}  // namespace persia
