// The kernel behind canonical-job.h, compiled once for each set of vector instructions. Whoever includes this has
// defined USHER_TARGET, which goes before each function, and Block: `bytes` of them at a time are copied, and
// copy() says how many stand before the first that isn't copied as it is: control characters, `"` and `\`, which
// JSON escapes, and `<`, `>` and `&`, which mean something in XML. Everything is in an unnamed namespace, so that
// no linker ever takes what was compiled for one processor for another's.
//
// Markup is compared and copied as words known to the compiler; digits are looked at eight at a time.

#if !defined(USHER_TARGET)
#error "USHER_TARGET and Block come first"
#endif

// No #pragma once: what it needs is included before USHER_TARGET is defined, by canonical-includes.h.

namespace usher {
namespace {

#define USHER_INLINE USHER_TARGET [[gnu::always_inline]] inline

// A string literal as a template argument. Its bytes are followed by zeroes, so that whole vectors can be copied.
template <size_t n>
struct Literal {
  static constexpr size_t length = n - 1;
  static constexpr size_t padded = (length + 15) / 16 * 16;
  char text[padded + 16]{};

  constexpr Literal(const char (&from)[n]) noexcept {
    for (size_t i = 0; i < n; i++) text[i] = from[i];
  }
  constexpr Literal() noexcept = default;

  // Eight bytes from there on, those behind the end being zero.
  constexpr uint64_t word(size_t at) const noexcept {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++) value |= uint64_t{static_cast<uint8_t>(text[at + i])} << (8 * i);
    return value;
  }

  // All whole words but the first; what is left over is in the last word of the text.
  constexpr auto middle_words() const noexcept {
    std::array<uint64_t, length / 8> words{};
    for (size_t i = 1; i < length / 8; i++) words[i] = word(8 * i);
    return words;
  }

