// Lines of the log that the core writes by itself.
#include "base/problem_lines.hpp"

#include "check.hpp"

using namespace persia;

TEST(a_problem_is_said_in_words) { CHECK(problem_line("two\nlines") == "two\nlines\n"); }

TEST(where_the_log_is_json_each_problem_is_one_object_in_one_line) {
    set_problem_lines(true);
    const std::string line = problem_line("a \"b\" \\ \n\x01 \xc3\xa4");
    set_problem_lines(false);
    const std::string begin = "{\"time\":\"20";
    CHECK(line.starts_with(begin) && line.substr(32, 7) == "+00:00\"");
    CHECK(
        line.ends_with(",\"level\":\"ERROR\",\"logger\":\"core\",\"message\":\"a \\\"b\\\" \\\\ \\u000a\\u0001 \xc3\xa4\"}\n"));
}

TEST(what_is_no_text_does_not_spoil_the_line) {
    set_problem_lines(true);
    const std::string line = problem_line("a\xff\xc3z");
    set_problem_lines(false);
    CHECK(line.ends_with("\"message\":\"a??z\"}\n"));
}
