#include "canonical-job.h"

#include <array>
#include <bit>
#include <cstring>

#include "segment-schema.h"
#include "xxh64.h"

// USHER_PORTABLE leaves out all that is special to a processor, so that tests reach the portable paths.
#if defined(__SSE2__) && !defined(USHER_PORTABLE)
#include <emmintrin.h>
#endif

namespace usher {
namespace {

// A string literal as a template argument: pieces of markup are compared and copied as words known to the
// compiler.
template <size_t n>
struct Literal {
  char text[n]{};
  static constexpr size_t length = n - 1;

  constexpr Literal(const char (&from)[n]) noexcept {
    for (size_t i = 0; i < n; i++) text[i] = from[i];
  }
  constexpr Literal() noexcept = default;
};

template <size_t a, size_t b>
constexpr Literal<a + b - 1> operator+(const Literal<a>& left, const Literal<b>& right) noexcept {
  Literal<a + b - 1> joined;
  for (size_t i = 0; i + 1 < a; i++) joined.text[i] = left.text[i];
  for (size_t i = 0; i < b; i++) joined.text[a - 1 + i] = right.text[i];
  return joined;
}

template <Literal literal>
[[gnu::always_inline]] inline bool stands_at(const uint8_t* in) noexcept {
  return std::memcmp(in, literal.text, literal.length) == 0;
}

template <Literal literal>
[[gnu::always_inline]] inline bool take(const uint8_t*& in) noexcept {
  if (!stands_at<literal>(in)) return false;
  in += literal.length;
  return true;
}

template <Literal literal>
[[gnu::always_inline]] inline void put(uint8_t*& to) noexcept {
  std::memcpy(to, literal.text, literal.length);
  to += literal.length;
}

constexpr size_t block_bytes = 16;

// Copies a block; returns how many of its bytes stand before the first that isn't copied as it is: control
// characters, `"` and `\`, which JSON escapes, and `<`, `>` and `&`, which mean something in XML.
#if defined(__SSE2__) && !defined(USHER_PORTABLE)

[[gnu::always_inline]] inline size_t copy_block(const uint8_t* in, uint8_t* to) noexcept {
  const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), block);
  const __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
  // `<` and `>` differ in bit 1, `"` and `&` in bit 2.
  const __m128i angles = _mm_cmpeq_epi8(_mm_or_si128(block, _mm_set1_epi8(2)), _mm_set1_epi8('>'));
  const __m128i quotes = _mm_cmpeq_epi8(_mm_or_si128(block, _mm_set1_epi8(4)), _mm_set1_epi8('&'));
  const __m128i slashes = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
  const __m128i found = _mm_or_si128(_mm_or_si128(controls, angles), _mm_or_si128(quotes, slashes));
  const auto mask = static_cast<uint32_t>(_mm_movemask_epi8(found));
  return static_cast<size_t>(std::countr_zero(mask | 1u << block_bytes));
}

#else

constexpr std::array<bool, 256> special = [] {
  std::array<bool, 256> table{};
  for (size_t c = 0; c < 0x20; c++) table[c] = true;
  for (const char c : {'<', '>', '&', '"', '\\'}) table[static_cast<uint8_t>(c)] = true;
  return table;
}();

inline size_t copy_block(const uint8_t* in, uint8_t* to) noexcept {
  size_t length = 0;
  while (length < block_bytes && !special[in[length]]) length++;
  std::memcpy(to, in, block_bytes);
  return length;
}

#endif

// At a special byte that doesn't end the text. Escapes it for JSON, or says false: not of the canonical form.
template <uint8_t stop>
[[gnu::noinline]] bool copy_special(const uint8_t** in, uint8_t** to) noexcept {
  const auto replace = [in, to](size_t length, char a, char b = '\0') {
    *in += length;
    *(*to)++ = static_cast<uint8_t>(a);
    if (b != '\0') *(*to)++ = static_cast<uint8_t>(b);
    return true;
  };
  constexpr bool attribute = stop == '"';
  const uint8_t* at = *in;
  switch (*at) {
    case '\\': return replace(1, '\\', '\\');
    case '"': return replace(1, '\\', '"');
    case '\n': return !attribute && replace(1, '\\', 'n');
    case '\t': return !attribute && replace(1, '\\', 't');
    case '&':
      if (stands_at<"&amp;">(at)) return replace(5, '&');
      if (stands_at<"&lt;">(at)) return replace(4, '<');
      if (stands_at<"&gt;">(at)) return replace(4, '>');
      if (stands_at<"&quot;">(at)) return replace(6, '\\', '"');
      if (stands_at<"&#13;">(at)) return replace(5, '\\', 'r');
      if (stands_at<"&#10;">(at)) return replace(5, '\\', 'n');
      if (stands_at<"&#9;">(at)) return replace(4, '\\', 't');
      return false;
    default: return false;
  }
}

