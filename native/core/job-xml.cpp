// The writer walks the fields once. Each is checked while it is written; what stands between the fields (the
// rest of the start tag, containers) is written when a tag shows that it is due. A table says for each tag
// what its value is and which element it becomes; markup is copied in blocks of fixed size, since that is one
// or two moves.
#include "job-xml.h"

#include <array>
#include <bit>
#include <cstring>

#include "job-elements.h"
#include "text.h"

namespace usher {
namespace {

using namespace job_elements;

constexpr size_t at_bytes = 24;
constexpr size_t traceparent_bytes = 55;
constexpr size_t decimal_bytes_max = 20;

// Everything that stands in a job once at most, without its text: the part of the bound that doesn't grow.
constexpr size_t fixed_bytes() noexcept {
  size_t bytes = job_open.length + 16 + 1 + decimal_bytes_max + at_open.length + at_bytes +
                 cluster_open.length + traceparent_open.length + traceparent_bytes + start_tag_end.length +
                 job_close.length;
  for (const Element& element : elements) {
    if (element.kind == Kind::argument || element.kind == Kind::pair) continue;
    bytes += size_t{element.open.length} + element.close.length;
    if (element.kind == Kind::boolean) bytes += 5;
    if (element.kind == Kind::integer) bytes += 16;
  }
  for (const ContainerMarkup& container : containers) {
    bytes += size_t{container.open.length} + container.close.length;
  }
  // What blocks and vectors may overwrite behind the end.
  return bytes + container_block + text_slack_bytes;
}

constexpr uint8_t hex_digits[] = "0123456789abcdef";

uint8_t* put_hex64(uint8_t* out, uint64_t value) noexcept {
  for (int shift = 60; shift >= 0; shift -= 4) *out++ = hex_digits[(value >> shift) & 15];
  return out;
}

constexpr std::array<char, 200> make_digit_pairs() noexcept {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < 100; i++) {
    pairs[2 * i] = static_cast<char>('0' + i / 10);
    pairs[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}

constexpr auto digit_pairs = make_digit_pairs();

constexpr std::array<uint64_t, decimal_bytes_max> make_powers_of_ten() noexcept {
  std::array<uint64_t, decimal_bytes_max> powers{1};
  for (size_t i = 1; i < powers.size(); i++) powers[i] = powers[i - 1] * 10;
  return powers;
}

constexpr auto powers_of_ten = make_powers_of_ten();

// 1233 / 4096 is the logarithm of two, near enough for 64 bits to be at most one too small.
constexpr size_t decimal_length(uint64_t value) noexcept {
  const size_t guess = static_cast<size_t>(std::bit_width(value | 1)) * 1233 >> 12;
  return guess + (guess < decimal_bytes_max && (value | 1) >= powers_of_ten[guess] ? 1 : 0);
}

static_assert(decimal_length(0) == 1 && decimal_length(9) == 1 && decimal_length(10) == 2);
static_assert(decimal_length(99) == 2 && decimal_length(100) == 3 && decimal_length(UINT64_MAX) == 20);
static_assert([] {
  for (size_t digits = 1; digits < decimal_bytes_max; digits++) {
    if (decimal_length(powers_of_ten[digits] - 1) != digits) return false;
    if (decimal_length(powers_of_ten[digits]) != digits + 1) return false;
  }
  return true;
}());

// Straight to its place, from the end: digits that are put somewhere else first must be waited for.
uint8_t* put_decimal(uint8_t* out, uint64_t value) noexcept {
  uint8_t* const end = out + decimal_length(value);
  uint8_t* from = end;
  while (value >= 100) {
    from -= 2;
    std::memcpy(from, &digit_pairs[value % 100 * 2], 2);
    value /= 100;
  }
  if (value >= 10) {
    std::memcpy(from - 2, &digit_pairs[value * 2], 2);
  } else {
    from[-1] = static_cast<uint8_t>('0' + value);
  }
  return end;
}

Code code_of(TextStatus status) noexcept {
  return status == TextStatus::not_utf8 ? Code::text_not_utf8 : Code::text_not_xml;
}

// W3C Trace Context, level 1: version (not ff) - trace id (not zero) - parent id (not zero) - flags, in
// lower-case hexadecimal. Later versions may be longer there; on our wire they have the 55 characters of
// version 00.
bool valid_traceparent(std::span<const uint8_t> text) noexcept {
  if (text.size() != traceparent_bytes) return false;
  uint8_t trace = 0;
  uint8_t parent = 0;
  for (size_t i = 0; i < traceparent_bytes; i++) {
    const uint8_t c = text[i];
    if (i == 2 || i == 35 || i == 52) {
      if (c != '-') return false;
      continue;
    }
    if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) return false;
    if (i > 2 && i < 35) trace |= c ^ '0';
    if (i > 35 && i < 52) parent |= c ^ '0';
  }
  return trace != 0 && parent != 0 && !(text[0] == 'f' && text[1] == 'f');
}

class JobWriter {
 public:
  JobWriter(std::span<const uint8_t> fields, const ClusterNames& clusters, uint8_t* out,
            JobRefusal& refusal) noexcept
      : start_(fields.data()),
        end_(fields.data() + fields.size()),
        at_(fields.data()),
        out_(out),
        clusters_(clusters),
        refusal_(refusal) {}

