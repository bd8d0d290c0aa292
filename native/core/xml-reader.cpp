// What stands between tags, and before and behind the root. Names and tags are in xml-tags.cpp.
#include "xml-reader.h"

#include <algorithm>

#include "xml-characters.h"

namespace usher {

using namespace xml;

XmlReader::XmlReader(std::span<const uint8_t> document) noexcept
    : document_(document),
      at_(document.data()),
      end_(document.data()),
      token_(document.data()),
      characters_(check_text(document)) {
  end_ += characters_.offset;
  bindings_.push_back({"xml", std::string(xml_namespace_uri)});
#if defined(USHER_NEEDLESS_PASS)
  // For native/bench/guard alone, which must notice.
  static_cast<void>(locate(document_, document_.size()));
#endif
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

bool XmlReader::starts_with(std::string_view text) const noexcept {
  return view(at_, end_).starts_with(text);
}

bool XmlReader::skip_space() noexcept {
  const uint8_t* start = at_;
  while (at_ < end_ && is_space(*at_)) {
    at_++;
    // Segments are padded to whole blocks.
    while (left() >= 8 && std::memcmp(at_, "        ", 8) == 0) at_ += 8;
  }
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
    if ((first == 0xff && second == 0xfe) || (first == '<' && second == 0))
      return forbidden("UTF-16 or UTF-32");
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
      return fail(value_at, "the encoding " + quoted(value) + " isn't taken, only UTF-8",
                  SegmentError::xml_forbidden);
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
  if (at_ == digits || *at_ != ';')
    return fail(start, "a character reference isn't of the form '&#10;' or '&#xA;'");
  if (!is_xml_character(code)) {
    return fail(start,
                "the character reference " + quoted(view(start, at_ + 1)) + " names no character of XML");
  }
  at_++;
  append_utf8(to, code);
  return true;
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
