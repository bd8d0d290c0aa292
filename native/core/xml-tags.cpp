// The part of the XML reader that reads names, tags, attributes and declarations of namespaces.
#include "xml-characters.h"
#include "xml-reader.h"

namespace usher {

using namespace xml;

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
    return fail(
        at_, "a name (of " + std::string(what) + ") can't begin with " + quoted(view(at_, at_ + c.length)));
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

bool XmlReader::read_start_tag() noexcept {
  const uint8_t* start = at_++;
  if (open_.empty() && root_seen_) return fail(start, "a second root element begins here");
  if (open_.size() == depth_max) {
    return fail(start, "elements are nested deeper than " + std::to_string(depth_max),
                SegmentError::xml_forbidden);
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
      return fail(at_, attributes_.empty() ? "the name in the tag " + quoted(name_) +
                                                 " goes on with a character it can't hold"
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
    attributes_[i].value =
        std::string_view((raw.in_scratch ? scratch_.data() : text) + raw.start, raw.length);
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
    if (other.name == attribute.name)
      return fail(start, "the attribute " + quoted(attribute.name) + " is given twice");
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
    if ((prefix == "xml") != (attribute.value == xml_namespace_uri)) {
      return fail(at, "the prefix 'xml' and its namespace belong to each other alone");
    }
    if (attribute.value == xmlns_namespace_uri) return fail(at, "the namespace of 'xmlns' can't be declared");
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
      attribute.uri = xmlns_namespace_uri;
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

}  // namespace usher
