#include "bind.hpp"

namespace persia::bind {

void files(nanobind::module_&) {}

}  // namespace persia::bind