  uint8_t* write(uint64_t producer, uint64_t sequence, std::string_view at) noexcept {
    out_ = job_open.put(out_);
    out_ = put_hex64(out_, producer);
    *out_++ = '-';
    out_ = put_decimal(out_, sequence);
    out_ = at_open.put(out_);
    std::memcpy(out_, at.data(), at_bytes);
    out_ = cluster_open.put(out_ + at_bytes);
    while (at_ < end_) {
      if (!field()) return nullptr;
    }
    if (!pass_header(tags) || !resources_agree()) return nullptr;
    if (container_ != Container::none) out_ = markup_of(container_).close.put(out_);
    return job_close.put(out_);
  }

 private:
  static const ContainerMarkup& markup_of(Container container) noexcept {
    return containers[static_cast<size_t>(container)];
  }

  // All refusals return false, so that they can be returned in turn.
  [[gnu::cold]] bool refuse(Code code, size_t tag, std::string_view detail) noexcept {
    refusal_.code = code;
    refusal_.field = static_cast<Field>(tag);
    const std::string_view cut = cut_text(detail, sizeof refusal_.detail);
    refusal_.detail_length = static_cast<uint8_t>(cut.size());
    if (!cut.empty()) std::memcpy(refusal_.detail, cut.data(), cut.size());
    return false;
  }

  [[gnu::cold]] bool refuse_number(Code code, size_t tag, uint64_t number) noexcept {
    uint8_t digits[decimal_bytes_max];
    const auto length = static_cast<size_t>(put_decimal(digits, number) - digits);
    return refuse(code, tag, {reinterpret_cast<const char*>(digits), length});
  }

  [[gnu::cold]] bool refuse_at(Code code, size_t tag, const uint8_t* where) noexcept {
    return refuse_number(code, tag, static_cast<uint64_t>(where - start_));
  }

  [[gnu::cold]] bool refuse_pair(Code code, std::span<const uint8_t> key) noexcept {
    return refuse(code, tag_, {reinterpret_cast<const char*>(key.data()), key.size()});
  }

  // LEB128 of at most four bytes, in its shortest form, or there would be two encodings of one job. False:
  // not so.
  bool length(const uint8_t*& at, const uint8_t* end, size_t& value) noexcept {
    if (at < end && *at < 0x80) [[likely]] {
      value = *at++;
      return true;
    }
    value = 0;
    for (unsigned shift = 0; shift < 28 && at < end; shift += 7) {
      const uint8_t byte = *at++;
      value |= size_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return byte != 0 || shift == 0;
    }
    return false;
  }

  bool field() noexcept {
    const uint8_t* const tag_at = at_;
    const size_t tag = *at_++;
    if (tag >= tags || elements[tag].kind == Kind::unknown)
      return refuse_at(Code::field_unknown, tag, tag_at);
    const Element& element = elements[tag];
    if (tag <= tag_) {
      const bool repeats = element.kind == Kind::argument || element.kind == Kind::pair;
      if (tag < tag_ || !repeats) return refuse_at(Code::field_order, tag, tag_at);
    } else {
      if (tag_ < static_cast<size_t>(Field::executable) && !pass_header(tag)) return false;
      tag_ = tag;
      arguments_ = 0;
      key_ = {};
    }
    size_t bytes;
    if (!length(at_, end_, bytes) || bytes > static_cast<size_t>(end_ - at_)) {
      return refuse_at(Code::job_malformed, tag, tag_at);
    }
    const std::span<const uint8_t> value(at_, bytes);
    at_ += bytes;
    switch (element.kind) {
      case Kind::text: return text(element, value);
      case Kind::argument: return argument(element, value);
      case Kind::pair: return pair(element, value);
      case Kind::integer: return integer(element, value);
      case Kind::boolean: return boolean(element, value);
      case Kind::cluster: return cluster(value);
      case Kind::traceparent: return traceparent(value);
      case Kind::unknown: break;
    }
    return false;
  }

