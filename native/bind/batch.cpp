#include "bind.hpp"

namespace persia::bind {

void batch(nanobind::module_&) {}

}  // namespace persia::bind
