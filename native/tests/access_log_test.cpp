#include "inference/access_log.hpp"

#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "check.hpp"

using namespace persia;
using namespace persia::inference;
using namespace std::chrono_literals;

namespace {

class Folder {
  public:
    Folder() { CHECK(mkdtemp(path_.data()) != nullptr); }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::filesystem::path path() const { return path_; }

  private:
    std::string path_ = (std::filesystem::temp_directory_path() / "persia_access_log_XXXXXX").string();
};

Access asked(std::string_view target) { return {"127.0.0.1:5", "GET", target, "HTTP/1.1", 200, 12'345us, "id-1"}; }

std::string read(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// What was asked in each line of a file, one letter each.
std::string letters_in(const std::filesystem::path& path) {
    std::string letters;
    const std::string text = read(path);
    for (std::size_t at = text.find("GET /"); at != std::string::npos; at = text.find("GET /", at + 1)) letters += text[at + 5];
    return letters;
}

}  // namespace

TEST(a_line_of_the_access_log_is_one_line) {
    const std::string line = line_of(asked("/a\"\n\x1b b"), std::chrono::system_clock::time_point(1'700'000'000'123ms));
    CHECK(line.size() > 30 && line[19] == ',' &&
          line.substr(20) == "123 - /127.0.0.1:5 \"GET /a??? b HTTP/1.1\" 200 12 id-1\n");
}

TEST(a_full_access_log_is_begun_anew) {
    const Folder folder;
    const std::filesystem::path path = folder.path() / "access_log.log";
    const std::size_t line = line_of(asked("/a"), std::chrono::system_clock::now()).size();
    AccessLog(path, 2 * line, 2).add(asked("/a"));
    AccessLog log(path, 2 * line, 2);  // the file counts as it is found
    for (const char* target : {"/b", "/c", "/d", "/e"}) log.add(asked(target));
    CHECK(letters_in(path) == "e");
    CHECK(letters_in(path.string() + ".1") == "cd");
    CHECK(letters_in(path.string() + ".2") == "ab");
    for (const char* target : {"/f", "/g"}) log.add(asked(target));
    CHECK(letters_in(path) == "g");
    CHECK(letters_in(path.string() + ".2") == "cd");
    CHECK(!std::filesystem::exists(path.string() + ".3"));
}

TEST(a_line_that_is_longer_than_a_file_begins_one) {
    const Folder folder;
    const std::filesystem::path path = folder.path() / "access_log.log";
    AccessLog log(path, 10, 1);
    for (const char* target : {"/a", "/b"}) log.add(asked(target));
    CHECK(letters_in(path) == "b");
    CHECK(letters_in(path.string() + ".1") == "a");
}

TEST(an_access_log_goes_on_where_no_new_file_can_be_made) {
    const Folder folder;
    const std::filesystem::path inner = folder.path() / "inner";
    std::filesystem::create_directory(inner);
    AccessLog log(inner / "access_log.log", 10, 1);
    log.add(asked("/a"));
    std::filesystem::rename(inner, folder.path() / "away");
    log.add(asked("/b"));
    CHECK(letters_in(folder.path() / "away" / "access_log.log") == "ab");
}
