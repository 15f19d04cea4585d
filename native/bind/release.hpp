// Letting other threads of the interpreter run.
#pragma once

#include <Python.h>
#include <unistd.h>

#include <cstddef>
#include <optional>

namespace persia::bind {

// Releases the GIL for as long as it lives. For what waits, and for work that is always long.
class Released {
  public:
    Released() noexcept : state_(PyEval_SaveThread()) {}
    ~Released() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            // The interpreter is gone. Before 3.14 it ends a thread that comes back by unwinding it, and the frames between
            // here and Python would end the process for it. So the thread stays, until the process has ended by itself.
            for (;;) pause();
        }
    }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

  private:
    PyThreadState* state_;
};

// Releases it for work on so many bytes, unless there are few. To give the GIL away and get it back takes a switch of threads
// or two where several are at work: longer than small work itself.
class ReleasedForWork {
  public:
    explicit ReleasedForWork(std::size_t bytes) {
        constexpr std::size_t kWorthIt = 64 << 10;  // some 20 us
        if (bytes >= kWorthIt) released_.emplace();
    }

  private:
    std::optional<Released> released_;
};

}  // namespace persia::bind