  // Called when `tag` follows tag_, which is below executable: writes what is due between the two. That
  // something required is missing is noticed here, in the place where it would have stood.
  bool pass_header(size_t tag) noexcept {
    if (tag_ == 0 && tag > static_cast<size_t>(Field::cluster)) {
      if (clusters_.default_index < 0)
        return refuse(Code::cluster_required, static_cast<size_t>(Field::cluster), {});
      const std::string& name = clusters_.names[static_cast<size_t>(clusters_.default_index)];
      const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(name.data()), name.size());
      out_ = write_attribute_text(bytes, bytes.data() + bytes.size(), out_).end;
    }
    if (tag_ < static_cast<size_t>(Field::name) && tag > static_cast<size_t>(Field::traceparent)) {
      out_ = start_tag_end.put(out_);
    }
    if (tag_ < static_cast<size_t>(Field::executable) && tag > static_cast<size_t>(Field::executable)) {
      return refuse(Code::field_missing, static_cast<size_t>(Field::executable), {});
    }
    return true;
  }

  // Closes and opens what stands around the next element.
  void enter(Container container) noexcept {
    if (container == container_) return;
    if (container == Container::custom_attributes) {
      enter(Container::attributes);
    } else if (container_ != Container::none) {
      out_ = markup_of(container_).close.put(out_);
    }
    if (container != Container::none) out_ = markup_of(container).open.put(out_);
    container_ = container;
  }

  bool cluster(std::span<const uint8_t> value) noexcept {
    for (const std::string& name : clusters_.names) {
      if (name.size() != value.size() || value.empty()) continue;
      if (std::memcmp(name.data(), value.data(), value.size()) != 0) continue;
      out_ = write_attribute_text(value, end_, out_).end;
      return true;
    }
    if (value.empty()) return refuse_at(Code::field_invalid, tag_, value.data());
    const TextCheck check = check_text(value);
    if (check.status != TextStatus::ok) {
      return refuse_at(code_of(check.status), tag_, value.data() + check.offset);
    }
    return refuse_at(Code::cluster_unknown, tag_, value.data());
  }

  bool traceparent(std::span<const uint8_t> value) noexcept {
    if (!valid_traceparent(value)) {
      const TextCheck check = check_text(value);
      if (check.status == TextStatus::ok) return refuse_at(Code::field_invalid, tag_, value.data());
      return refuse_at(code_of(check.status), tag_, value.data() + check.offset);
    }
    out_ = traceparent_open.put(out_);
    std::memcpy(out_, value.data(), traceparent_bytes);
    out_ += traceparent_bytes;
    return true;
  }

  bool text(const Element& element, std::span<const uint8_t> value) noexcept {
    if (value.empty()) return refuse_at(Code::field_invalid, tag_, value.data());
    enter(element.container);
    const TextWritten written = write_element_text(value, end_, element.open.put(out_));
    if (written.status != TextStatus::ok) {
      return refuse_at(code_of(written.status), tag_, value.data() + written.offset);
    }
    out_ = element.close.put(written.end);
    return true;
  }

  bool argument(const Element& element, std::span<const uint8_t> value) noexcept {
    enter(element.container);
    const TextWritten written = write_element_text(value, end_, element.open.put(out_));
    if (written.status != TextStatus::ok) return refuse_number(code_of(written.status), tag_, arguments_);
    arguments_++;
    out_ = element.close.put(written.end);
    return true;
  }

  bool pair(const Element& element, std::span<const uint8_t> field) noexcept {
    const uint8_t* at = field.data();
    const uint8_t* const end = at + field.size();
    size_t key_bytes;
    if (!length(at, end, key_bytes) || key_bytes > static_cast<size_t>(end - at)) {
      return refuse_at(Code::job_malformed, tag_, field.data());
    }
    const std::span<const uint8_t> key(at, key_bytes);
    const std::span<const uint8_t> value(at + key_bytes, end);
    if (key.empty()) return refuse_at(Code::field_invalid, tag_, at);
    enter(element.container);
    TextWritten written = write_attribute_text(key, end_, element.open.put(out_));
    if (written.status != TextStatus::ok)
      return refuse_at(code_of(written.status), tag_, at + written.offset);
    if (tag_ == static_cast<size_t>(Field::environment) &&
        std::memchr(key.data(), '=', key.size()) != nullptr) {
      return refuse_pair(Code::field_invalid, key);
    }
    if (!ascends(key)) return refuse_pair(Code::field_order, key);
    key_ = key;
    written = write_element_text(value, end_, start_tag_end.put(written.end));
    if (written.status != TextStatus::ok) return refuse_pair(code_of(written.status), key);
    out_ = element.close.put(written.end);
    return true;
  }

