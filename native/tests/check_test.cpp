// The tests of the tests: a CHECK that could not fail would hide everything.
#include "check.hpp"

#include <stdexcept>

namespace {

// How many failures `run` adds; they are not counted as this program's own.
template <class Run>
int failures_of(Run run) {
    const int before = check::failures;
    run();
    const int added = check::failures - before;
    check::failures = before;
    return added;
}

void throws_runtime_error() { throw std::runtime_error("on purpose"); }

}  // namespace

TEST(a_true_check_passes) {
    CHECK(failures_of([] { CHECK(1 + 1 == 2); }) == 0);
}

TEST(a_false_check_fails) {
    CHECK(failures_of([] { CHECK(1 + 1 == 3); }) == 1);
}

TEST(an_expected_exception_passes) {
    CHECK(failures_of([] { CHECK_THROWS(throws_runtime_error(), std::runtime_error); }) == 0);
}

TEST(a_missing_exception_fails) {
    CHECK(failures_of([] { CHECK_THROWS(1 + 1, std::runtime_error); }) == 1);
}
