#include "job-reader.h"

#include <algorithm>
#include <span>

#include "segment-schema.h"
#include "xxh64.h"

namespace usher {

enum class Kind : uint8_t {
  text,
  integer,
  seconds,
  boolean,
  arguments,
  variables,
  labels,
  resources,
  attributes
};

struct ElementRule {
  std::string_view name;
  Kind kind;
  uint64_t min = 0;
  uint64_t max = 0;
  // Of booleans: the value that JSON leaves out.
  bool default_value = false;
};

namespace {

constexpr ElementRule job_rules[] = {
    {"name", Kind::text},
    {"executable", Kind::text},
    {"arguments", Kind::arguments},
    {"directory", Kind::text},
    {"inherit_environment", Kind::boolean, 0, 0, true},
    {"environment", Kind::variables},
    {"stdin_path", Kind::text},
    {"stdout_path", Kind::text},
    {"stderr_path", Kind::text},
    {"resources", Kind::resources},
    {"attributes", Kind::attributes},
    {"pre_launch", Kind::text},
    {"post_launch", Kind::text},
    {"launcher", Kind::text},
};
constexpr size_t executable_index = 1;

constexpr ElementRule resources_rules[] = {
    {"node_count", Kind::integer, 1, int_max},
    {"process_count", Kind::integer, 1, int_max},
    {"processes_per_node", Kind::integer, 1, int_max},
    {"cpu_cores_per_process", Kind::integer, 1, int_max},
    {"gpu_cores_per_process", Kind::integer, 0, int_max},
    {"exclusive_node_use", Kind::boolean, 0, 0, false},
    {"memory", Kind::integer, 1, safe_integer_max},
};

constexpr ElementRule attributes_rules[] = {
    {"duration", Kind::seconds, 1, int_max},
    {"queue_name", Kind::text},
    {"account", Kind::text},
    {"reservation_id", Kind::text},
    {"custom_attributes", Kind::labels},
};

std::string tag(std::string_view name) { return "<" + std::string(name) + ">"; }

}  // namespace

bool JobReader::fail_xml() noexcept {
  if (!failure_) failure_ = reader_.failure();
  return false;
}

bool JobReader::fail_schema(size_t offset, std::string reason) noexcept {
  // The place is filled in by whoever holds the document.
  if (!failure_) failure_ = {SegmentError::schema_violated, std::move(reason), {}, offset};
  return false;
}

bool JobReader::is_neutral(const XmlAttribute& attribute) noexcept {
  if (attribute.uri == xmlns_namespace_uri) return true;
  return attribute.uri == schema_instance_uri &&
         (attribute.local == "schemaLocation" || attribute.local == "noNamespaceSchemaLocation");
}

bool JobReader::read(std::string_view provenance, uint64_t index) noexcept {
  const size_t start = reader_.token_offset();
  if (reader_.uri() != segment_uri || reader_.local() != "job") {
    return fail_schema(start, "the element " + quoted(reader_.name()) +
                                  " can't stand in <segment>, only <job> of " + std::string(segment_uri));
  }
  if (!write_head()) return false;
  out_.append(",\"spec\":");
  const size_t spec_at = out_.size();
  if (!read_children(job_rules, std::size(job_rules), "job", true)) return false;
  // Each member begins with a comma; that of the first becomes the brace. There is one: the executable.
  out_.data()[spec_at] = '{';
  out_.append("}");
  const uint8_t* line = out_.data();
  write_hex16(xxh64({line + cluster_at_, out_.size() - cluster_at_}), out_.data() + digest_at_);
  out_.append(provenance);
  out_.append(index);
  out_.append("}}\n");
  return true;
}

bool JobReader::write_head() noexcept {
  const size_t start = reader_.token_offset();
  const XmlAttribute* id = nullptr;
  const XmlAttribute* at = nullptr;
  const XmlAttribute* cluster = nullptr;
  const XmlAttribute* traceparent = nullptr;
  for (const XmlAttribute& attribute : reader_.attributes()) {
    if (is_neutral(attribute)) continue;
    const std::string_view name = attribute.uri.empty() ? attribute.local : std::string_view();
    if (name == "id") id = &attribute;
    else if (name == "at") at = &attribute;
    else if (name == "cluster") cluster = &attribute;
    else if (name == "traceparent") traceparent = &attribute;
    else return fail_schema(attribute.offset, "<job> has no attribute " + quoted(attribute.name));
  }
  if (id == nullptr) return fail_schema(start, "<job> has no id");
  if (at == nullptr) return fail_schema(start, "<job> has no attribute 'at'");
  if (cluster == nullptr) return fail_schema(start, "<job> has no attribute 'cluster'");
  if (!is_job_id(id->value)) {
    return fail_schema(id->offset,
                       quoted(id->value) + " is no job id, 16 lower-case hexadecimal digits, '-', a number");
  }
  const std::string_view time = trimmed(at->value);
  if (!is_timestamp(time)) {
    return fail_schema(at->offset, quoted(at->value) + " is no time of the form 2026-11-23T04:00:00.124Z");
  }
  if (cluster->value.empty()) return fail_schema(cluster->offset, "the cluster is empty");
  if (traceparent != nullptr && !is_traceparent(traceparent->value)) {
    return fail_schema(traceparent->offset, quoted(traceparent->value) + " is no traceparent");
  }
  out_.append("{\"id\":\"");
  out_.append(id->value);
  out_.append("\",\"digest\":\"");
  digest_at_ = out_.size();
  out_.append("0000000000000000\",\"accepted\":\"");
  out_.append(time);
  if (traceparent != nullptr) {
    out_.append("\",\"traceparent\":\"");
    out_.append(traceparent->value);
  }
  out_.append("\",");
  cluster_at_ = out_.size();
  out_.append("\"cluster\":");
  out_.append_string(cluster->value);
  return true;
}

bool JobReader::next_child(std::string_view parent) noexcept {
  for (;;) {
    switch (reader_.next()) {
      case XmlToken::start_element: return true;
      case XmlToken::end_element: return false;
      case XmlToken::text:
        if (is_white_space(reader_.text())) break;
        return fail_schema(reader_.text_offset(), "text stands between the elements of " + tag(parent));
      case XmlToken::instruction: break;
      case XmlToken::end:
      case XmlToken::failure: return fail_xml();
    }
  }
}

bool JobReader::no_attributes() noexcept {
  for (const XmlAttribute& attribute : reader_.attributes()) {
    if (is_neutral(attribute)) continue;
    return fail_schema(attribute.offset,
                       quoted(reader_.name()) + " has no attribute " + quoted(attribute.name));
  }
  return true;
}

bool JobReader::read_children(const ElementRule* rules, size_t count, std::string_view parent,
                              bool executable_required) noexcept {
  const size_t start = reader_.token_offset();
  size_t due = 0;
  bool executable_seen = !executable_required;
  while (next_child(parent)) {
    const size_t at = reader_.token_offset();
    const std::string_view name = reader_.uri() == segment_uri ? reader_.local() : std::string_view();
    size_t index = 0;
    while (index < count && rules[index].name != name) index++;
    if (index == count) {
      return fail_schema(at, "the element " + quoted(reader_.name()) + " can't stand in " + tag(parent));
    }
    if (index < due) {
      return fail_schema(at, index + 1 == due
                                 ? tag(name) + " stands twice in " + tag(parent)
                                 : tag(name) + " stands behind " + tag(rules[due - 1].name) + " in " +
                                       tag(parent) + ", where it has to stand before it");
    }
    if (!executable_seen && index > executable_index) break;
    if (index == executable_index) executable_seen = true;
    due = index + 1;
    if (!no_attributes() || !read_element(rules[index])) return false;
  }
  if (failure_) return false;
  return executable_seen || fail_schema(start, "<job> has no <executable>");
}

void JobReader::write_key(std::string_view key) noexcept {
  out_.append(",\"");
  out_.append(key);
  out_.append("\":");
}

bool JobReader::read_element(const ElementRule& rule) noexcept {
  const size_t start = reader_.token_offset();
  switch (rule.kind) {
    case Kind::text:
      if (!read_text(rule.name, text_)) return false;
      if (text_.empty()) return fail_schema(start, tag(rule.name) + " is empty");
      write_key(rule.name);
      out_.append_string(text_);
      return true;
    case Kind::integer:
    case Kind::seconds: {
      if (!read_text(rule.name, text_)) return false;
      const auto value = parse_integer(text_, rule.min, rule.max);
      if (!value) {
        return fail_schema(start, tag(rule.name) + " is " + quoted(text_) + ", which is no integer from " +
                                      std::to_string(rule.min) + " to " + std::to_string(rule.max));
      }
      write_key(rule.name);
      if (rule.kind == Kind::seconds) out_.append("\"");
      out_.append(*value);
      if (rule.kind == Kind::seconds) out_.append(" s\"");
      return true;
    }
    case Kind::boolean: {
      if (!read_text(rule.name, text_)) return false;
      const auto value = parse_boolean(text_);
      if (!value)
        return fail_schema(start, tag(rule.name) + " is " + quoted(text_) + ", neither true nor false");
      if (*value == rule.default_value) return true;
      write_key(rule.name);
      out_.append(*value ? "true" : "false");
      return true;
    }
    case Kind::arguments: return read_arguments();
    case Kind::variables: return read_pairs(rule, "variable");
    case Kind::labels: return read_pairs(rule, "attribute");
    case Kind::resources:
    case Kind::attributes: {
      const bool resources = rule.kind == Kind::resources;
      const std::span<const ElementRule> rules = resources ? std::span<const ElementRule>(resources_rules)
                                                           : std::span<const ElementRule>(attributes_rules);
      const size_t before = out_.size();
      write_key(rule.name);
      const size_t members = out_.size();
      if (resources) out_.append("{\"__version\":1");
      const size_t empty = out_.size();
      if (!read_children(rules.data(), rules.size(), rule.name, false)) return false;
      if (out_.size() == empty) {
        out_.truncate(before);
        return true;
      }
      out_.data()[members] = '{';
      out_.append("}");
      return true;
    }
  }
  return false;
}

bool JobReader::read_text(std::string_view element, std::string& text) noexcept {
  text.clear();
  for (;;) {
    switch (reader_.next()) {
      case XmlToken::text: text.append(reader_.text()); break;
      case XmlToken::instruction: break;
      case XmlToken::end_element: return true;
      case XmlToken::start_element:
        return fail_schema(reader_.token_offset(), "the element " + quoted(reader_.name()) +
                                                       " stands in the text of " + tag(element));
      case XmlToken::end:
      case XmlToken::failure: return fail_xml();
    }
  }
}

bool JobReader::read_arguments() noexcept {
  const size_t before = out_.size();
  write_key("arguments");
  char separator = '[';
  while (next_child("arguments")) {
    if (reader_.uri() != segment_uri || reader_.local() != "argument") {
      return fail_schema(reader_.token_offset(),
                         "the element " + quoted(reader_.name()) + " can't stand in <arguments>");
    }
    if (!no_attributes() || !read_text("argument", text_)) return false;
    out_.append(std::string_view(&separator, 1));
    out_.append_string(text_);
    separator = ',';
  }
  if (failure_) return false;
  if (separator == '[') {
    out_.truncate(before);
  } else {
    out_.append("]");
  }
  return true;
}

bool JobReader::read_pairs(const ElementRule& rule, std::string_view item) noexcept {
  const bool variables = rule.kind == Kind::variables;
  pairs_.clear();
  // Where each stands, for the message about one that stands twice.
  std::vector<size_t> offsets;
  while (next_child(rule.name)) {
    const size_t at = reader_.token_offset();
    if (reader_.uri() != segment_uri || reader_.local() != item) {
      return fail_schema(at, "the element " + quoted(reader_.name()) + " can't stand in " + tag(rule.name));
    }
    const XmlAttribute* name = nullptr;
    for (const XmlAttribute& attribute : reader_.attributes()) {
      if (is_neutral(attribute)) continue;
      if (!attribute.uri.empty() || attribute.local != "name") {
        return fail_schema(attribute.offset, tag(item) + " has no attribute " + quoted(attribute.name));
      }
      name = &attribute;
    }
    if (name == nullptr) return fail_schema(at, tag(item) + " has no name");
    if (name->value.empty()) return fail_schema(name->offset, "the name of " + tag(item) + " is empty");
    if (variables && name->value.find('=') != std::string_view::npos) {
      return fail_schema(name->offset, "the name of the variable " + quoted(name->value) + " holds '='");
    }
    pairs_.emplace_back(name->value, std::string());
    offsets.push_back(at);
    if (!read_text(item, pairs_.back().second)) return false;
  }
  if (failure_) return false;
  if (pairs_.empty()) return true;
  // Names in ascending order of their bytes, so that their order in the document doesn't change the digest.
  // (std::string compares as unsigned bytes.) Equal names meet by this, the earlier first.
  std::vector<size_t> order(pairs_.size());
  for (size_t i = 0; i < order.size(); i++) order[i] = i;
  std::sort(order.begin(), order.end(), [this](size_t a, size_t b) {
    const int compared = pairs_[a].first.compare(pairs_[b].first);
    return compared != 0 ? compared < 0 : a < b;
  });
  write_key(rule.name);
  char separator = '{';
  for (size_t i = 0; i < order.size(); i++) {
    const auto& [name, value] = pairs_[order[i]];
    if (i > 0 && pairs_[order[i - 1]].first == name) {
      return fail_schema(offsets[order[i]],
                         "the name " + quoted(name) + " stands twice in " + tag(rule.name));
    }
    out_.append(std::string_view(&separator, 1));
    out_.append_string(name);
    out_.append(":");
    out_.append_string(value);
    separator = ',';
  }
  out_.append("}");
  return true;
}

}  // namespace usher
