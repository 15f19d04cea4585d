// Lines of the log that the core writes by itself, of what should not happen. All others are written in Python.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <string>
#include <string_view>

namespace persia {

// Whether lines are objects of JSON from now on, as those of the log are; else they are words.
void set_problem_lines(bool json);

// The line, with its end. What of the text is no UTF-8 stands there as `?`.
std::string problem_line(std::string_view text);

// Writes it to stderr, in one go.
void write_problem(std::string_view text);

}  // namespace persia
