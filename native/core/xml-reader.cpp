#include "xml-reader.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace usher {
namespace {

constexpr std::string_view xml_uri = "http://www.w3.org/XML/1998/namespace";
constexpr std::string_view xmlns_uri = "http://www.w3.org/2000/xmlns/";

constexpr bool is_space(uint8_t byte) noexcept { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

enum : uint8_t { name_start = 1, name_part = 2 };

constexpr std::array<uint8_t, 128> ascii_names = [] {
  std::array<uint8_t, 128> table{};
  for (size_t c = 'a'; c <= 'z'; c++) table[c] = table[c - 32] = name_start | name_part;
  table['_'] = name_start | name_part;
  for (size_t c = '0'; c <= '9'; c++) table[c] = name_part;
  table['-'] = table['.'] = name_part;
  return table;
}();

struct Range {
  uint32_t first, last;
};

// NameStartChar beyond ASCII, and what NameChar adds to it (productions 4 and 4a).
constexpr Range start_ranges[] = {
    {0xc0, 0xd6},     {0xd8, 0xf6},     {0xf8, 0x2ff},    {0x370, 0x37d},   {0x37f, 0x1fff},  {0x200c, 0x200d},
    {0x2070, 0x218f}, {0x2c00, 0x2fef}, {0x3001, 0xd7ff}, {0xf900, 0xfdcf}, {0xfdf0, 0xfffd}, {0x10000, 0xeffff},
};
constexpr Range part_ranges[] = {{0xb7, 0xb7}, {0x300, 0x36f}, {0x203f, 0x2040}};

template <size_t n>
constexpr bool in(uint32_t c, const Range (&ranges)[n]) noexcept {
  return std::any_of(ranges, ranges + n, [c](Range range) { return c >= range.first && c <= range.last; });
}

struct Character {
  uint32_t code;
  size_t length;
};

// Of valid UTF-8, which everything below end_ is.
Character character_at(const uint8_t* at) noexcept {
  const auto tail = [at](size_t i) { return static_cast<uint32_t>(at[i] & 0x3f); };
  if (at[0] < 0x80) return {at[0], 1};
  if (at[0] < 0xe0) return {(at[0] & 0x1fu) << 6 | tail(1), 2};
  if (at[0] < 0xf0) return {(at[0] & 0x0fu) << 12 | tail(1) << 6 | tail(2), 3};
  return {(at[0] & 0x07u) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

bool is_name_character(Character c, bool start) noexcept {
  if (c.code < 0x80) return (ascii_names[c.code] & (start ? name_start : name_part)) != 0;
  return in(c.code, start_ranges) || (!start && in(c.code, part_ranges));
}

// Production 2, Char.
constexpr bool is_xml_character(uint32_t c) noexcept {
  return c == 0x9 || c == 0xa || c == 0xd || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd) ||
         (c >= 0x10000 && c <= 0x10ffff);
}

void append_utf8(std::string& to, uint32_t c) {
  const auto put = [&to](uint32_t byte) { to += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  }
}

std::string_view view(const uint8_t* from, const uint8_t* to) noexcept {
  return {reinterpret_cast<const char*>(from), static_cast<size_t>(to - from)};
}

bool equal_in_ascii(std::string_view text, std::string_view lower) noexcept {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

const uint8_t* find_byte(const uint8_t* from, const uint8_t* to, uint8_t byte) noexcept {
  if (from == to) return to;
  const void* found = std::memchr(from, byte, static_cast<size_t>(to - from));
  return found == nullptr ? to : static_cast<const uint8_t*>(found);
}

// §2.11: CR LF and a lone CR become LF.
void append_normalised(std::string& to, const uint8_t* from, const uint8_t* end) {
  while (from < end) {
    const uint8_t* cr = find_byte(from, end, '\r');
    to.append(view(from, cr));
    if (cr == end) return;
    to += '\n';
    from = cr + 1;
    if (from < end && *from == '\n') from++;
  }
}

}  // namespace

XmlReader::XmlReader(std::span<const uint8_t> document) noexcept
    : document_(document),
      at_(document.data()),
      end_(document.data()),
      token_(document.data()),
      characters_(check_text(document)) {
  end_ += characters_.offset;
  bindings_.push_back({"xml", std::string(xml_uri)});
}

XmlToken XmlReader::next() noexcept {
  if (failure_) return XmlToken::failure;
  if (!begun_) {
    begun_ = true;
    if (!read_prolog()) return XmlToken::failure;
  }
  if (pending_end_) {
    pending_end_ = false;
    close_element();
    return XmlToken::end_element;
  }
  for (;;) {
    token_ = at_;
    if (at_ == end_) {
      if (!open_.empty()) {
        fail_at_end("the element " + quoted(open_.back().name));
        return XmlToken::failure;
      }
      if (characters_.status != TextStatus::ok) {
        fail_at_end("its root element");
        return XmlToken::failure;
      }
      if (!root_seen_) {
        fail(at_, "the document has no root element");
        return XmlToken::failure;
      }
      return XmlToken::end;
    }
    if (*at_ != '<') {
      if (!open_.empty()) return read_text() ? XmlToken::text : XmlToken::failure;
      skip_space();
      if (at_ == end_ || *at_ == '<') continue;
      fail(at_, root_seen_ ? "text follows the root element" : "text stands before the root element");
      return XmlToken::failure;
    }
    if (left() < 2) {
      fail_at_end("a tag");
      return XmlToken::failure;
    }
    switch (at_[1]) {
      case '/': return read_end_tag() ? XmlToken::end_element : XmlToken::failure;
      case '?': return read_instruction() ? XmlToken::instruction : XmlToken::failure;
      case '!':
        if (starts_with("<!--")) {
          if (!read_comment()) return XmlToken::failure;
          continue;
        }
        if (starts_with("<![CDATA[")) return read_cdata() ? XmlToken::text : XmlToken::failure;
        if (starts_with("<!DOCTYPE")) {
          fail(at_, "document type declarations (<!DOCTYPE) aren't taken", SegmentError::xml_forbidden);
        } else if (std::string_view("<!DOCTYPE").starts_with(view(at_, end_)) ||
                   std::string_view("<![CDATA[").starts_with(view(at_, end_)) ||
                   std::string_view("<!--").starts_with(view(at_, end_))) {
          fail_at_end("what '<!' begins");
        } else {
          fail(at_, "'<!' begins neither a comment nor a CDATA section");
        }
        return XmlToken::failure;
      default: return read_start_tag() ? XmlToken::start_element : XmlToken::failure;
    }
  }
}

size_t XmlReader::text_offset() const noexcept {
  return offset_of(std::find_if_not(token_, at_, is_space));
}

bool XmlReader::starts_with(std::string_view text) const noexcept { return view(at_, end_).starts_with(text); }

bool XmlReader::skip_space() noexcept {
  const uint8_t* start = at_;
  while (at_ < end_ && is_space(*at_)) at_++;
  return at_ != start;
}

bool XmlReader::fail(const uint8_t* at, std::string reason, SegmentError code) noexcept {
  if (failure_) return false;
  const size_t offset = offset_of(at);
  failure_ = {code, std::move(reason), locate(document_, offset), offset};
  return false;
}

bool XmlReader::fail_at_end(const std::string& inside) noexcept {
  switch (characters_.status) {
    case TextStatus::ok: break;
    case TextStatus::not_utf8: return fail(end_, "these bytes aren't UTF-8");
    case TextStatus::not_xml: return fail(end_, "XML can't carry this character");
  }
  return fail(end_, "the document ends inside " + inside);
}

// The byte order mark and the XML declaration, where they are there.
bool XmlReader::read_prolog() noexcept {
  const auto forbidden = [this](const char* what) {
    return fail(document_.data(), std::string("the document is in ") + what + "; only UTF-8 is taken",
                SegmentError::xml_forbidden);
  };
  if (document_.size() >= 2) {
    const unsigned first = document_[0];
    const unsigned second = document_[1];
    if ((first == 0xff && second == 0xfe) || (first == '<' && second == 0)) return forbidden("UTF-16 or UTF-32");
    if ((first == 0xfe && second == 0xff) || (first == 0 && second == '<')) return forbidden("UTF-16");
    if (first == 0 && second == 0) return forbidden("UTF-32");
  }
  if (starts_with("\xef\xbb\xbf")) at_ += 3;
  if (starts_with("<?xml") && left() > 5 && is_space(at_[5]) && !read_declaration()) return false;
  if (!ascii_declared_) return true;
  const auto* odd = std::find_if(at_, end_, [](uint8_t byte) { return byte >= 0x80; });
  if (odd == end_) return true;
  return fail(odd, "this character isn't of US-ASCII, which the document says it is in");
}

bool XmlReader::read_declaration() noexcept {
  at_ += 5;
  bool spaced = skip_space();
  const auto next_is = [this](std::string_view name) { return starts_with(name); };
  std::string_view value;
  if (!next_is("version")) return fail(at_, "the XML declaration doesn't begin with its version");
  const uint8_t* value_at = at_;
  if (!read_pseudo_attribute("version", value)) return false;
  if (value != "1.0") {
    return fail(value_at, "XML version " + quoted(value) + " isn't taken, only 1.0",
                value.starts_with("1.") ? SegmentError::xml_forbidden : SegmentError::xml_malformed);
  }
  spaced = skip_space();
  if (next_is("encoding")) {
    if (!spaced) return fail(at_, "white space is missing before 'encoding'");
    value_at = at_;
    if (!read_pseudo_attribute("encoding", value)) return false;
    if (equal_in_ascii(value, "us-ascii")) {
      ascii_declared_ = true;
    } else if (!equal_in_ascii(value, "utf-8")) {
      return fail(value_at, "the encoding " + quoted(value) + " isn't taken, only UTF-8", SegmentError::xml_forbidden);
    }
    spaced = skip_space();
  }
  if (next_is("standalone")) {
    if (!spaced) return fail(at_, "white space is missing before 'standalone'");
    value_at = at_;
    if (!read_pseudo_attribute("standalone", value)) return false;
    if (value != "yes" && value != "no") return fail(value_at, "'standalone' is neither 'yes' nor 'no'");
    skip_space();
  }
  if (!starts_with("?>")) {
    if (left() < 2) return fail_at_end("the XML declaration");
    return fail(at_, "the XML declaration doesn't end here with '?>'");
  }
  at_ += 2;
  return true;
}

bool XmlReader::read_pseudo_attribute(std::string_view name, std::string_view& value) noexcept {
  at_ += name.size();
  skip_space();
  if (at_ == end_) return fail_at_end("the XML declaration");
  if (*at_ != '=') return fail(at_, "'=' is missing after " + quoted(name));
  at_++;
  skip_space();
  if (at_ == end_) return fail_at_end("the XML declaration");
  const uint8_t quote = *at_;
  if (quote != '"' && quote != '\'') return fail(at_, "the value of " + quoted(name) + " isn't in quotes");
  const uint8_t* start = ++at_;
  at_ = find_byte(start, end_, quote);
  if (at_ == end_) return fail_at_end("the XML declaration");
  value = view(start, at_);
  at_++;
  return true;
}

bool XmlReader::read_ncname(std::string_view& name, const char* what) noexcept {
  const uint8_t* start = at_;
  while (at_ < end_) {
    const Character c = character_at(at_);
    if (!is_name_character(c, at_ == start)) break;
    at_ += c.length;
  }
  if (at_ == start) {
    if (at_ == end_) return fail_at_end(what);
    const Character c = character_at(at_);
    return fail(at_, "a name (of " + std::string(what) + ") can't begin with " + quoted(view(at_, at_ + c.length)));
  }
  name = view(start, at_);
  return true;
}

bool XmlReader::read_qname(std::string_view& name, std::string_view& prefix, std::string_view& local,
                           const char* what) noexcept {
  const uint8_t* start = at_;
  prefix = {};
  if (!read_ncname(local, what)) return false;
  if (at_ < end_ && *at_ == ':') {
    at_++;
    prefix = local;
    if (!read_ncname(local, what)) return false;
    if (at_ < end_ && *at_ == ':') return fail(at_, "a name holds a second colon");
  }
  name = view(start, at_);
  return true;
}

// At '&': the character of a reference, appended.
bool XmlReader::read_reference(std::string& to) noexcept {
  const uint8_t* start = at_++;
  if (at_ == end_) return fail_at_end("a reference");
  if (*at_ != '#') {
    std::string_view entity;
    if (!is_name_character(character_at(at_), true) && *at_ != ':') {
      return fail(start, "'&' begins no reference; the character itself is written '&amp;'");
    }
    if (!read_ncname(entity, "an entity")) return false;
    if (at_ == end_) return fail_at_end("a reference");
    if (*at_ != ';') return fail(start, "the reference '&" + std::string(entity) + "' doesn't end with ';'");
    at_++;
    if (entity == "amp") to += '&';
    else if (entity == "lt") to += '<';
    else if (entity == "gt") to += '>';
    else if (entity == "quot") to += '"';
    else if (entity == "apos") to += '\'';
    else {
      return fail(start, "the entity " + quoted(entity) + " isn't one of amp, lt, gt, quot and apos",
                  SegmentError::xml_forbidden);
    }
    return true;
  }
  at_++;
  const uint32_t base = at_ < end_ && *at_ == 'x' ? 16 : 10;
  if (base == 16) at_++;
  const uint8_t* digits = at_;
  uint32_t code = 0;
  for (; at_ < end_; at_++) {
    const uint32_t byte = *at_;
    uint32_t digit;
    if (byte >= '0' && byte <= '9') digit = byte - '0';
    else if (base == 16 && byte >= 'a' && byte <= 'f') digit = byte - 'a' + 10;
    else if (base == 16 && byte >= 'A' && byte <= 'F') digit = byte - 'A' + 10;
    else break;
    // Stays above every character once it is, whatever digits follow.
    code = std::min<uint32_t>(code * base + digit, 0x110000);
  }
  if (at_ == end_) return fail_at_end("a character reference");
  if (at_ == digits || *at_ != ';') return fail(start, "a character reference isn't of the form '&#10;' or '&#xA;'");
  if (!is_xml_character(code)) {
    return fail(start, "the character reference " + quoted(view(start, at_ + 1)) + " names no character of XML");
  }
  at_++;
  append_utf8(to, code);
  return true;
}

bool XmlReader::read_start_tag() noexcept {
  const uint8_t* start = at_++;
  if (open_.empty() && root_seen_) return fail(start, "a second root element begins here");
  if (open_.size() == depth_max) {
    return fail(start, "elements are nested deeper than " + std::to_string(depth_max), SegmentError::xml_forbidden);
  }
  if (!read_qname(name_, prefix_, local_, "a tag")) return false;
  attributes_.clear();
  values_.clear();
  scratch_.clear();
  bool empty = false;
  for (;;) {
    const bool spaced = skip_space();
    if (at_ == end_) return fail_at_end("the tag of " + quoted(name_));
    if (*at_ == '>') {
      at_++;
      break;
    }
    if (*at_ == '/') {
      if (left() < 2) return fail_at_end("the tag of " + quoted(name_));
      if (at_[1] != '>') return fail(at_, "'/' in the tag of " + quoted(name_) + " isn't followed by '>'");
      at_ += 2;
      empty = true;
      break;
    }
    if (!spaced) {
      return fail(at_, attributes_.empty() ? "the name in the tag " + quoted(name_) + " goes on with a character it can't hold"
                                           : std::string("white space is missing between attributes"));
    }
    if (attributes_.size() == attributes_max) {
      return fail(at_, "an element has more than " + std::to_string(attributes_max) + " attributes",
                  SegmentError::xml_forbidden);
    }
    if (!read_attribute()) return false;
  }
  // Only now do views into the scratch stay.
  const auto* text = reinterpret_cast<const char*>(document_.data());
  for (size_t i = 0; i < attributes_.size(); i++) {
    const RawValue raw = values_[i];
    attributes_[i].value = std::string_view((raw.in_scratch ? scratch_.data() : text) + raw.start, raw.length);
  }
  open_.push_back({name_, bindings_.size(), offset_of(start)});
  if (!declare_namespaces() || !resolve(prefix_, start, uri_) || !resolve_attributes()) return false;
  root_seen_ = true;
  pending_end_ = empty;
  return true;
}

bool XmlReader::read_attribute() noexcept {
  const uint8_t* start = at_;
  XmlAttribute attribute{};
  std::string_view prefix;
  if (!read_qname(attribute.name, prefix, attribute.local, "an attribute")) return false;
  // Until namespaces are resolved the field holds the prefix.
  attribute.uri = prefix;
  attribute.offset = offset_of(start);
  for (const XmlAttribute& other : attributes_) {
    if (other.name == attribute.name) return fail(start, "the attribute " + quoted(attribute.name) + " is given twice");
  }
  skip_space();
  if (at_ == end_) return fail_at_end("the attribute " + quoted(attribute.name));
  if (*at_ != '=') return fail(at_, "'=' is missing after the attribute " + quoted(attribute.name));
  at_++;
  skip_space();
  if (at_ == end_) return fail_at_end("the attribute " + quoted(attribute.name));
  if (*at_ != '"' && *at_ != '\'') {
    return fail(at_, "the value of the attribute " + quoted(attribute.name) + " isn't in quotes");
  }
  RawValue value{};
  if (!read_attribute_value(value)) return false;
  attributes_.push_back(attribute);
  values_.push_back(value);
  return true;
}

bool XmlReader::read_attribute_value(RawValue& value) noexcept {
  const uint8_t quote = *at_++;
  const uint8_t* run = at_;
  value = {offset_of(run), 0, false};
  const auto to_scratch = [&] {
    if (!value.in_scratch) {
      value.in_scratch = true;
      value.start = scratch_.size();
    }
    scratch_.append(view(run, at_));
  };
  for (;;) {
    if (at_ == end_) return fail_at_end("the value of an attribute");
    const uint8_t byte = *at_;
    if (byte == quote) break;
    if (byte == '<') return fail(at_, "'<' stands in the value of an attribute; it is written '&lt;'");
    if (byte == '&') {
      to_scratch();
      if (!read_reference(scratch_)) return false;
      run = at_;
    } else if (byte == '\t' || byte == '\n' || byte == '\r') {
      to_scratch();
      // §2.11 before §3.3.3: CR LF is one line end and thus one space.
      if (byte == '\r' && left() > 1 && at_[1] == '\n') at_++;
      scratch_ += ' ';
      run = ++at_;
    } else {
      at_++;
    }
  }
  if (value.in_scratch) {
    to_scratch();
    value.length = scratch_.size() - value.start;
  } else {
    value.length = static_cast<size_t>(at_ - run);
  }
  at_++;
  return true;
}

bool XmlReader::declare_namespaces() noexcept {
  for (const XmlAttribute& attribute : attributes_) {
    const bool is_default = attribute.name == "xmlns";
    if (!is_default && attribute.uri != "xmlns") continue;
    const uint8_t* at = document_.data() + attribute.offset;
    const std::string_view prefix = is_default ? std::string_view() : attribute.local;
    if (prefix == "xmlns") return fail(at, "the prefix 'xmlns' can't be declared");
    if ((prefix == "xml") != (attribute.value == xml_uri)) {
      return fail(at, "the prefix 'xml' and its namespace belong to each other alone");
    }
    if (attribute.value == xmlns_uri) return fail(at, "the namespace of 'xmlns' can't be declared");
    if (!is_default && attribute.value.empty()) {
      return fail(at, "the prefix " + quoted(prefix) + " is declared without a namespace");
    }
    bindings_.push_back({prefix, std::string(attribute.value)});
  }
  return true;
}

bool XmlReader::resolve(std::string_view prefix, const uint8_t* at, std::string_view& uri) noexcept {
  for (auto binding = bindings_.rbegin(); binding != bindings_.rend(); ++binding) {
    if (binding->prefix != prefix) continue;
    uri = binding->uri;
    return true;
  }
  uri = {};
  return prefix.empty() || fail(at, "the prefix " + quoted(prefix) + " isn't declared");
}

bool XmlReader::resolve_attributes() noexcept {
  bool prefixed = false;
  for (XmlAttribute& attribute : attributes_) {
    const std::string_view prefix = attribute.uri;
    if (attribute.name == "xmlns" || prefix == "xmlns") {
      attribute.uri = xmlns_uri;
    } else if (!prefix.empty()) {
      prefixed = true;
      if (!resolve(prefix, document_.data() + attribute.offset, attribute.uri)) return false;
    }
  }
  if (!prefixed) return true;
  for (size_t i = 0; i < attributes_.size(); i++) {
    for (size_t j = 0; j < i && !attributes_[i].uri.empty(); j++) {
      if (attributes_[i].uri == attributes_[j].uri && attributes_[i].local == attributes_[j].local) {
        return fail(document_.data() + attributes_[i].offset,
                    "the attribute " + quoted(attributes_[i].name) + " is given twice, under two prefixes");
      }
    }
  }
  return true;
}

bool XmlReader::read_end_tag() noexcept {
  const uint8_t* start = at_;
  at_ += 2;
  std::string_view name, prefix, local;
  if (!read_qname(name, prefix, local, "a closing tag")) return false;
  if (open_.empty()) return fail(start, "the closing tag of " + quoted(name) + " closes nothing");
  const Open& open = open_.back();
  if (open.name != name) {
    const Place place = locate(document_, open.offset);
    return fail(start, "the closing tag of " + quoted(name) + " stands where that of " + quoted(open.name) +
                           " is due, which began on line " + std::to_string(place.line));
  }
  skip_space();
  if (at_ == end_) return fail_at_end("the closing tag of " + quoted(name));
  if (*at_ != '>') return fail(at_, "the closing tag of " + quoted(name) + " doesn't end here with '>'");
  at_++;
  close_element();
  return true;
}

void XmlReader::close_element() noexcept {
  while (bindings_.size() > open_.back().bindings) bindings_.pop_back();
  open_.pop_back();
}

bool XmlReader::read_text() noexcept {
  const uint8_t* run = at_;
  bool in_scratch = false;
  const auto to_scratch = [&] {
    if (!in_scratch) scratch_.clear();
    in_scratch = true;
    scratch_.append(view(run, at_));
  };
  for (; at_ < end_ && *at_ != '<';) {
    const uint8_t byte = *at_;
    if (byte == '&') {
      to_scratch();
      if (!read_reference(scratch_)) return false;
      run = at_;
    } else if (byte == '\r') {
      to_scratch();
      at_ += left() > 1 && at_[1] == '\n' ? 2 : 1;
      scratch_ += '\n';
      run = at_;
    } else if (byte == ']' && starts_with("]]>")) {
      return fail(at_, "']]>' stands in text; its last character is written '&gt;'");
    } else {
      at_++;
    }
  }
  // At the end of the document the next token fails: an element is open.
  if (in_scratch) to_scratch();
  text_ = in_scratch ? std::string_view(scratch_) : view(run, at_);
  return true;
}

bool XmlReader::read_cdata() noexcept {
  if (open_.empty()) return fail(at_, "a CDATA section stands outside of the root element");
  const uint8_t* start = at_ + 9;
  const std::string_view rest = view(start, end_);
  const size_t length = rest.find("]]>");
  if (length == std::string_view::npos) return fail_at_end("a CDATA section");
  at_ = start + length + 3;
  if (find_byte(start, start + length, '\r') == start + length) {
    text_ = rest.substr(0, length);
  } else {
    scratch_.clear();
    append_normalised(scratch_, start, start + length);
    text_ = scratch_;
  }
  return true;
}

bool XmlReader::read_comment() noexcept {
  const uint8_t* start = at_ + 4;
  const size_t length = view(start, end_).find("--");
  if (length == std::string_view::npos) return fail_at_end("a comment");
  at_ = start + length + 2;
  if (at_ == end_) return fail_at_end("a comment");
  if (*at_ != '>') return fail(at_ - 2, "'--' stands in a comment");
  at_++;
  return true;
}

bool XmlReader::read_instruction() noexcept {
  const uint8_t* start = at_;
  at_ += 2;
  if (!read_ncname(target_, "a processing instruction")) return false;
  if (equal_in_ascii(target_, "xml")) {
    return fail(start, target_ == "xml" ? "an XML declaration stands only at the very beginning of a document"
                                        : "no processing instruction may be named 'xml'");
  }
  if (at_ == end_) return fail_at_end("a processing instruction");
  if (*at_ == ':') return fail(at_, "the name of a processing instruction holds a colon");
  if (!is_space(*at_) && !starts_with("?>")) {
    if (left() < 2) return fail_at_end("a processing instruction");
    return fail(at_, "the name of a processing instruction isn't followed by white space or '?>'");
  }
  const size_t length = view(at_, end_).find("?>");
  if (length == std::string_view::npos) return fail_at_end("a processing instruction");
  at_ += length + 2;
  return true;
}

}  // namespace usher
