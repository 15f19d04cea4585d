// Frames and connections for tests.
#pragma once

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "persia/frame.hpp"

namespace persia {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of_text(const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

inline Bytes frame_of(FrameHeader header, const std::vector<Bytes>& columns) {
    Bytes frame(sizeof(header));
    std::memcpy(frame.data(), &header, sizeof(header));
    for (const Bytes& column : columns) frame.insert(frame.end(), column.begin(), column.end());
    return frame;
}

inline FrameHeader header_of(std::uint16_t turn, const std::vector<Bytes>& columns) {
    FrameHeader header;
    header.columns = static_cast<std::uint16_t>(columns.size());
    header.turn = turn;
    for (std::size_t i = 0; i < columns.size(); ++i) header.lengths[i] = static_cast<std::uint32_t>(columns[i].size());
    return header;
}

inline Bytes frame_of(std::uint16_t turn, const std::vector<Bytes>& columns) {
    return frame_of(header_of(turn, columns), columns);
}

// What does not come within this is a failure, not a test that hangs.
constexpr int kPatienceSeconds = 20;

template <class Condition>
void wait_until(Condition holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kPatienceSeconds);
    while (!holds()) {
        if (std::chrono::steady_clock::now() > end) throw std::runtime_error("waited in vain");
        std::this_thread::yield();
    }
}

// The two ends of a connection.
class Ends {
  public:
    Ends() {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends_) != 0) throw std::runtime_error("socketpair");
        const timeval patience{kPatienceSeconds, 0};
        setsockopt(ours(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(ours(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    }
    ~Ends() {
        close_ours();
        if (ends_[1] >= 0) ::close(ends_[1]);
    }
    Ends(const Ends&) = delete;
    Ends& operator=(const Ends&) = delete;

    int ours() const { return ends_[0]; }
    int theirs() const { return ends_[1]; }

    void close_ours() {
        if (ends_[0] >= 0) ::close(ends_[0]);
        ends_[0] = -1;
    }

    void send(std::span<const std::byte> bytes) const {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(ours(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent < 0) throw std::runtime_error(std::string("send: ") + std::strerror(errno));
            bytes = bytes.subspan(static_cast<std::size_t>(sent));
        }
    }

    // So many bytes, or fewer: at the end of the connection.
    Bytes receive(std::size_t size) const {
        Bytes bytes(size);
        std::size_t got = 0;
        while (got < size) {
            const ssize_t more = recv(ours(), bytes.data() + got, size - got, 0);
            if (more < 0) throw std::runtime_error(std::string("recv: ") + std::strerror(errno));
            if (more == 0) break;
            got += static_cast<std::size_t>(more);
        }
        bytes.resize(got);
        return bytes;
    }

    // Waits until the other end has read all that was sent.
    void wait_until_read() const {
        wait_until([this] { return unread(theirs()) == 0; });
    }
    // Waits until something is to be read here.
    void wait_for_bytes() const {
        pollfd one{ours(), POLLIN, 0};
        if (poll(&one, 1, kPatienceSeconds * 1'000) != 1) throw std::runtime_error("nothing came");
    }

    static int unread(int socket) {
        int bytes = 0;
        ioctl(socket, FIONREAD, &bytes);
        return bytes;
    }

  private:
    int ends_[2];
};

struct Frame {
    FrameHeader header;
    std::vector<Bytes> columns;

    bool operator==(const Frame& other) const {
        return std::memcmp(&header, &other.header, sizeof(header)) == 0 && columns == other.columns;
    }
};

// Nothing: the connection ended before it was whole.
inline std::optional<Frame> receive_frame(const Ends& ends) {
    Frame frame;
    const Bytes header = ends.receive(sizeof(FrameHeader));
    if (header.size() < sizeof(FrameHeader)) return {};
    std::memcpy(&frame.header, header.data(), header.size());
    if (!frame.header.fits(frame.header.columns) || frame.header.columns > kMaxFrameColumns)
        throw std::runtime_error("no frame");
    for (std::size_t i = 0; i < frame.header.columns; ++i) {
        frame.columns.push_back(ends.receive(frame.header.lengths[i]));
        if (frame.columns.back().size() < frame.header.lengths[i]) return {};
    }
    return frame;
}

}  // namespace persia
