#include "http/form.hpp"

#include <algorithm>

#include "base/utf8.hpp"

namespace persia::http {

namespace {

constexpr std::size_t kMaxFields = 1'000;
constexpr std::size_t kMaxBoundary = 70;

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char letter = static_cast<char>(c | 0x20);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

// Calls `take(key, value)` for each pair; false: one of them is not encoded as it should be.
template <class Take>
bool for_each_pair(std::string_view text, Take take) {
    while (!text.empty()) {
        const std::size_t end = text.find('&');
        const std::string_view pair = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (pair.empty()) continue;
        const std::size_t equals = pair.find('=');
        auto key = url_decoded(pair.substr(0, equals), true);
        auto value = equals == std::string_view::npos ? std::string() : url_decoded(pair.substr(equals + 1), true);
        if (!key || !value || !take(std::move(*key), std::move(*value))) return false;
    }
    return true;
}

Refusal bad(std::string message) { return {400, std::move(message)}; }

// The headers of a part, up to its empty line, which is taken from `body` with them.
std::variant<Field, Refusal> parse_part_head(std::string_view& body) {
    Field field;
    bool has_name = false, is_file = false;
    std::string content_type;
    for (;;) {
        const std::size_t end = body.find("\r\n");
        if (end == std::string_view::npos)
            return bad("expected an empty line behind the headers of a part, got the body's end");
        const std::string_view line = body.substr(0, end);
        body.remove_prefix(end + 2);
        if (line.empty()) break;
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos) return bad("expected a header with a colon in a part");
        const std::string_view name = trimmed(line.substr(0, colon));
        const std::string_view value = trimmed(line.substr(colon + 1));
        if (equal_ignoring_case(name, "content-disposition")) {
            const auto part_name = header_parameter(value, "name");
            has_name = part_name.has_value();
            if (has_name) field.name = *part_name;
            is_file = header_parameter(value, "filename").has_value();
        } else if (equal_ignoring_case(name, "content-type")) {
            content_type = value;
        }
    }
    if (!has_name) return bad("expected a part with a name, got one whose content-disposition has none");
    if (is_file) field.content_type = std::move(content_type);
    return field;
}

}  // namespace

std::optional<std::string> url_decoded(std::string_view text, bool plus_is_space) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus_is_space) {
            decoded += ' ';
        } else if (text[i] == '%') {
            if (i + 2 >= text.size()) return std::nullopt;
            const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
            if (high < 0 || low < 0) return std::nullopt;
            decoded += static_cast<char>(high << 4 | low);
            i += 2;
        } else {
            decoded += text[i];
        }
    }
    return decoded;
}

const std::string* Target::parameter(std::string_view key) const {
    const auto found = std::find_if(query.begin(), query.end(), [&](const auto& pair) { return pair.first == key; });
    return found == query.end() ? nullptr : &found->second;
}

bool Target::is_utf8() const {
    return persia::is_utf8(path) && std::all_of(segments.begin(), segments.end(), persia::is_utf8) &&
           std::all_of(query.begin(), query.end(),
                       [](const auto& pair) { return persia::is_utf8(pair.first) && persia::is_utf8(pair.second); });
}

std::optional<Target> parse_target(std::string_view text) {
    Target target;
    text = text.substr(0, text.find('#'));
    const std::size_t mark = text.find('?');
    target.path = text.substr(0, mark);
    std::string_view path = target.path;
    while (path.starts_with('/')) {
        path.remove_prefix(1);
        const std::size_t end = path.find('/');
        auto segment = url_decoded(path.substr(0, end), false);
        if (!segment) return std::nullopt;
        path = end == std::string_view::npos ? std::string_view() : path.substr(end);
        if (!segment->empty() || !path.empty()) target.segments.push_back(std::move(*segment));
    }
    if (mark == std::string_view::npos) return target;
    const bool valid = for_each_pair(text.substr(mark + 1), [&](std::string key, std::string value) {
        target.query.emplace_back(std::move(key), std::move(value));
        return target.query.size() <= kMaxFields;
    });
    if (!valid) return std::nullopt;
    return target;
}

std::string_view Field::bytes() const {
    return std::visit([](const auto& bytes) { return std::string_view(bytes); }, value);
}

std::variant<Fields, Refusal> parse_urlencoded(std::string_view body) {
    Fields fields;
    const bool valid = for_each_pair(body, [&](std::string key, std::string value) {
        fields.push_back({std::move(key), {}, std::move(value)});
        return fields.size() <= kMaxFields;
    });
    if (!valid) return bad("expected a form of at most " + std::to_string(kMaxFields) + " fields such as 'a=1&b=%20'");
    return fields;
}

std::variant<Fields, Refusal> parse_multipart(std::string_view content_type, std::string_view body) {
    const auto boundary = header_parameter(content_type, "boundary");
    if (!boundary || boundary->empty() || boundary->size() > kMaxBoundary) {
        return bad("expected a content-type 'multipart/form-data' with a boundary of 1 to 70 characters");
    }
    const std::string line = "--" + *boundary;
    const std::string separator = "\r\n" + line;
    // What stands before the first boundary says nothing.
    if (!body.starts_with(line)) {
        const std::size_t first = body.find(separator);
        if (first == std::string_view::npos) return bad("expected the boundary of the content-type in the body, got none");
        body.remove_prefix(first + 2);
    }
    body.remove_prefix(line.size());
    Fields fields;
    while (!body.starts_with("--")) {
        // Blanks may follow a boundary.
        body.remove_prefix(std::min(body.find_first_not_of(" \t"), body.size()));
        if (!body.starts_with("\r\n")) return bad("expected a line's end behind a boundary");
        body.remove_prefix(2);
        auto head = parse_part_head(body);
        if (auto* refusal = std::get_if<Refusal>(&head)) return std::move(*refusal);
        Field field = std::move(std::get<Field>(head));
        const std::size_t end = body.find(separator);
        if (end == std::string_view::npos)
            return bad("expected a boundary behind the part '" + field.name + "', got the body's end");
        field.value = body.substr(0, end);
        body.remove_prefix(end + separator.size());
        fields.push_back(std::move(field));
        if (fields.size() > kMaxFields) return bad("expected at most " + std::to_string(kMaxFields) + " parts, got more");
    }
    return fields;
}

std::string mime_type(std::string_view content_type) {
    std::string type(trimmed(content_type.substr(0, content_type.find(';'))));
    std::transform(type.begin(), type.end(), type.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
    return type;
}

std::optional<std::string> header_parameter(std::string_view header, std::string_view name) {
    std::size_t at = header.find(';');
    while (at != std::string_view::npos) {
        header.remove_prefix(at + 1);
        const std::size_t equals = header.find_first_of("=;");
        if (equals == std::string_view::npos) return std::nullopt;
        if (header[equals] == ';') {
            at = equals;
            continue;
        }
        const bool wanted = equal_ignoring_case(trimmed(header.substr(0, equals)), name);
        header.remove_prefix(equals + 1);
        header.remove_prefix(std::min(header.find_first_not_of(" \t"), header.size()));
        std::string value;
        if (header.starts_with('"')) {
            std::size_t i = 1;
            for (; i < header.size() && header[i] != '"'; ++i) {
                if (header[i] == '\\' && i + 1 < header.size() && (header[i + 1] == '"' || header[i + 1] == '\\')) ++i;
                value += header[i];
            }
            if (i >= header.size()) return std::nullopt;
            header.remove_prefix(i + 1);
        } else {
            value = trimmed(header.substr(0, header.find(';')));
        }
        if (wanted) return value;
        at = header.find(';');
    }
    return std::nullopt;
}

}  // namespace persia::http
