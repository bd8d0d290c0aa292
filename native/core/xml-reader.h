// Reads XML 1.0 (fifth edition) with namespaces from one contiguous buffer, token by token: the productions
// of https://www.w3.org/TR/xml/ and https://www.w3.org/TR/xml-names/, without document type declarations and
// thereby without any entity beyond the five. It doesn't validate. It must take every other well-formed
// document in UTF-8 and refuse everything that isn't one; it never looks outside of the buffer and never
// changes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "segment-failure.h"
#include "text.h"

namespace usher {

inline constexpr std::string_view xml_namespace_uri = "http://www.w3.org/XML/1998/namespace";
inline constexpr std::string_view xmlns_namespace_uri = "http://www.w3.org/2000/xmlns/";

enum class XmlToken : uint8_t { start_element, end_element, text, instruction, end, failure };

struct XmlAttribute {
  std::string_view name;  // as written, with its prefix
  std::string_view uri;   // empty: in no namespace
  std::string_view local;
  std::string_view value;  // normalised as XML 1.0 §3.3.3 says for CDATA
  size_t offset;
};

class XmlReader {
 public:
  static constexpr size_t depth_max = 256;
  static constexpr size_t attributes_max = 256;

  // The document must outlive the reader and what its views show.
  explicit XmlReader(std::span<const uint8_t> document) noexcept;

  // Comments are passed over; an empty element tag yields a start and an end. After `end` or `failure` the
  // same again.
  XmlToken next() noexcept;

  // Of the last start_element; valid until the next token.
  std::string_view name() const noexcept { return name_; }
  std::string_view uri() const noexcept { return uri_; }
  std::string_view local() const noexcept { return local_; }
  std::span<const XmlAttribute> attributes() const noexcept { return attributes_; }

  // Of the last text: references resolved, line ends normalised. A run of text may come in several tokens,
  // cut where a comment, an instruction or a CDATA section stands.
  std::string_view text() const noexcept { return text_; }
  // Where the last text begins that isn't white space, in bytes.
  size_t text_offset() const noexcept;

  // Of the last instruction.
  std::string_view target() const noexcept { return target_; }

  // Where the last token began and where the next begins, in bytes.
  size_t token_offset() const noexcept { return offset_of(token_); }
  size_t position() const noexcept { return offset_of(at_); }
  // Open elements: after a start_element counting it, after an end_element no longer.
  size_t depth() const noexcept { return open_.size(); }

  // For a caller that reads part of the document itself: nothing is pending, so that position() is exactly
  // behind the last token; it may then skip whole elements of the content with advance_to(). The bytes up to
  // characters_end() are known to be characters that XML allows.
  bool between_tokens() const noexcept { return !pending_end_; }
  void advance_to(size_t offset) noexcept { at_ = document_.data() + offset; }
  // Passes over white space in the content; a text token is only what comes behind it.
  void pass_white_space() noexcept { skip_space(); }
  size_t characters_end() const noexcept { return offset_of(end_); }

  const SegmentFailure& failure() const noexcept { return failure_; }

 private:
  // Namespace declarations in scope, innermost last. A deque, since views of `uri` must survive its growing.
  struct Binding {
    std::string_view prefix;
    std::string uri;
  };
  struct Open {
    std::string_view name;
    size_t bindings;  // in scope outside of this element
    size_t offset;
  };
  // An attribute's value before its scratch has stopped growing.
  struct RawValue {
    size_t start;
    size_t length;
    bool in_scratch;
  };

  size_t offset_of(const uint8_t* at) const noexcept { return static_cast<size_t>(at - document_.data()); }
  size_t left() const noexcept { return static_cast<size_t>(end_ - at_); }
  bool starts_with(std::string_view text) const noexcept;
  bool skip_space() noexcept;

  bool fail(const uint8_t* at, std::string reason, SegmentError code = SegmentError::xml_malformed) noexcept;
  // The document ends where `inside` isn't complete; or its first bad character stands there.
  bool fail_at_end(const std::string& inside) noexcept;

  bool read_prolog() noexcept;
  bool read_declaration() noexcept;
  bool read_pseudo_attribute(std::string_view name, std::string_view& value) noexcept;
  bool read_ncname(std::string_view& name, const char* what) noexcept;
  bool read_qname(std::string_view& name, std::string_view& prefix, std::string_view& local,
                  const char* what) noexcept;
  bool read_reference(std::string& to) noexcept;
  bool read_start_tag() noexcept;
  bool read_attribute() noexcept;
  bool read_attribute_value(RawValue& value) noexcept;
  bool declare_namespaces() noexcept;
  bool resolve_attributes() noexcept;
  bool resolve(std::string_view prefix, const uint8_t* at, std::string_view& uri) noexcept;
  bool read_end_tag() noexcept;
  bool read_text() noexcept;
  bool read_cdata() noexcept;
  bool read_comment() noexcept;
  bool read_instruction() noexcept;
  void close_element() noexcept;

  std::span<const uint8_t> document_;
  const uint8_t* at_;
  // The end of what may be read: of the document, or its first bad character.
  const uint8_t* end_;
  const uint8_t* token_;
  TextCheck characters_;
  bool begun_ = false;
  bool root_seen_ = false;
  bool pending_end_ = false;
  bool ascii_declared_ = false;

  std::string_view name_, uri_, local_, prefix_, text_, target_;
  std::vector<XmlAttribute> attributes_;
  std::vector<RawValue> values_;
  std::string scratch_;
  std::deque<Binding> bindings_;
  std::vector<Open> open_;
  SegmentFailure failure_;
};

}  // namespace usher