// Both ends of the work: where the document's last job may begin, and the buffer written to.
struct Bounds {
  const uint8_t* in_max;
  JsonBuffer& out;
};

// Copies text up to `stop`, which is `<` in elements and `"` in attributes, as the inside of a JSON string.
template <uint8_t stop>
[[gnu::always_inline]] inline bool copy_text(const uint8_t*& in, uint8_t*& to,
                                             const Bounds& bounds) noexcept {
  for (;;) {
    if (in > bounds.in_max) [[unlikely]] return false;
    if (to > bounds.out.limit()) [[unlikely]] to = bounds.out.grow(to);
    const size_t length = copy_block(in, to);
    in += length;
    to += length;
    if (length == block_bytes) continue;
    if (*in == stop) return true;
    // Copies, so that the pointers themselves can stay in registers.
    const uint8_t* in_special = in;
    uint8_t* to_special = to;
    if (!copy_special<stop>(&in_special, &to_special)) return false;
    in = in_special;
    to = to_special;
  }
}

// 1 to 16 digits in canonical form, within the bounds.
[[gnu::always_inline]] inline bool copy_integer(const uint8_t*& in, uint8_t*& to, uint64_t min,
                                                uint64_t max) noexcept {
  uint64_t value = 0;
  size_t length = 0;
  for (; length < 17 && static_cast<uint8_t>(in[length] - '0') < 10; length++) {
    value = value * 10 + (in[length] - uint64_t{'0'});
  }
  if (length == 0 || length > 16 || (length > 1 && *in == '0') || value < min || value > max) return false;
  std::memcpy(to, in, 16);
  in += length;
  to += length;
  return true;
}

// The functions below answer: 1 taken, 0 not there, -1 not canonical.

template <Literal name>
[[gnu::always_inline]] inline int text_element(const uint8_t*& in, uint8_t*& to,
                                               const Bounds& bounds) noexcept {
  constexpr auto open = Literal("<") + name + Literal(">");
  constexpr auto close = Literal("</") + name + Literal(">");
  constexpr auto key = Literal(",\"") + name + Literal("\":\"");
  if (!take<open>(in)) return 0;
  put<key>(to);
  const uint8_t* start = in;
  if (!copy_text<'<'>(in, to, bounds) || in == start || !take<close>(in)) return -1;
  *to++ = '"';
  return 1;
}

template <Literal name, uint64_t min, uint64_t max>
[[gnu::always_inline]] inline int integer_element(const uint8_t*& in, uint8_t*& to) noexcept {
  constexpr auto open = Literal("<") + name + Literal(">");
  constexpr auto close = Literal("</") + name + Literal(">");
  constexpr auto key = Literal(",\"") + name + Literal("\":");
  if (!take<open>(in)) return 0;
  put<key>(to);
  return copy_integer(in, to, min, max) && take<close>(in) ? 1 : -1;
}

template <Literal name, bool default_value>
[[gnu::always_inline]] inline int boolean_element(const uint8_t*& in, uint8_t*& to) noexcept {
  constexpr auto open = Literal("<") + name + Literal(">");
  constexpr auto close_false = Literal("false</") + name + Literal(">");
  constexpr auto close_true = Literal("true</") + name + Literal(">");
  if (!take<open>(in)) return 0;
  if (take<close_true>(in)) {
    if constexpr (!default_value) {
      constexpr auto member = Literal(",\"") + name + Literal("\":true");
      put<member>(to);
    }
    return 1;
  }
  if (!take<close_false>(in)) return -1;
  if constexpr (default_value) {
    constexpr auto member = Literal(",\"") + name + Literal("\":false");
    put<member>(to);
  }
  return 1;
}