  constexpr auto padded_text() const noexcept {
    std::array<char, padded> bytes{};
    for (size_t i = 0; i < padded; i++) bytes[i] = text[i];
    return bytes;
  }
};

template <size_t a, size_t b>
constexpr Literal<a + b - 1> operator+(const Literal<a>& left, const Literal<b>& right) noexcept {
  Literal<a + b - 1> joined;
  for (size_t i = 0; i + 1 < a; i++) joined.text[i] = left.text[i];
  for (size_t i = 0; i < b; i++) joined.text[a - 1 + i] = right.text[i];
  return joined;
}

USHER_INLINE uint64_t word_at(const uint8_t* from) noexcept {
  static_assert(std::endian::native == std::endian::little, "usher runs on little-endian machines");
  uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Reads up to seven bytes behind the literal.
template <Literal literal>
USHER_INLINE bool stands_at(const uint8_t* in) noexcept {
  constexpr size_t length = literal.length;
  if constexpr (length < 8) {
    constexpr uint64_t word = literal.word(0);
    return ((word_at(in) ^ word) << (64 - 8 * length)) == 0;
  } else {
    constexpr uint64_t first = literal.word(0);
    constexpr auto middle = literal.middle_words();
    constexpr uint64_t last = literal.word(length - 8);
    // Most of what doesn't stand there differs at its beginning.
    if (word_at(in) != first) return false;
    uint64_t different = 0;
    for (size_t i = 1; i < middle.size(); i++) different |= word_at(in + 8 * i) ^ middle[i];
    different |= word_at(in + length - 8) ^ last;
    return different == 0;
  }
}

template <Literal literal>
USHER_INLINE bool take(const uint8_t*& in) noexcept {
  if (!stands_at<literal>(in)) return false;
  in += literal.length;
  return true;
}

// Writes up to 15 bytes behind the literal.
template <Literal literal>
USHER_INLINE void put(uint8_t*& to) noexcept {
  static constexpr auto bytes = literal.padded_text();
  std::memcpy(to, bytes.data(), bytes.size());
  to += literal.length;
}

// At a special byte that doesn't end the text. Escapes it for JSON, or says false: not of the canonical form.
template <uint8_t stop>
USHER_TARGET [[gnu::noinline]] bool copy_special(const uint8_t** in, uint8_t** to) noexcept {
  const auto replace = [in, to](size_t length, char a, char b = '\0') noexcept {
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
USHER_INLINE bool copy_text(const uint8_t*& in, uint8_t*& to,
                                             const Bounds& bounds) noexcept {
  for (;;) {
    if (in > bounds.in_max) [[unlikely]] return false;
    if (to > bounds.out.limit()) [[unlikely]] to = bounds.out.grow(to);
    const size_t length = Block::copy(in, to);
    in += length;
    to += length;
    if (length == Block::bytes) continue;
    if (*in == stop) return true;
    // Copies, so that the pointers themselves can stay in registers.
    const uint8_t* in_special = in;
    uint8_t* to_special = to;
    if (!copy_special<stop>(&in_special, &to_special)) return false;
    in = in_special;
    to = to_special;
  }
}

// How many decimal digits stand there, of the first 16; 16 says that all are.
USHER_INLINE size_t digits_at(const uint8_t* in) noexcept {
  constexpr uint64_t ones = 0x0101010101010101u;
  for (size_t at = 0; at < 16; at += 8) {
    const uint64_t values = word_at(in + at) ^ ones * '0';
    // A carry only spoils bytes behind a true hit.
    const uint64_t others = ((values + ones * (0x80 - 10)) | values) & ones * 0x80;
    if (others != 0) return at + static_cast<size_t>(std::countr_zero(others)) / 8;
  }
  return 16;
}

constexpr size_t decimal_digits(uint64_t value) noexcept {
  size_t digits = 1;
  for (; value >= 10; value /= 10) digits++;
  return digits;
}

// In canonical form, within the bounds: with fewer digits than the greatest, a number that doesn't begin with 0 is.
template <uint64_t min, uint64_t max>
USHER_INLINE bool copy_integer(const uint8_t*& in, uint8_t*& to) noexcept {
  static_assert(min <= 1 && decimal_digits(max) <= 16);
  const size_t length = digits_at(in);
  if (length == 0 || length > decimal_digits(max) || (*in == '0' && (length > 1 || min > 0))) return false;
  if (length == decimal_digits(max)) [[unlikely]] {
    // Past 16 digits it isn't known whether there are more: what comes next must be a tag, and is looked at.
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) value = value * 10 + (in[i] - uint64_t{'0'});
    if (value > max) return false;
  }
  std::memcpy(to, in, 16);
  in += length;
  to += length;
  return true;
}

// The functions below answer: 1 taken, 0 not there, -1 not canonical.

template <Literal name>
USHER_INLINE int text_element(const uint8_t*& in, uint8_t*& to,
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
USHER_INLINE int integer_element(const uint8_t*& in, uint8_t*& to) noexcept {
  constexpr auto open = Literal("<") + name + Literal(">");
  constexpr auto close = Literal("</") + name + Literal(">");
  constexpr auto key = Literal(",\"") + name + Literal("\":");
  if (!take<open>(in)) return 0;
  put<key>(to);
  return copy_integer<min, max>(in, to) && take<close>(in) ? 1 : -1;
}

template <Literal name, bool default_value>
USHER_INLINE int boolean_element(const uint8_t*& in, uint8_t*& to) noexcept {
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
USHER_INLINE int pairs_element(const uint8_t*& in, uint8_t*& to,
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
      const size_t length = Block::copy(in, to);
      in += length;
      to += length;
      if (length < Block::bytes) break;
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

USHER_INLINE int arguments_element(const uint8_t*& in, uint8_t*& to,
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

USHER_INLINE int resources_element(const uint8_t*& in, uint8_t*& to) noexcept {
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

USHER_INLINE int attributes_element(const uint8_t*& in, uint8_t*& to,
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
    if (!copy_integer<1, int_max>(in, to) || !take<"</duration>">(in)) return -1;
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

// The id's own text, checked; 0: it isn't one.
USHER_INLINE size_t id_length(const uint8_t* in, CanonicalRun& run) noexcept {
  constexpr size_t producer_length = sizeof run.producer;
  size_t digits = digits_at(in + producer_length);
  if (digits < 16 && word_at(in) == word_at(run.producer) && word_at(in + 8) == word_at(run.producer + 8) &&
      in[16] == run.producer[16]) [[likely]] {
    return digits > 0 && (digits == 1 || in[producer_length] != '0') ? producer_length + digits : 0;
  }
  while (digits >= 16 && digits < 21 && static_cast<uint8_t>(in[producer_length + digits] - '0') < 10) digits++;
  const size_t length = producer_length + digits;
  if (!is_job_id({reinterpret_cast<const char*>(in), length})) return 0;
  std::memcpy(run.producer, in, producer_length);
  return length;
}

USHER_INLINE bool is_good_time(const uint8_t* in, CanonicalRun& run) noexcept {
  const uint64_t different = (word_at(in) ^ word_at(run.time)) | (word_at(in + 8) ^ word_at(run.time + 8)) |
                             (word_at(in + 16) ^ word_at(run.time + 16));
  if (different == 0) [[likely]] return true;
  if (!is_timestamp({reinterpret_cast<const char*>(in), sizeof run.time})) return false;
  std::memcpy(run.time, in, sizeof run.time);
  return true;
}

// Four bits each become a digit, the uppermost first.
USHER_INLINE void put_hex8(uint32_t value, uint8_t* to) noexcept {
  constexpr uint64_t ones = 0x0101010101010101u;
  uint64_t nibbles = __builtin_bswap32(value);
  nibbles = (nibbles | nibbles << 16) & 0x0000ffff0000ffffu;
  nibbles = (nibbles | nibbles << 8) & 0x00ff00ff00ff00ffu;
  nibbles = (nibbles >> 4 | nibbles << 8) & 0x0f0f0f0f0f0f0f0fu;
  const uint64_t letters = (nibbles + ones * 6) >> 4 & ones;
  const uint64_t digits = nibbles + ones * '0' + letters * ('a' - '0' - 10);
  std::memcpy(to, &digits, 8);
}

USHER_INLINE void put_hex16(uint64_t value, uint8_t* to) noexcept {
  put_hex8(static_cast<uint32_t>(value >> 32), to);
  put_hex8(static_cast<uint32_t>(value), to + 8);
}

USHER_INLINE void put_decimal(uint64_t value, uint8_t*& to) noexcept {
  uint8_t digits[20];
  size_t length = 0;
  do {
    digits[sizeof digits - ++length] = static_cast<uint8_t>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  std::memcpy(to, digits + sizeof digits - length, length);
  to += length;
}

constexpr size_t digest_digits = 16;
constexpr size_t timestamp_length = 24;
constexpr size_t traceparent_length = 55;

// What is where in the line being written: offsets in the buffer, which may move.
struct Line {
  size_t digest_at = 0;
  size_t cluster_at = 0;
};

// Attributes and elements, up to the end of the spec.
USHER_INLINE bool read_job(const uint8_t*& in, uint8_t*& to, CanonicalRun& run, Line& line,
                           const Bounds& bounds) noexcept {
  if (!take<"<job id=\"">(in)) return false;
  const size_t length = id_length(in, run);
  if (length == 0) return false;
  put<"{\"id\":\"">(to);
  static_assert(sizeof run.producer + 20 <= 40);
  std::memcpy(to, in, 40);
  to += length;
  in += length;
  put<"\",\"digest\":\"">(to);
  line.digest_at = static_cast<size_t>(to - bounds.out.data());
  to += digest_digits;
  put<"\",\"accepted\":\"">(to);
  if (!take<"\" at=\"">(in) || !is_good_time(in, run)) return false;
  std::memcpy(to, in, timestamp_length);
  in += timestamp_length;
  to += timestamp_length;
  if (!take<"\" cluster=\"">(in)) return false;
  put<"\",">(to);
  // The cluster stands before the traceparent in XML and behind it in JSON: it is written, and moved if need
  // be.
  line.cluster_at = static_cast<size_t>(to - bounds.out.data());
  put<"\"cluster\":\"">(to);
  const uint8_t* start = in;
  if (!copy_text<'"'>(in, to, bounds) || in == start) return false;
  *to++ = '"';
  in++;
  if (take<" traceparent=\"">(in)) {
    if (!is_traceparent({reinterpret_cast<const char*>(in), traceparent_length})) return false;
    constexpr size_t member = Literal("\"traceparent\":\"\",").length + traceparent_length;
    uint8_t* cluster = bounds.out.data() + line.cluster_at;
    const auto cluster_length = static_cast<size_t>(to - cluster);
    if (cluster_length > 1024) return false;
    // Behind the traceparent nothing may be overwritten: the comma and its quote are put as they are.
    std::memmove(cluster + member, cluster, cluster_length);
    put<"\"traceparent\":\"">(cluster);
    std::memcpy(cluster, in, traceparent_length);
    std::memcpy(cluster + traceparent_length, "\",", 2);
    in += traceparent_length;
    to += member;
    line.cluster_at += member;
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

USHER_TARGET const uint8_t* read_jobs(const uint8_t* in, const uint8_t* end, CanonicalRun& run,
                                      JsonBuffer& out) noexcept {
  static_assert(canonical_margin + canonical_provenance_max < JsonBuffer::slack);
  if (static_cast<size_t>(end - in) <= canonical_margin) return in;
  const Bounds bounds{end - canonical_margin, out};
  while (in < bounds.in_max) {
    const uint8_t* at = *in == '\n' ? in + 1 : in;
    uint8_t* to = out.at();
    if (to > out.limit()) to = out.grow(to);
    Line line;
    if (!read_job(at, to, run, line, bounds)) break;
    const uint8_t* cluster = out.data() + line.cluster_at;
    put_hex16(xxh64({cluster, static_cast<size_t>(to - cluster)}), out.data() + line.digest_at);
    std::memcpy(to, run.provenance.data(), run.provenance.size());
    to += run.provenance.size();
    put_decimal(run.jobs, to);
    put<"}}\n">(to);
    out.commit(to);
    run.jobs++;
    in = at;
  }
  return in;
}

#undef USHER_INLINE

}  // namespace
}  // namespace usher
