// One function per noun; module.cpp is their table of contents.
#pragma once

#include <nanobind/nanobind.h>

namespace persia::bind {

void errors(nanobind::module_& module);
void signs(nanobind::module_& module);
void batch(nanobind::module_& module);
void files(nanobind::module_& module);
void table(nanobind::module_& module);
void routing(nanobind::module_& module);

}  // namespace persia::bind
