// Which element each field of a job becomes: the table behind write_job_xml, made when the program is
// compiled. It says what docs/protocol.md (values) and docs/store.md (elements) say; it must hold nothing else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "wire.h"

namespace usher::job_elements {

enum class Kind : uint8_t { unknown, cluster, traceparent, text, argument, pair, boolean, integer };

// Elements around elements. custom_attributes stands in attributes.
enum class Container : uint8_t { none, arguments, environment, resources, attributes, custom_attributes };

// Markup that is copied as a block of `block` bytes, of which `length` count.
template <size_t block>
struct Markup {
  char bytes[block];
  uint8_t length;

  template <size_t size>
  static constexpr Markup of(const char (&text)[size]) noexcept {
    static_assert(size - 1 <= block);
    Markup markup{};
    for (size_t i = 0; i + 1 < size; i++) markup.bytes[i] = text[i];
    markup.length = size - 1;
    return markup;
  }

  uint8_t* put(uint8_t* out) const noexcept {
    std::memcpy(out, bytes, block);
    return out + length;
  }
};

inline constexpr size_t container_block = 48;
using TagMarkup = Markup<32>;
using ContainerTags = Markup<container_block>;

struct Element {
  Kind kind = Kind::unknown;
  Container container = Container::none;
  // Integers: least and greatest. Booleans: the default, in `least`.
  uint64_t least = 0;
  uint64_t greatest = 0;
  TagMarkup open{};
  TagMarkup close{};
};

struct ContainerMarkup {
  ContainerTags open;
  ContainerTags close;
};

inline constexpr size_t tags = 51;
inline constexpr uint64_t int32_max = 0x7fffffffu;
inline constexpr uint64_t safe_integer_max = (uint64_t{1} << 53) - 1;

constexpr std::array<Element, tags> make_elements() noexcept {
  std::array<Element, tags> all{};
  const auto at = [&all](Field field) -> Element& { return all[static_cast<size_t>(field)]; };
#define USHER_ELEMENT(field, kind, container, least, greatest)              \
  at(Field::field) = {Kind::kind, Container::container, least, greatest,    \
                      TagMarkup::of("<" #field ">"), TagMarkup::of("</" #field ">")}
#define USHER_REPEATED(field, kind, container, open, close) \
  at(Field::field) = {Kind::kind, Container::container, 0, 0, TagMarkup::of(open), TagMarkup::of(close)}
#define USHER_TEXT(field, container) USHER_ELEMENT(field, text, container, 0, 0)
  at(Field::cluster).kind = Kind::cluster;
  at(Field::traceparent).kind = Kind::traceparent;
  USHER_TEXT(name, none);
  USHER_TEXT(executable, none);
  USHER_REPEATED(arguments, argument, arguments, "<argument>", "</argument>");
  USHER_TEXT(directory, none);
  USHER_ELEMENT(inherit_environment, boolean, none, 1, 0);
  USHER_REPEATED(environment, pair, environment, "<variable name=\"", "</variable>");
  USHER_TEXT(stdin_path, none);
  USHER_TEXT(stdout_path, none);
  USHER_TEXT(stderr_path, none);
  USHER_ELEMENT(node_count, integer, resources, 1, int32_max);
  USHER_ELEMENT(process_count, integer, resources, 1, int32_max);
  USHER_ELEMENT(processes_per_node, integer, resources, 1, int32_max);
  USHER_ELEMENT(cpu_cores_per_process, integer, resources, 1, int32_max);
  USHER_ELEMENT(gpu_cores_per_process, integer, resources, 0, int32_max);
  USHER_ELEMENT(exclusive_node_use, boolean, resources, 0, 0);
  USHER_ELEMENT(memory, integer, resources, 1, safe_integer_max);
  USHER_ELEMENT(duration, integer, attributes, 1, int32_max);
  USHER_TEXT(queue_name, attributes);
  USHER_TEXT(account, attributes);
  USHER_TEXT(reservation_id, attributes);
  USHER_REPEATED(custom_attributes, pair, custom_attributes, "<attribute name=\"", "</attribute>");
  USHER_TEXT(pre_launch, none);
  USHER_TEXT(post_launch, none);
  USHER_TEXT(launcher, none);
#undef USHER_TEXT
#undef USHER_REPEATED
#undef USHER_ELEMENT
  return all;
}

inline constexpr auto elements = make_elements();

// By Container. custom_attributes is opened inside of attributes, which is opened before it, and closes both.
inline constexpr std::array<ContainerMarkup, 6> containers = {{
    {{}, {}},
    {ContainerTags::of("<arguments>"), ContainerTags::of("</arguments>")},
    {ContainerTags::of("<environment>"), ContainerTags::of("</environment>")},
    {ContainerTags::of("<resources>"), ContainerTags::of("</resources>")},
    {ContainerTags::of("<attributes>"), ContainerTags::of("</attributes>")},
    {ContainerTags::of("<custom_attributes>"), ContainerTags::of("</custom_attributes></attributes>")},
}};

inline constexpr auto job_open = Markup<16>::of("<job id=\"");
inline constexpr auto at_open = Markup<16>::of("\" at=\"");
inline constexpr auto cluster_open = Markup<16>::of("\" cluster=\"");
inline constexpr auto traceparent_open = Markup<16>::of("\" traceparent=\"");
inline constexpr auto start_tag_end = Markup<16>::of("\">");
inline constexpr auto job_close = Markup<16>::of("</job>\n");

}  // namespace usher::job_elements
