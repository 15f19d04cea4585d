// Files of certificates, keys and tokens: read whole, and again when they have changed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace persia::grpc {

// Which file stands at a path, and as it was last written.
struct FileVersion {
    std::uint64_t device, inode, size;
    std::int64_t modified, changed;  // nanoseconds; the latter by a chmod() as well

    bool operator==(const FileVersion&) const = default;
};

// Thread safety: for one thread at a time.
class WatchedFile {
  public:
    // secret: nobody but its owner may read the file; or, if it is root's, its group (as of Kubernetes' secrets with `fsGroup`,
    // and of Debian's group ssl-cert). It is PostgreSQL's rule.
    enum class Kind { open, secret };

    WatchedFile(std::string path, Kind kind) : path_(std::move(path)), kind_(kind) {}

    const std::string& path() const { return path_; }

    // Throws IoError; InvalidInput: it is too large, or others can read what is secret.
    std::string read();

    // Whether it is another file since the last read(), whatever came of that, or may be. Costs a stat().
    bool has_changed() const;

  private:
    std::string path_;
    Kind kind_;
    std::optional<FileVersion> version_;
    // It was written just before it was read, so that it can be written again without another time.
    bool is_settled_ = false;
};

}  // namespace persia::grpc
