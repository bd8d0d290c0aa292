// The simple types of docs/segment.xsd: what a value may look like, and what it means. White space is treated
// as XML Schema 1.0 part 2 does, so that whatever a validator takes is taken here and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace usher {

inline constexpr std::string_view segment_uri = "urn:usher:segment:1";
inline constexpr std::string_view schema_instance_uri = "http://www.w3.org/2001/XMLSchema-instance";

// Ten digits, as in the name of a segment's file.
inline constexpr uint64_t segment_number_max = 9'999'999'999;
inline constexpr uint64_t int_max = (uint64_t{1} << 31) - 1;
// The largest integer that every reader of JSON keeps exactly.
inline constexpr uint64_t safe_integer_max = (uint64_t{1} << 53) - 1;

bool is_white_space(std::string_view text) noexcept;

// White space around it taken away, as XML Schema does with every type but strings.
std::string_view trimmed(std::string_view text) noexcept;

// Canonical decimal within the bounds, with white space around it.
std::optional<uint64_t> parse_integer(std::string_view text, uint64_t min, uint64_t max) noexcept;

// true or false, with white space around.
std::optional<bool> parse_boolean(std::string_view text) noexcept;

// Letters, digits, `.`, `_` and `-`.
bool is_instance(std::string_view text) noexcept;

// `9f8c2e71a4b0d3e5-17`: 16 lower-case hexadecimal digits, a hyphen, a 64-bit number in canonical decimal.
bool is_job_id(std::string_view text) noexcept;

// `2026-11-23T04:00:00.124Z`, 24 bytes, a day that exists.
bool is_timestamp(std::string_view text) noexcept;

// Trace Context's: 2, 32, 16 and 2 lower-case hexadecimal digits with hyphens between; the first not ff, the
// trace and the parent not zero.
bool is_traceparent(std::string_view text) noexcept;

}  // namespace usher
