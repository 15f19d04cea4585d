// Numbers as text.
//
// Thread safety: a plain function.
#pragma once

#include <string>

namespace persia {

// Appends a number as Python's repr() writes it: the fewest digits that are read back as the same number, with an exponent
// below 1e-4 and from 1e16 on. REQUIRES: it is finite.
void append_number(std::string& to, double value);

}  // namespace persia