// <environment> or <custom_attributes>: names without anything to escape, in strictly ascending order.
template <Literal name, Literal item, bool variables>
[[gnu::always_inline]] inline int pairs_element(const uint8_t*& in, uint8_t*& to,
                                                const Bounds& bounds) noexcept {
  constexpr auto open = Literal("<") + name + Literal(">");
  constexpr auto close = Literal("</") + name + Literal(">");
  constexpr auto key = Literal(",\"") + name + Literal("\":{");
  constexpr auto open_item = Literal("<") + item + Literal(" name=\"");
  constexpr auto close_item = Literal("</") + item + Literal(">");
  if (!take<open>(in)) return 0;
  put<key>(to);
  std::string_view last;
  do {
    if (!take<open_item>(in)) return -1;
    const auto* start = reinterpret_cast<const char*>(in);
    *to++ = '"';
    for (;;) {
      if (in > bounds.in_max) [[unlikely]] return -1;
      if (to > bounds.out.limit()) [[unlikely]] to = bounds.out.grow(to);
      const size_t length = copy_block(in, to);
      in += length;
      to += length;
      if (length < block_bytes) break;
    }
    const std::string_view label(start, static_cast<size_t>(reinterpret_cast<const char*>(in) - start));
    // No name is empty, so that the first is above `last` too.
    if (*in != '"' || label <= last) return -1;
    if (variables && std::memchr(label.data(), '=', label.size()) != nullptr) return -1;
    last = label;
    if (!take<"\">">(in)) return -1;
    put<"\":\"">(to);
    if (!copy_text<'<'>(in, to, bounds) || !take<close_item>(in)) return -1;
    put<"\",">(to);
  } while (!take<close>(in));
  to[-1] = '}';
  return 1;
}

[[gnu::always_inline]] inline int arguments_element(const uint8_t*& in, uint8_t*& to,
                                                    const Bounds& bounds) noexcept {
  if (!take<"<arguments>">(in)) return 0;
  put<",\"arguments\":[">(to);
  do {
    if (!take<"<argument>">(in)) return -1;
    *to++ = '"';
    if (!copy_text<'<'>(in, to, bounds) || !take<"</argument>">(in)) return -1;
    put<"\",">(to);
  } while (!take<"</arguments>">(in));
  to[-1] = ']';
  return 1;
}

[[gnu::always_inline]] inline int resources_element(const uint8_t*& in, uint8_t*& to) noexcept {
  if (!take<"<resources>">(in)) return 0;
  uint8_t* const start = to;
  put<",\"resources\":{\"__version\":1">(to);
  const uint8_t* const empty = to;
  if (integer_element<"node_count", 1, int_max>(in, to) < 0) return -1;
  if (integer_element<"process_count", 1, int_max>(in, to) < 0) return -1;
  if (integer_element<"processes_per_node", 1, int_max>(in, to) < 0) return -1;
  if (integer_element<"cpu_cores_per_process", 1, int_max>(in, to) < 0) return -1;
  if (integer_element<"gpu_cores_per_process", 0, int_max>(in, to) < 0) return -1;
  if (boolean_element<"exclusive_node_use", false>(in, to) < 0) return -1;
  if (integer_element<"memory", 1, safe_integer_max>(in, to) < 0) return -1;
  if (!take<"</resources>">(in)) return -1;
  if (to == empty) {
    to = start;
  } else {
    *to++ = '}';
  }
  return 1;
}

[[gnu::always_inline]] inline int attributes_element(const uint8_t*& in, uint8_t*& to,
                                                     const Bounds& bounds) noexcept {
  if (!take<"<attributes>">(in)) return 0;
  put<",\"attributes\":{">(to);
  // The first member follows a brace, so its comma goes: one byte back, and the brace again when all is
  // there. The buffer may move meanwhile, hence a distance.
  const size_t start = static_cast<size_t>(to - bounds.out.data()) - 1;
  to--;
  const uint8_t* const members = in;
  if (take<"<duration>">(in)) {
    put<",\"duration\":\"">(to);
    if (!copy_integer(in, to, 1, int_max) || !take<"</duration>">(in)) return -1;
    put<" s\"">(to);
  }
  if (text_element<"queue_name">(in, to, bounds) < 0) return -1;
  if (text_element<"account">(in, to, bounds) < 0) return -1;
  if (text_element<"reservation_id">(in, to, bounds) < 0) return -1;
  if (pairs_element<"custom_attributes", "attribute", false>(in, to, bounds) < 0) return -1;
  if (in == members || !take<"</attributes>">(in)) return -1;
  bounds.out.data()[start] = '{';
  *to++ = '}';
  return 1;
}

bool is_digit(uint8_t byte) noexcept { return static_cast<uint8_t>(byte - '0') < 10; }

