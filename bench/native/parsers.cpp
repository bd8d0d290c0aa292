// What other XML parsers make of a segment: parsing alone, with handlers that count and keep nothing, or the tree that a
// parser makes. Prints one line of JSON with the best rate of each: parsers FILE SECONDS.
#include <expat.h>
#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlreader.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <pugixml.hpp>
#include <string>
#include <vector>

namespace {

// What handlers count: kept out of reach of the optimiser by being printed.
size_t counted = 0;

[[noreturn]] void die(const char* reason) {
  std::fprintf(stderr, "parsers: %s\n", reason);
  std::exit(1);
}

void expat(const std::string& xml) {
  XML_Parser parser = XML_ParserCreate("UTF-8");
  XML_SetElementHandler(parser, [](void*, const XML_Char*, const XML_Char**) { counted++; }, [](void*, const XML_Char*) { counted++; });
  XML_SetCharacterDataHandler(parser, [](void*, const XML_Char*, int length) { counted += static_cast<size_t>(length); });
  if (XML_Parse(parser, xml.data(), static_cast<int>(xml.size()), 1) != XML_STATUS_OK) die("expat fails");
  XML_ParserFree(parser);
}

void libxml2_sax(const std::string& xml) {
  xmlSAXHandler handler{};
  handler.initialized = XML_SAX2_MAGIC;
  handler.startElementNs = [](void*, const xmlChar*, const xmlChar*, const xmlChar*, int, const xmlChar**, int, int, const xmlChar**) { counted++; };
  handler.endElementNs = [](void*, const xmlChar*, const xmlChar*, const xmlChar*) { counted++; };
  handler.characters = [](void*, const xmlChar*, int length) { counted += static_cast<size_t>(length); };
  if (xmlSAXUserParseMemory(&handler, nullptr, xml.data(), static_cast<int>(xml.size())) != 0) die("libxml2 (SAX) fails");
}

void libxml2_reader(const std::string& xml) {
  xmlTextReaderPtr reader = xmlReaderForMemory(xml.data(), static_cast<int>(xml.size()), nullptr, nullptr, XML_PARSE_HUGE);
  int more = 1;
  for (; more == 1; more = xmlTextReaderRead(reader)) counted++;
  if (more != 0) die("libxml2 (reader) fails");
  xmlFreeTextReader(reader);
}

// It parses in place, and so needs a fresh copy each time, as whoever reads a file has one.
void pugixml(const std::string& xml) {
  static std::vector<char> copy;
  copy.assign(xml.begin(), xml.end());
  pugi::xml_document document;
  if (!document.load_buffer_inplace(copy.data(), copy.size(), pugi::parse_default | pugi::parse_ws_pcdata, pugi::encoding_utf8)) die("pugixml fails");
  counted += static_cast<size_t>(document.child("segment").first_child().empty());
}

void pugixml_minimal(const std::string& xml) {
  static std::vector<char> copy;
  copy.assign(xml.begin(), xml.end());
  pugi::xml_document document;
  if (!document.load_buffer_inplace(copy.data(), copy.size(), pugi::parse_minimal, pugi::encoding_utf8)) die("pugixml (minimal) fails");
  counted += static_cast<size_t>(document.child("segment").first_child().empty());
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double best_rate(void (*parse)(const std::string&), const std::string& xml, double seconds) {
  double best = 1e9;
  parse(xml);
  for (const double until = seconds_now() + seconds; seconds_now() < until;) {
    const double begun = seconds_now();
    parse(xml);
    best = std::min(best, seconds_now() - begun);
  }
  return static_cast<double>(xml.size()) / best / (1 << 20);
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) die("parsers FILE SECONDS");
  std::ifstream file(words[1], std::ios::binary);
  const std::string xml((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (xml.empty()) die("the file is empty");
  const double seconds = std::strtod(words[2], nullptr);
  struct Parser {
    const char* name;
    void (*parse)(const std::string&);
  };
  const Parser parsers[] = {{"expat", expat}, {"libxml2, SAX", libxml2_sax}, {"libxml2, reader", libxml2_reader},
                            {"pugixml", pugixml}, {"pugixml, minimal", pugixml_minimal}};
  std::printf("{");
  for (const auto& [name, parse] : parsers) std::printf("\"%s\":%.2f,", name, best_rate(parse, xml, seconds));
  std::printf("\"counted\":%zu}\n", counted);
}
