#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/fail.h"

namespace easel::text {

Regex::Regex(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (!code) fail(ErrorCode::internal, "pattern '{}': error {} at {}", printable(pattern), error, offset);
  code_ = {code, [](void* held) { pcre2_code_free(static_cast<pcre2_code*>(held)); }};
}

std::vector<std::string_view> Regex::find_all(std::string_view text) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free);
  if (!match) fail(ErrorCode::out_of_memory, "no memory to search {} bytes of text", text.size());
  std::vector<std::string_view> out;
  for (size_t position = 0; position < text.size();) {
    const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), position,
                                  PCRE2_NO_UTF_CHECK, match.get(), nullptr);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) fail(ErrorCode::internal, "searching {} bytes of text: PCRE2 error {}", text.size(), found);
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    if (range[1] <= range[0]) break;  // our patterns match at least one character
    out.push_back(text.substr(range[0], range[1] - range[0]));
    position = range[1];
  }
  return out;
}

}  // namespace easel::text
