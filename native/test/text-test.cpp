#include "../core/text.h"

#include <cstring>
#include <memory>
#include <string>

#include "check.h"

using namespace usher;
using namespace usher::test;

namespace {

// A decoder in the most direct reading of RFC 3629 and of the production Char of XML 1.0.
TextCheck expected_check(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const auto byte = [&](size_t i) {
      return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i]));
    };
    const uint32_t lead = byte(0);
    const size_t length = lead < 0x80         ? 1
                          : (lead >> 5) == 6  ? 2
                          : (lead >> 4) == 14 ? 3
                          : (lead >> 3) == 30 ? 4
                                              : 0;
    if (length == 0 || at + length > text.size()) return {TextStatus::not_utf8, at};
    uint32_t point = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
      if ((byte(i) & 0xc0) != 0x80) return {TextStatus::not_utf8, at};
      point = point << 6 | (byte(i) & 0x3f);
    }
    const uint32_t least = length == 1 ? 0 : length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    if (point < least || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
      return {TextStatus::not_utf8, at};
    const bool in_xml = point == 9 || point == 10 || point == 13 || (point >= 0x20 && point < 0xfffe) ||
                        point >= 0x10000;
    if (!in_xml) return {TextStatus::not_xml, at};
    at += length;
  }
  return {TextStatus::ok, at};
}

std::string expected_escapes(std::string_view text, bool attribute) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '\r') {
      out += "&#13;";
    } else if (attribute && c == '"') {
      out += "&quot;";
    } else if (attribute && c == '\t') {
      out += "&#9;";
    } else if (attribute && c == '\n') {
      out += "&#10;";
    } else {
      out += c;
    }
  }
  return out;
}

struct Written {
  std::string text;
  TextStatus status;
  size_t offset;
};

// Input and output in memory of exactly the size that text.h asks for. `behind` more bytes may be read.
Written write(std::string_view text, bool attribute, size_t behind = 0) {
  const size_t room =
      text.size() * (attribute ? attribute_text_growth : element_text_growth) + text_slack_bytes;
  const auto in = std::make_unique<uint8_t[]>(text.size() + behind);
  const auto out = std::make_unique<uint8_t[]>(room);
  if (!text.empty()) std::memcpy(in.get(), text.data(), text.size());
  std::memset(in.get() + text.size(), '<', behind);
  const uint8_t* const readable_end = in.get() + text.size() + behind;
  const std::span<const uint8_t> bytes(in.get(), text.size());
  const TextWritten written = attribute ? write_attribute_text(bytes, readable_end, out.get())
                                        : write_element_text(bytes, readable_end, out.get());
  return {std::string(reinterpret_cast<const char*>(out.get()), static_cast<size_t>(written.end - out.get())),
          written.status, written.offset};
}

TextCheck check_exactly(std::string_view text) {
  const auto in = std::make_unique<uint8_t[]>(text.size());
  if (!text.empty()) std::memcpy(in.get(), text.data(), text.size());
  return check_text({in.get(), text.size()});
}

// All three ways must agree with the reference, in status, place and bytes.
bool agrees(std::string_view text, size_t behind = 0) {
  const TextCheck expected = expected_check(text);
  const TextCheck seen = check_exactly(text);
  bool good = CHECK_EQ(seen.status, expected.status) && CHECK_EQ(seen.offset, expected.offset);
  for (const bool attribute : {false, true}) {
    const Written written = write(text, attribute, behind);
    good = good && CHECK_EQ(written.status, expected.status) && CHECK_EQ(written.offset, expected.offset) &&
           CHECK_EQ(written.text, expected_escapes(text.substr(0, expected.offset), attribute));
  }
  if (!good) check(false, __FILE__, __LINE__, "text: " + show(text));
  return good;
}

std::string utf8(uint32_t point) {
  const auto c = [](uint32_t byte) { return static_cast<char>(static_cast<unsigned char>(byte)); };
  if (point < 0x80) return {c(point)};
  if (point < 0x800) return {c(0xc0 | point >> 6), c(0x80 | (point & 63))};
  if (point < 0x10000) return {c(0xe0 | point >> 12), c(0x80 | (point >> 6 & 63)), c(0x80 | (point & 63))};
  return {c(0xf0 | point >> 18), c(0x80 | (point >> 12 & 63)), c(0x80 | (point >> 6 & 63)),
          c(0x80 | (point & 63))};
}

}  // namespace

