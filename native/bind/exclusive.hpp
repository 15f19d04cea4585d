// Objects that release the GIL while they change must not be entered twice: the second thread gets an error, not a crash.
#pragma once

#include <atomic>
#include <concepts>
#include <utility>

#include "base/error.hpp"

namespace persia::bind {

template <class T>
class Exclusive {
  public:
    template <class... Arguments>
        requires std::constructible_from<T, Arguments...>
    explicit Exclusive(Arguments&&... arguments) : value_(std::forward<Arguments>(arguments)...) {}
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

    const T& peek() const { return value_; }  // for what never changes

    // Access to the value for as long as this lives. Throws InvalidInput if another thread has it.
    class Use {
      public:
        explicit Use(Exclusive& owner) : owner_(owner) {
            if (owner_.busy_.exchange(true)) throw InvalidInput("expected one thread at a time to use this object, got two");
        }
        ~Use() { owner_.busy_ = false; }
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;

        T& operator*() const { return owner_.value_; }
        T* operator->() const { return &owner_.value_; }

      private:
        Exclusive& owner_;
    };

  private:
    T value_;
    std::atomic<bool> busy_{false};
};

}  // namespace persia::bind
