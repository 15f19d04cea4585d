// What the core throws on purpose. The bindings turn each class into the one of the same name in persia/errors.py, and IoError
// into the OSError of its code.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace persia {

class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// An argument that the caller could have checked: a wrong length, an unknown name, a value out of range.
class InvalidInput : public Error {
  public:
    using Error::Error;
};

// A feature, dense tensor or label of a batch that cannot be sent as it is.
class FeatureError : public InvalidInput {
  public:
    FeatureError(std::string name, std::string what_is_wrong)
        : InvalidInput("'" + name + "': " + what_is_wrong), feature(std::move(name)), problem(std::move(what_is_wrong)) {}

    std::string feature;
    std::string problem;
};

// More than a stated limit allows (a row count, a batch size, memory that the system refuses).
class TooLarge : public Error {
  public:
    using Error::Error;
};

// Bytes that are not what their format says. `byte` counts from the start of the buffer or file.
class DecodeError : public Error {
  public:
    DecodeError(std::string what_was_expected, std::string what_came, std::uint64_t at_byte)
        : Error("at byte " + std::to_string(at_byte) + ": expected " + what_was_expected + ", got " + what_came),
          expected(std::move(what_was_expected)), got(std::move(what_came)), byte(at_byte) {}

    std::string expected;
    std::string got;
    std::uint64_t byte;
};

// A file whose content is a DecodeError.
class CorruptFile : public DecodeError {
  public:
    CorruptFile(std::string file, const DecodeError& cause) : DecodeError(cause), path(std::move(file)) {}

    std::string path;
};

// The operating system's refusal to open, read or write `path`.
class IoError : public Error {
  public:
    IoError(std::string file, int error_number, const std::string& message)
        : Error(message), path(std::move(file)), code(error_number) {}

    std::string path;
    int code;
};

}  // namespace persia
