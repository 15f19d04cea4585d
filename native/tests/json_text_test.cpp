// Text in JSON.
#include "inference/json_text.hpp"

#include "check.hpp"

using persia::inference::json_quoted;

TEST(text_is_quoted_so_that_every_reader_takes_it) {
    CHECK(json_quoted("a \"b\"\n\x01") == "\"a \\\"b\\\"\\n\\u0001\"");
    CHECK(json_quoted("\xc3\xa4") == "\"\xc3\xa4\"");
    CHECK(json_quoted("a\xff\xc3\xa4") == "\"a\\u00ff\\u00c3\\u00a4\"");  // as a whole it is no UTF-8
}