  // Whether the key stands behind the one before it. Keys are never empty, so the first does.
  bool ascends(std::span<const uint8_t> key) const noexcept {
    if (key_.empty()) return true;
    const size_t common = key_.size() < key.size() ? key_.size() : key.size();
    const int order = std::memcmp(key_.data(), key.data(), common);
    return order != 0 ? order < 0 : key_.size() < key.size();
  }

  bool integer(const Element& element, std::span<const uint8_t> value) noexcept {
    uint64_t number = 0;
    if (value.empty() || value.size() > sizeof number)
      return refuse_at(Code::field_invalid, tag_, value.data());
    for (size_t i = 0; i < value.size(); i++) number |= uint64_t{value[i]} << (8 * i);
    const bool shortest = value.size() == 1 || value.back() != 0;
    if (!shortest || number < element.least || number > element.greatest) {
      return refuse_at(Code::field_invalid, tag_, value.data());
    }
    if (tag_ >= static_cast<size_t>(Field::node_count) &&
        tag_ <= static_cast<size_t>(Field::processes_per_node)) {
      counts_[tag_ - static_cast<size_t>(Field::node_count)] = number;
    }
    enter(element.container);
    out_ = put_decimal(element.open.put(out_), number);
    out_ = element.close.put(out_);
    return true;
  }

  // A boolean that says the default says nothing: it isn't written.
  bool boolean(const Element& element, std::span<const uint8_t> value) noexcept {
    if (value.size() != 1 || value[0] > 1) return refuse_at(Code::field_invalid, tag_, value.data());
    if (value[0] == element.least) return true;
    enter(element.container);
    out_ = element.open.put(out_);
    std::memcpy(out_, value[0] != 0 ? "true\0\0\0" : "false\0\0", 8);
    out_ = element.close.put(out_ + (value[0] != 0 ? 4 : 5));
    return true;
  }

  bool resources_agree() noexcept {
    // None may be 0, so 0 says that it isn't there. Each has 31 bits: the product can't overflow.
    if (counts_[0] == 0 || counts_[1] == 0 || counts_[2] == 0) return true;
    if (counts_[1] == counts_[0] * counts_[2]) return true;
    return refuse(Code::resources_contradict, static_cast<size_t>(Field::process_count), {});
  }

  const uint8_t* const start_;
  const uint8_t* const end_;
  const uint8_t* at_;
  uint8_t* out_;
  const ClusterNames& clusters_;
  JobRefusal& refusal_;
  // Of the field before; of this one once it is known to stand where it may.
  size_t tag_ = 0;
  Container container_ = Container::none;
  uint64_t arguments_ = 0;
  std::span<const uint8_t> key_;
  // node_count, process_count, processes_per_node.
  uint64_t counts_[3] = {};
};

}  // namespace

size_t job_xml_bytes_max(size_t job_bytes, const ClusterNames& clusters) noexcept {
  size_t name_bytes = 0;
  for (const std::string& name : clusters.names)
    name_bytes = name.size() > name_bytes ? name.size() : name_bytes;
  // What grows fastest are empty arguments: two bytes become the 21 of `<argument></argument>`.
  return fixed_bytes() + name_bytes * attribute_text_growth + job_bytes * 10 + job_bytes / 2 + 1;
}

uint8_t* write_job_xml(std::span<const uint8_t> fields, uint64_t producer, uint64_t sequence,
                       std::string_view at, const ClusterNames& clusters, uint8_t* out,
                       JobRefusal& refusal) noexcept {
#if defined(USHER_NEEDLESS_PASS)
  // For native/bench/guard alone, which must notice.
  static_cast<void>(JobWriter(fields, clusters, out, refusal).write(producer, sequence, at));
#endif
  return JobWriter(fields, clusters, out, refusal).write(producer, sequence, at);
}

}  // namespace usher