TEST("text takes every character that XML 1.0 can carry and no other") {
  for (uint32_t point = 0; point < 0x110000; point++) {
    const bool surrogate = point >= 0xd800 && point < 0xe000;
    const bool in_xml =
        point >= 0x20 ? point != 0xfffe && point != 0xffff : point == 9 || point == 10 || point == 13;
    const TextStatus expected = surrogate ? TextStatus::not_utf8
                                : in_xml  ? TextStatus::ok
                                          : TextStatus::not_xml;
    const std::string text = utf8(point);
    const TextCheck seen = check_text({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    if (!CHECK_EQ(seen.status, expected)) {
      check(false, __FILE__, __LINE__, "code point " + std::to_string(point));
      break;
    }
  }
}

TEST("text tells every sequence of up to three bytes as the reference does, and four with all edges") {
  std::string text;
  const auto same = [&text] {
    const TextCheck seen = check_text({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    const TextCheck expected = expected_check(text);
    return check(seen.status == expected.status && seen.offset == expected.offset, __FILE__, __LINE__,
                 show(text));
  };
  for (uint32_t bytes = 0; bytes < 0x10000; bytes++) {
    text = {static_cast<char>(bytes >> 8), static_cast<char>(bytes & 0xff)};
    if (!same()) return;
    if ((bytes & 0xff) == 0 && !(text.resize(1), same())) return;
  }
  for (uint32_t bytes = 0x7f0000; bytes < 0x1000000; bytes += bytes % 256 == 0xc0 ? 63 : 1) {
    text = {static_cast<char>(bytes >> 16), static_cast<char>(bytes >> 8 & 0xff),
            static_cast<char>(bytes & 0xff)};
    if (!same()) return;
  }
  static constexpr uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
  for (uint32_t lead = 0xe0; lead < 0x100; lead++) {
    for (uint32_t second = 0; second < 0x100; second++) {
      for (const uint8_t third : edges) {
        for (const uint8_t fourth : edges) {
          text = {static_cast<char>(lead), static_cast<char>(second), static_cast<char>(third),
                  static_cast<char>(fourth)};
          if (!same()) return;
        }
      }
    }
  }
}

TEST("text is escaped in elements and in attributes as docs/store.md says") {
  const std::string all = "a&b<c>d\"e'f\tg\nh\ri";
  CHECK_EQ(write(all, false).text, "a&amp;b&lt;c&gt;d\"e'f\tg\nh&#13;i");
  CHECK_EQ(write(all, true).text, "a&amp;b&lt;c&gt;d&quot;e'f&#9;g&#10;h&#13;i");
  CHECK_EQ(write("]]>", false).text, "]]&gt;");
  CHECK_EQ(write("", false).text, "");
  CHECK_EQ(write("", true).text, "");
}

TEST("text finds any byte at any place of any length, whatever may be read behind it") {
  for (unsigned byte = 0; byte < 256; byte++) {
    for (size_t length = 1; length < 40; length += length < 20 ? 1 : 7) {
      for (size_t at = 0; at < length; at++) {
        std::string text(length, 'x');
        text[at] = static_cast<char>(byte);
        if (!agrees(text, (byte + at) % 40)) return;
      }
    }
  }
}

TEST("text is cut at every byte of every kind of character") {
  const std::string all =
      "plain ASCII, fifteen or more & \xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x80 < \xef\xbf\xbd\xf4\x8f\xbf\xbf \" "
      "\r\n\t end";
  for (size_t length = 0; length <= all.size(); length++) {
    for (size_t behind = 0; behind < 20; behind += 5) {
      if (!agrees(std::string_view(all).substr(0, length), behind)) return;
    }
  }
}

TEST("text of random mixtures is checked and escaped as the reference does") {
  Random random(seed());
  static constexpr std::string_view parts[] = {"a",
                                               "some words of plain text",
                                               "&",
                                               "<",
                                               ">",
                                               "\"",
                                               "\r",
                                               "\n",
                                               "\t",
                                               "\xc2\x85",
                                               "\xc3\xa9",
                                               "\xe2\x82\xac",
                                               "\xf0\x9f\x9a\x80",
                                               "\x7f",
                                               "/usr/bin/env",
                                               "0123456789abcdef",
                                               "0123456789abcdef0123456789abcdef"};
  static constexpr std::string_view bad[] = {
      "\x01", "\xef\xbf\xbe", "\xef\xbf\xbf", "\xc0\x80", "\xed\xa0\x80", "\x80", "\xff", "\xf4\x90\x80\x80"};
  for (int round = 0; round < 20'000; round++) {
    std::string text;
    for (uint64_t i = random.below(12); i > 0; i--) text += parts[random.below(std::size(parts))];
    if (random.one_in(4)) text.insert(random.below(text.size() + 1), bad[random.below(std::size(bad))]);
    if (random.one_in(4)) text.resize(random.below(text.size() + 1));
    if (!agrees(text, random.below(40))) return;
  }
}

TEST("text of nothing but the longest escapes stays within its growth") {
  for (size_t length = 0; length < 70; length++) {
    CHECK_EQ(write(std::string(length, '&'), false).text.size(), length * element_text_growth);
    CHECK_EQ(write(std::string(length, '\r'), false, 3).text.size(), length * element_text_growth);
    CHECK_EQ(write(std::string(length, '"'), true).text.size(), length * attribute_text_growth);
  }
}

TEST("text is cut for people at a character, never within one") {
  const std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x80";
  CHECK_EQ(cut_text(text, 100), text);
  CHECK_EQ(cut_text(text, 10), text);
  for (size_t most = 6; most < 10; most++) CHECK_EQ(cut_text(text, most).size(), size_t{6});
  CHECK_EQ(cut_text(text, 5).size(), size_t{3});
  CHECK_EQ(cut_text(text, 2).size(), size_t{1});
  CHECK_EQ(cut_text(text, 0).size(), size_t{0});
}
