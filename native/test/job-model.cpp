#include "job-model.h"

#include <cinttypes>
#include <cstdio>
#include <map>
#include <memory>

namespace usher::test {
namespace {

void append_utf8(std::string& to, uint32_t point) {
  const auto put = [&to](uint32_t byte) { to += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6);
    put(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    put(0xe0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  } else {
    put(0xf0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3f));
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  }
}

// Some of everything that XML 1.0 can carry, with its edges more often than chance would have them.
uint32_t random_point(Random& random) {
  static constexpr uint32_t edges[] = {'\t',   '\n',   '\r',   '&',    '<',    '>',     '"',     '\'',
                                       ' ',    0x7f,   0x80,   0x85,   0x7ff,  0x800,   0x2028,  0xfff,
                                       0x1000, 0xd7ff, 0xe000, 0xfeff, 0xfffd, 0x10000, 0x1fffe, 0x10ffff};
  if (random.one_in(2)) return edges[random.below(std::size(edges))];
  for (;;) {
    const auto point = static_cast<uint32_t>(random.below(random.one_in(2) ? 0x800 : 0x110000));
    if (point < 0x20 || (point >= 0xd800 && point < 0xe000) || point == 0xfffe || point == 0xffff) continue;
    return point;
  }
}

std::string random_text(Random& random, size_t least) {
  const size_t length = least + random.below(random.one_in(8) ? 300 : 40);
  const bool ascii = random.one_in(2);
  std::string text;
  for (size_t i = 0; i < length; i++) {
    if (!ascii && random.one_in(3)) {
      append_utf8(text, random_point(random));
    } else {
      static constexpr std::string_view common = "abcdefghijklmnopqrstuvwxyzABCDEF0123456789/-_.,: $%#@![]{}";
      text += common[random.below(common.size())];
    }
  }
  return text;
}

std::string escaped(std::string_view text, bool attribute) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\r': out += "&#13;"; break;
      case '"': out += attribute ? "&quot;" : "\""; break;
      case '\t': out += attribute ? "&#9;" : "\t"; break;
      case '\n': out += attribute ? "&#10;" : "\n"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

Bytes bytes_of(std::string_view text) { return Bytes(text.begin(), text.end()); }

std::string leb128(size_t length) {
  std::string out;
  for (; length >= 0x80; length >>= 7)
    out += static_cast<char>(static_cast<unsigned char>(0x80 | (length & 0x7f)));
  return out + static_cast<char>(length);
}

JobEncoding& JobEncoding::raw(std::string_view bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

JobEncoding& JobEncoding::field(unsigned tag, std::string_view value) {
  bytes_.push_back(static_cast<uint8_t>(tag));
  return raw(leb128(value.size())).raw(value);
}

JobEncoding& JobEncoding::integer(unsigned tag, uint64_t value) {
  std::string bytes;
  do {
    bytes += static_cast<char>(static_cast<unsigned char>(value & 0xff));
    value >>= 8;
  } while (value != 0);
  return field(tag, bytes);
}

JobEncoding& JobEncoding::boolean(unsigned tag, bool value) {
  return field(tag, value ? "\1" : std::string_view("\0", 1));
}

JobEncoding& JobEncoding::pair(unsigned tag, std::string_view key, std::string_view value) {
  return field(tag, leb128(key.size()).append(key).append(value));
}

RandomJob random_job(Random& random, const ClusterNames& clusters) {
  JobEncoding encoding;
  std::string xml;
  const auto element = [&xml](std::string_view name, std::string_view content) {
    xml.append("<").append(name).append(">").append(content).append("</").append(name).append(">");
  };
  const auto text = [&](unsigned tag, std::string_view name, uint64_t one_in) {
    if (!random.one_in(one_in)) return;
    const std::string value = random_text(random, 1);
    encoding.field(tag, value);
    element(name, escaped(value, false));
  };
  const auto number = [&](unsigned tag, std::string_view name, uint64_t value) {
    encoding.integer(tag, value);
    element(name, std::to_string(value));
  };
  const auto maybe_number = [&](unsigned tag, std::string_view name, uint64_t least, uint64_t greatest) {
    if (!random.one_in(3)) return;
    const uint64_t small = least + random.below(200);
    number(tag, name, random.one_in(4) ? greatest : random.one_in(4) ? least : small);
  };
  // Opens and closes a container around what `inside` writes, if it writes anything.
  const auto container = [&xml](std::string_view name, auto inside) {
    const std::string before = std::move(xml);
    xml.clear();
    inside();
    if (!xml.empty()) {
      xml = "<" + std::string(name) + ">" + xml + "</" + std::string(name) + ">";
    }
    xml = before + xml;
  };
  const auto pairs = [&](unsigned tag, std::string_view name) {
    std::map<std::string, std::string> sorted;
    for (uint64_t i = random.one_in(2) ? random.below(6) : 0; i > 0; i--) {
      std::string key = random_text(random, 1);
      for (char& c : key) c = c == '=' ? '_' : c;
      sorted[key] = random_text(random, 0);
    }
    for (const auto& [key, value] : sorted) {
      encoding.pair(tag, key, value);
      xml += "<" + std::string(name) + " name=\"" + escaped(key, true) + "\">" + escaped(value, false) +
             "</" + std::string(name) + ">";
    }
  };

  const uint64_t producer = random.one_in(4) ? random.below(300) : random.next();
  const uint64_t sequence = random.one_in(4) ? random.next() : random.below(1'000'000);
  char id[64];
  std::snprintf(id, sizeof id, "%016" PRIx64 "-%" PRIu64, producer, sequence);
  std::string cluster = clusters.names[static_cast<size_t>(clusters.default_index)];
  if (random.one_in(2)) {
    cluster = clusters.names[random.below(clusters.names.size())];
    encoding.field(1, cluster);
  }
  std::string head = "<job id=\"" + std::string(id) + "\" at=\"" + std::string(test_time) + "\" cluster=\"" +
                     escaped(cluster, true) + "\"";
  if (random.one_in(2)) {
    char traceparent[64];
    std::snprintf(traceparent, sizeof traceparent, "00-%016" PRIx64 "%016" PRIx64 "-%016" PRIx64 "-%02x",
                  random.next(), random.next() | 1, random.next() | 1,
                  static_cast<unsigned>(random.below(256)));
    encoding.field(2, traceparent);
    head += " traceparent=\"" + std::string(traceparent) + "\"";
  }
  text(3, "name", 2);
  text(4, "executable", 1);
  container("arguments", [&] {
    for (uint64_t i = random.below(6); i > 0; i--) {
      const std::string value = random.one_in(5) ? "" : random_text(random, 0);
      encoding.field(5, value);
      element("argument", escaped(value, false));
    }
  });
  text(6, "directory", 2);
  if (random.one_in(2)) {
    const bool inherit = random.one_in(2);
    encoding.boolean(7, inherit);
    if (!inherit) element("inherit_environment", "false");
  }
  container("environment", [&] { pairs(8, "variable"); });
  text(9, "stdin_path", 4);
  text(10, "stdout_path", 2);
  text(11, "stderr_path", 2);
  container("resources", [&] {
    if (random.one_in(3)) {
      const uint64_t nodes = 1 + random.below(1000);
      const uint64_t each = 1 + random.below(256);
      number(16, "node_count", nodes);
      number(17, "process_count", nodes * each);
      number(18, "processes_per_node", each);
    } else if (random.one_in(2)) {
      maybe_number(16, "node_count", 1, 0x7fffffff);
      maybe_number(17, "process_count", 1, 0x7fffffff);
    }
    maybe_number(19, "cpu_cores_per_process", 1, 0x7fffffff);
    maybe_number(20, "gpu_cores_per_process", 0, 0x7fffffff);
    if (random.one_in(2)) {
      const bool exclusive = random.one_in(2);
      encoding.boolean(21, exclusive);
      if (exclusive) element("exclusive_node_use", "true");
    }
    maybe_number(22, "memory", 1, (uint64_t{1} << 53) - 1);
  });
  container("attributes", [&] {
    maybe_number(32, "duration", 1, 0x7fffffff);
    text(33, "queue_name", 3);
    text(34, "account", 4);
    text(35, "reservation_id", 8);
    container("custom_attributes", [&] { pairs(36, "attribute"); });
  });
  text(48, "pre_launch", 8);
  text(49, "post_launch", 8);
  text(50, "launcher", 4);
  return {encoding.bytes(), producer, sequence, head + ">" + xml + "</job>\n"};
}

Outcome write_job(std::span<const uint8_t> fields, const ClusterNames& clusters, uint64_t producer,
                  uint64_t sequence) {
  const size_t room = job_xml_bytes_max(fields.size(), clusters);
  const auto in = std::make_unique<uint8_t[]>(fields.size());
  const auto out = std::make_unique<uint8_t[]>(room);
  std::copy(fields.begin(), fields.end(), in.get());
  Outcome outcome{};
  const uint8_t* const end = write_job_xml({in.get(), fields.size()}, producer, sequence, test_time, clusters,
                                           out.get(), outcome.refusal);
  outcome.accepted = end != nullptr;
  if (end != nullptr)
    outcome.xml.assign(reinterpret_cast<const char*>(out.get()), static_cast<size_t>(end - out.get()));
  check(outcome.xml.size() <= room, __FILE__, __LINE__, "the XML is longer than job_xml_bytes_max");
  return outcome;
}

}  // namespace usher::test