// Attributes and elements; `line` is where the line begins in the buffer.
bool read_job(const uint8_t*& in, uint8_t*& to, size_t line, const Bounds& bounds,
              size_t& cluster_at) noexcept {
  constexpr size_t digest_digits = 16;
  constexpr size_t timestamp_length = 24;
  constexpr size_t traceparent_length = 55;
  if (!take<"<job id=\"">(in)) return false;
  size_t id_length = 17;
  while (id_length < 38 && is_digit(in[id_length])) id_length++;
  const std::string_view id(reinterpret_cast<const char*>(in), id_length);
  if (!is_job_id(id)) return false;
  put<"{\"id\":\"">(to);
  std::memcpy(to, in, id_length);
  to += id_length;
  in += id_length;
  put<"\",\"digest\":\"">(to);
  to += digest_digits;
  put<"\",\"accepted\":\"">(to);
  if (!take<"\" at=\"">(in)) return false;
  if (!is_timestamp({reinterpret_cast<const char*>(in), timestamp_length})) return false;
  std::memcpy(to, in, timestamp_length);
  in += timestamp_length;
  to += timestamp_length;
  if (!take<"\" cluster=\"">(in)) return false;
  put<"\",">(to);
  // The cluster stands before the traceparent in XML and behind it in JSON: it is written, and moved if need
  // be.
  cluster_at = static_cast<size_t>(to - bounds.out.data()) - line;
  put<"\"cluster\":\"">(to);
  const uint8_t* start = in;
  if (!copy_text<'"'>(in, to, bounds) || in == start) return false;
  *to++ = '"';
  in++;
  if (take<" traceparent=\"">(in)) {
    if (!is_traceparent({reinterpret_cast<const char*>(in), traceparent_length})) return false;
    constexpr size_t member = Literal("\"traceparent\":\"\",").length + traceparent_length;
    uint8_t* cluster = bounds.out.data() + line + cluster_at;
    const auto cluster_length = static_cast<size_t>(to - cluster);
    if (cluster_length > 1024) return false;
    std::memmove(cluster + member, cluster, cluster_length);
    put<"\"traceparent\":\"">(cluster);
    std::memcpy(cluster, in, traceparent_length);
    cluster += traceparent_length;
    put<"\",">(cluster);
    in += traceparent_length;
    to += member;
    cluster_at += member;
    if (*in++ != '"') return false;
  }
  if (*in++ != '>') return false;
  put<",\"spec\":">(to);
  const size_t spec_at = static_cast<size_t>(to - bounds.out.data());
  if (text_element<"name">(in, to, bounds) < 0) return false;
  if (text_element<"executable">(in, to, bounds) != 1) return false;
  if (arguments_element(in, to, bounds) < 0) return false;
  if (text_element<"directory">(in, to, bounds) < 0) return false;
  if (boolean_element<"inherit_environment", true>(in, to) < 0) return false;
  if (pairs_element<"environment", "variable", true>(in, to, bounds) < 0) return false;
  if (text_element<"stdin_path">(in, to, bounds) < 0) return false;
  if (text_element<"stdout_path">(in, to, bounds) < 0) return false;
  if (text_element<"stderr_path">(in, to, bounds) < 0) return false;
  if (resources_element(in, to) < 0) return false;
  if (attributes_element(in, to, bounds) < 0) return false;
  if (text_element<"pre_launch">(in, to, bounds) < 0) return false;
  if (text_element<"post_launch">(in, to, bounds) < 0) return false;
  if (text_element<"launcher">(in, to, bounds) < 0) return false;
  if (!take<"</job>">(in)) return false;
  bounds.out.data()[spec_at] = '{';
  *to++ = '}';
  return true;
}

}  // namespace

const uint8_t* read_canonical_job(const uint8_t* in, const uint8_t* end, std::string_view provenance,
                                  uint64_t index, JsonBuffer& out) noexcept {
  static_assert(canonical_margin + canonical_provenance_max < JsonBuffer::slack);
  if (static_cast<size_t>(end - in) <= canonical_margin) return nullptr;
  const Bounds bounds{end - canonical_margin, out};
  const size_t line = out.size();
  uint8_t* to = out.at();
  if (to > out.limit()) to = out.grow(to);
  size_t cluster_at = 0;
  if (!read_job(in, to, line, bounds, cluster_at)) return nullptr;
  constexpr size_t digest_at = Literal("\",\"digest\":\"").length + Literal("{\"id\":\"").length;
  uint8_t* start = out.data() + line;
  // The id ends at the second quote behind its key; its length varies.
  const uint8_t* id = start + Literal("{\"id\":\"").length;
  const auto* quote = static_cast<const uint8_t*>(std::memchr(id + 17, '"', 24));
  const uint8_t* cluster = start + cluster_at;
  write_hex16(xxh64({cluster, static_cast<size_t>(to - cluster)}), start + (quote - id) + digest_at);
  std::memcpy(to, provenance.data(), provenance.size());
  out.commit(to + provenance.size());
  out.append(index);
  out.append("}}\n");
  return in;
}

}  // namespace usher
