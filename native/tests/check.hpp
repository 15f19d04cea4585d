// A test is TEST(name) { CHECK(...); }. The executable runs all of its tests, or those whose names have its argument in them,
// and fails if one CHECK did.
#pragma once

#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

namespace check {

struct Test {
    const char* name;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline int failures = 0;

struct Register {
    Register(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

inline void that(bool ok, const char* expression, const char* file, int line) {
    if (ok) return;
    ++failures;
    std::fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, expression);
}

}  // namespace check

#define TEST(name)                                                    \
    static void test_##name();                                        \
    static const check::Register register_##name{#name, test_##name}; \
    static void test_##name()

#define CHECK(expression) check::that(static_cast<bool>(expression), #expression, __FILE__, __LINE__)

#define CHECK_THROWS(expression, Exception)                                         \
    do {                                                                            \
        bool thrown = false;                                                        \
        try {                                                                       \
            static_cast<void>(expression);                                          \
        } catch (const Exception&) {                                                \
            thrown = true;                                                          \
        }                                                                           \
        check::that(thrown, #expression " throws " #Exception, __FILE__, __LINE__); \
    } while (false)

int main(int count, char** arguments) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);  // so that what hangs is known
    for (const check::Test& test : check::tests()) {
        if (count > 1 && std::strstr(test.name, arguments[1]) == nullptr) continue;
        const int before = check::failures;
        try {
            test.run();
        } catch (const std::exception& error) {
            ++check::failures;
            std::fprintf(stderr, "%s: threw %s\n", test.name, error.what());
        }
        std::printf("%s %s\n", check::failures == before ? "ok  " : "FAIL", test.name);
    }
    std::printf("%zu passed, %d failed\n", check::tests().size(), check::failures);
    return check::failures == 0 ? 0 : 1;
}
