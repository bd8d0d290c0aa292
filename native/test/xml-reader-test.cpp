#include "../core/xml-reader.h"

#include <string>
#include <vector>

#include "check.h"
#include "segment-model.h"

namespace usher {
namespace {

using namespace usher::test;

// What a document says, in one line: <{uri}local {uri}a=v …>, text, <?target>, </>. Adjacent texts are
// joined.
std::string told(std::string_view document) {
  // In memory of exactly its size, so that a sanitizer sees every byte read too many.
  const std::vector<uint8_t> exact(document.begin(), document.end());
  XmlReader reader(exact);
  std::string out;
  const auto name = [](std::string_view uri, std::string_view local) {
    return (uri.empty() ? "" : "{" + std::string(uri) + "}") + std::string(local);
  };
  for (;;) {
    switch (reader.next()) {
      case XmlToken::start_element:
        out += "<" + name(reader.uri(), reader.local());
        for (const XmlAttribute& attribute : reader.attributes()) {
          if (attribute.uri == "http://www.w3.org/2000/xmlns/") continue;
          out += " " + name(attribute.uri, attribute.local) + "=" + std::string(attribute.value);
        }
        out += ">";
        break;
      case XmlToken::end_element: out += "</>"; break;
      case XmlToken::text: out += reader.text(); break;
      case XmlToken::instruction: out += "<?" + std::string(reader.target()) + ">"; break;
      case XmlToken::end: return out;
      case XmlToken::failure: {
        const SegmentFailure& failure = reader.failure();
        CHECK_EQ(reader.next(), XmlToken::failure);
        return std::string(name_of(failure.code)) + " " + std::to_string(failure.place.line) + ":" +
               std::to_string(failure.place.column);
      }
    }
  }
}

}  // namespace

TEST("reads elements, attributes in either quote, text and empty elements") {
  CHECK_EQ(told("<a/>"), std::string("<a></>"));
  CHECK_EQ(told("<a b = 'x\"y'\n c=\"'\" >t<b />u</a >"), std::string("<a b=x\"y c='>t<b></>u</>"));
}

TEST("passes over the declaration, a byte order mark, comments and instructions around the root") {
  CHECK_EQ(told("\xef\xbb\xbf<?xml version='1.0' encoding='utf-8' standalone=\"no\" ?>\r\n<!-- -x- --><?p "
                "q?><a/>\n<!----><?r?>"),
           std::string("<?p><a></><?r>"));
  CHECK_EQ(told("<?xml version=\"1.0\"?><a/>"), std::string("<a></>"));
  CHECK_EQ(told("<?xml-stylesheet href='x'?><a/>"), std::string("<?xml-stylesheet><a></>"));
}

TEST("resolves the five entities and character references, in text and in attributes") {
  CHECK_EQ(told("<a "
                "b='&amp;&lt;&gt;&quot;&apos;&#65;&#x42;&#9;&#xa;'>&amp;&lt;&gt;&quot;&apos;&#x1F600;&#"
                "0000067;</a>"),
           std::string("<a b=&<>\"'AB\t\n>&<>\"'\xf0\x9f\x98\x80"
                       "C</>"));
}

TEST("normalises line ends in text and CDATA, and white space in attributes") {
  CHECK_EQ(told("<a b='1\r\n2\r3\n4\t5&#13;'>1\r\n2\r3\r\r\n4&#13;<![CDATA[5\r\n6\r]]></a>"),
           std::string("<a b=1 2 3 4 5\r>1\n2\n3\n\n4\r5\n6\n</>"));
}

TEST("keeps what stands in CDATA as it stands") {
  CHECK_EQ(told("<a><![CDATA[<b>&amp;]]]]><![CDATA[>]]></a>"), std::string("<a><b>&amp;]]></>"));
  CHECK_EQ(told("<a><![CDATA[]]></a>"), std::string("<a></>"));
}

TEST("resolves namespaces by the declarations in scope") {
  CHECK_EQ(told("<a xmlns='u'><b/><c xmlns=''/><p:d xmlns:p='v' p:x='1' x='2'/></a>"),
           std::string("<{u}a><{u}b></><c></><{v}d {v}x=1 x=2></></>"));
  CHECK_EQ(told("<a xml:lang='e'/>"), std::string("<a {http://www.w3.org/XML/1998/namespace}lang=e></>"));
}

TEST("takes names of all of Unicode that XML takes") {
  CHECK_EQ(told("<\xc3\xa4\xc2\xb7-.9 \xe2\x86\x90='1'/>"), std::string("xml_malformed 1:10"));
  CHECK_EQ(told("<\xc3\xa4\xc2\xb7-.9 _\xcd\x80='1'/>"), std::string("<\xc3\xa4\xc2\xb7-.9 _\xcd\x80=1></>"));
}

TEST("refuses document types and foreign entities, versions and encodings as forbidden") {
  for (const std::string_view document :
       {"<!DOCTYPE a><a/>", "<a>&nbsp;</a>", "<a b='&x;'/>", "<?xml version='1.1'?><a/>",
        "<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "\xff\xfe<", "\xfe\xff\x00<"}) {
    CHECK(told(document).starts_with("xml_forbidden 1:"));
  }
  std::string deep;
  for (size_t i = 0; i <= XmlReader::depth_max; i++) deep += "<a>";
  CHECK_EQ(told(deep), std::string("xml_forbidden 1:769"));
}

TEST("says by line and column where a document stops being well-formed") {
  const struct {
    std::string_view document;
    std::string_view place;
  } cases[] = {
      {"", "1:1"},
      {" \n", "2:1"},
      {"x<a/>", "1:1"},
      {"<a/>x", "1:5"},
      {"<a/><b/>", "1:5"},
      {"<a>\r\n\r<b></a>", "3:4"},
      {"<a", "1:3"},
      {"<a b", "1:5"},
      {"<a b='", "1:7"},
      {"<a>", "1:4"},
      {"<a></b>", "1:4"},
      {"</a>", "1:1"},
      {"<a b='1'c='2'/>", "1:9"},
      {"<a b='1' b='2'/>", "1:10"},
      {"<a b=1/>", "1:6"},
      {"<a b='<'/>", "1:7"},
      {"<a b/>", "1:5"},
      {"<a>&</a>", "1:4"},
      {"<a>&amp</a>", "1:4"},
      {"<a>&#0;</a>", "1:4"},
      {"<a>&#xD800;</a>", "1:4"},
      {"<a>&#xFFFE;</a>", "1:4"},
      {"<a>&#99999999999999999999;</a>", "1:4"},
      {"<a>&#x;</a>", "1:4"},
      {"<a>&#X41;</a>", "1:4"},
      {"<a>]]></a>", "1:4"},
      {"<a><!-- -- --></a>", "1:9"},
      {"<a><!-- --->", "1:9"},
      {"<a><?xml version='1.0'?></a>", "1:4"},
      {"<a><?XmL?></a>", "1:4"},
      {"<a><?p:q?></a>", "1:7"},
      {"<a><?1?></a>", "1:6"},
      {" <?xml version='1.0'?><a/>", "1:2"},
      {"<?xml encoding='UTF-8'?><a/>", "1:7"},
      {"<?xml version='1.0'encoding='UTF-8'?><a/>", "1:20"},
      {"<?xml version='1.0' standalone='maybe'?><a/>", "1:21"},
      {"<a><![CDATA[x]]</a>", "1:20"},
      {"<![CDATA[x]]><a/>", "1:1"},
      {"<p:a/>", "1:1"},
      {"<a p:b='1'/>", "1:4"},
      {"<a xmlns:p=''/>", "1:4"},
      {"<a xmlns:xmlns='u'/>", "1:4"},
      {"<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", "1:36"},
      {"<a:b:c xmlns:a='u'/>", "1:5"},
      {"<:a/>", "1:2"},
      {"<1a/>", "1:2"},
      {"<a>\x01</a>", "1:4"},
      {"<a>\n\xc3(</a>", "2:1"},
      {"<a>\xed\xa0\x80</a>", "1:4"},
      {"<a>\xef\xbf\xbe</a>", "1:4"},
      {"<a>\xc0\x80</a>", "1:4"},
      {"<a></b>\xff", "1:4"},
      {"<?xml version='1.0' encoding='US-ASCII'?><a>\xc3\xa4</a>", "1:45"},
      {"<!x><a/>", "1:1"},
      {"<a / >", "1:4"},
  };
  for (const auto& [document, place] : cases) {
    const std::string expected = "xml_malformed " + std::string(place);
    if (!CHECK_EQ(told(document), expected)) check(false, __FILE__, __LINE__, show(document));
  }
}

TEST("refuses a document that is cut at any byte") {
  const std::string document =
      "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?><!-- c --><p:a xmlns:p=\"u\" "
      "b='&#65;'>&lt;<![CDATA[x]]>\xc3\xa4<?q r?></p:a>";
  CHECK(!told(document).starts_with("xml_"));
  for (size_t length = 0; length < document.size(); length++) {
    const std::string found = told(std::string_view(document).substr(0, length));
    if (!CHECK(found.starts_with("xml_malformed ")))
      check(false, __FILE__, __LINE__, std::to_string(length) + found);
  }
}

}  // namespace usher
