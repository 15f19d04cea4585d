#include "bind.hpp"

namespace persia::bind {

void table(nanobind::module_&) {}

}  // namespace persia::bind
