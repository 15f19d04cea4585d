#include "bind.hpp"

namespace persia::bind {

void routing(nanobind::module_&) {}

}  // namespace persia::bind
