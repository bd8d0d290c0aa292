#include "../core/transform.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "../core/xxh64.h"
#include "check.h"
#include "job-model.h"
#include "segment-model.h"

namespace usher {
namespace {

using namespace usher::test;

struct Reading {
  std::string jsonl;
  uint64_t jobs;
  // `code line:column`; empty: none.
  std::string failure;
  std::string reason;
};

Reading outcome_of(std::string_view xml, const CanonicalKernel* kernel) {
  // In memory of exactly its size, so that a sanitizer sees every byte read too many.
  const std::vector<uint8_t> exact(xml.begin(), xml.end());
  const Transformed result = transform(exact, kernel);
  Reading outcome{{}, result.jobs, {}, result.failure.reason};
  if (result.bytes > 0) outcome.jsonl.assign(reinterpret_cast<const char*>(result.jsonl.get()), result.bytes);
  if (result.failure) {
    outcome.failure = std::string(name_of(result.failure.code)) + " " +
                      std::to_string(result.failure.place.line) + ":" +
                      std::to_string(result.failure.place.column);
    CHECK(!result.failure.reason.empty());
    CHECK_EQ(outcome.jsonl, std::string());
  }
  return outcome;
}

// The XML reader and each kernel of the fast way must agree.
Reading agreed(std::string_view xml) {
  const Reading general = outcome_of(xml, nullptr);
  for (const CanonicalKernel* kernel : canonical_kernels()) {
    const Reading fast = outcome_of(xml, kernel);
    const bool same = CHECK_EQ(fast.jsonl, general.jsonl) && CHECK_EQ(fast.jobs, general.jobs) &&
                      CHECK_EQ(fast.failure, general.failure) && CHECK_EQ(fast.reason, general.reason);
    if (!same) check(false, __FILE__, __LINE__, std::string("by the kernel ") + kernel->name);
  }
  return general;
}

// The fast way only works where enough of the document follows: with a comment behind it all ways are gone.
Reading read(std::string_view xml) {
  const Reading general = agreed(xml);
  const Reading padded = agreed(std::string(xml) + "<!--" + std::string(2000, ' ') + "-->");
  CHECK_EQ(padded.jsonl, general.jsonl);
  CHECK_EQ(padded.failure, general.failure);
  return general;
}

std::string segment_with(std::string_view inside) {
  return segment_head + std::string(inside) + segment_tail;
}

std::string spec_of(const Reading& outcome) {
  const size_t from = outcome.jsonl.find("\"spec\":");
  const size_t to = outcome.jsonl.find(",\"provenance\":");
  if (from == std::string::npos || to == std::string::npos) return outcome.failure + outcome.reason;
  return outcome.jsonl.substr(from + 7, to - from - 7);
}

std::string spec(std::string_view inside) { return spec_of(read(segment_with(job_line(1, inside)))); }

// Where a job with this content fails, relative to the content's first byte.
std::string refused(std::string_view inside) {
  const Reading outcome = read(segment_with("\n" + job_line(1, "\n" + std::string(inside))));
  return outcome.failure;
}

const std::string with_everything =
    "<job id=\"9f8c2e71a4b0d3e5-17\" at=\"2026-11-23T04:00:00.124Z\" cluster=\"main\" "
    "traceparent=\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"><name>n</name>"
    "<executable>/bin/echo</executable><arguments><argument>hello</argument><argument></argument></arguments>"
    "<directory>/tmp</directory><inherit_environment>false</inherit_environment>"
    "<environment><variable name=\"A\">1</variable><variable name=\"B\"></variable></environment>"
    "<stdin_path>i</stdin_path><stdout_path>o</stdout_path><stderr_path>e</stderr_path>"
    "<resources><node_count>2</node_count><process_count>4</process_count>"
    "<processes_per_node>2</processes_per_node><cpu_cores_per_process>1</cpu_cores_per_process>"
    "<gpu_cores_per_process>0</gpu_cores_per_process><exclusive_node_use>true</exclusive_node_use>"
    "<memory>1073741824</memory></resources><attributes><duration>7205</duration><queue_name>q</queue_name>"
    "<account>a</account><reservation_id>r</reservation_id><custom_attributes><attribute "
    "name=\"k\">v</attribute>"
    "</custom_attributes></attributes><pre_launch>b</pre_launch><post_launch>c</post_launch>"
    "<launcher>single</launcher></job>\n";

}  // namespace

TEST("writes a job with every field as docs/store.md shows it, to the byte") {
  const Reading outcome = read(segment_with(with_everything));
  const std::string hashed =
      "\"cluster\":\"main\",\"spec\":{\"name\":\"n\",\"executable\":\"/bin/"
      "echo\",\"arguments\":[\"hello\",\"\"],"
      "\"directory\":\"/tmp\",\"inherit_environment\":false,\"environment\":{\"A\":\"1\",\"B\":\"\"},"
      "\"stdin_path\":\"i\",\"stdout_path\":\"o\",\"stderr_path\":\"e\",\"resources\":{\"__version\":1,"
      "\"node_count\":2,\"process_count\":4,\"processes_per_node\":2,\"cpu_cores_per_process\":1,"
      "\"gpu_cores_per_process\":0,\"exclusive_node_use\":true,\"memory\":1073741824},"
      "\"attributes\":{\"duration\":\"7205 "
      "s\",\"queue_name\":\"q\",\"account\":\"a\",\"reservation_id\":\"r\","
      "\"custom_attributes\":{\"k\":\"v\"}},\"pre_launch\":\"b\",\"post_launch\":\"c\",\"launcher\":"
      "\"single\"}";
  uint8_t digest[16];
  write_hex16(xxh64(as_bytes(hashed)), digest);
  const std::string expected =
      "{\"id\":\"9f8c2e71a4b0d3e5-17\",\"digest\":\"" + std::string(digest, digest + 16) +
      "\",\"accepted\":\"2026-11-23T04:00:00.124Z\","
      "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"," +
      hashed +
      ",\"provenance\":{\"store\":\"s\",\"host\":\"h\",\"instance\":\"h-1\",\"pid\":4711,\"version\":\"0.1."
      "0\","
      "\"config\":\"c\",\"segment\":17,\"index\":0}}\n";
  CHECK_EQ(outcome.failure, std::string());
  CHECK_EQ(outcome.jsonl, expected);
}

TEST("leaves out defaults and what is empty") {
  const std::string bare = "{\"executable\":\"x\"}";
  CHECK_EQ(spec("<executable>x</executable>"), bare);
  CHECK_EQ(spec("<executable>x</executable><inherit_environment>true</inherit_environment>"), bare);
  CHECK_EQ(spec("<executable>x</executable><arguments></arguments><environment/><resources/><attributes/>"),
           bare);
  CHECK_EQ(
      spec("<executable>x</executable><resources><exclusive_node_use>false</exclusive_node_use></resources>"
           "<attributes><custom_attributes/></attributes>"),
      bare);
}

TEST("keeps text to the byte and escapes it for JSON") {
  CHECK_EQ(spec("<executable> a\tb\nc&#13;&quot;\\&amp;&lt;&gt;&#127;\xf0\x9f\x98\x80 </executable>"),
           std::string("{\"executable\":\" a\\tb\\nc\\r\\\"\\\\&<>\x7f\xf0\x9f\x98\x80 \"}"));
  CHECK_EQ(spec("<executable>a<!-- c -->b<?p?><![CDATA[<&]]>&#x63;</executable>"),
           std::string("{\"executable\":\"ab<&c\"}"));
  for (size_t length = 1; length < 70; length++) {
    const std::string before(length, 'x');
    CHECK_EQ(spec("<executable>" + before + "\"" + before + "&amp;</executable>"),
             "{\"executable\":\"" + before + "\\\"" + before + "&\"}");
  }
}

TEST("gives the same digest whatever the order of names, and another for any other content") {
  const auto digest = [](std::string_view inside) {
    const Reading outcome = read(segment_with(job_line(1, inside)));
    return outcome.jsonl.substr(outcome.jsonl.find("\"digest\":"), 27);
  };
  const std::string sorted = digest(
      "<executable>x</executable><environment><variable name='A'>1</variable><variable "
      "name='B'>2</variable></environment>");
  CHECK_EQ(digest("<executable>x</executable><environment><variable name='B'>2</variable><variable "
                  "name='A'>1</variable></environment>"),
           sorted);
  CHECK(digest("<executable>x</executable><environment><variable name='B'>1</variable><variable "
               "name='A'>2</variable></environment>") != sorted);
  CHECK_EQ(
      spec("<executable>x</executable><attributes><custom_attributes><attribute "
           "name=\"\xc3\xa4\">1</attribute>"
           "<attribute name=\"z\">2</attribute></custom_attributes></attributes>"),
      std::string(
          "{\"executable\":\"x\",\"attributes\":{\"custom_attributes\":{\"z\":\"2\",\"\xc3\xa4\":\"1\"}}}"));
}

TEST("takes segments written with a prefix, hints for validators and white space anywhere") {
  const Reading outcome = read(
      "<u:segment xmlns:u='urn:usher:segment:1' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'\n"
      " xsi:schemaLocation='urn:usher:segment:1 segment.xsd' opened=' 2026-11-23T04:00:00.123Z ' number=' "
      "17\n' "
      "config='c' version='v' pid='1' instance='i' host='h' store='s'>\n\n <u:job cluster='m' "
      "at='\t2026-11-23T04:00:00.124Z' "
      "id='9f8c2e71a4b0d3e5-0'\n>\n <u:executable>x</u:executable>\n<u:resources> <u:node_count> "
      "2\n</u:node_count></u:resources></u:job\n></u:segment >");
  CHECK_EQ(outcome.failure, std::string());
  CHECK_EQ(spec_of(outcome),
           std::string("{\"executable\":\"x\",\"resources\":{\"__version\":1,\"node_count\":2}}"));
}

TEST("writes random jobs of the segment writer the same fast as by the XML reader") {
  Random random(seed());
  ClusterNames clusters;
  clusters.names = {"main", "a&b", "\"q\"\\"};
  clusters.default_index = 0;
  std::string xml = segment_head;
  for (uint64_t jobs = 1; jobs <= 2000; jobs++) {
    xml += random_job(random, clusters).xml;
    if (random.one_in(50)) xml += mark_behind(xml, jobs);
  }
  xml += mark_behind(xml, 2000) + segment_tail;
  const Reading outcome = read(xml);
  CHECK_EQ(outcome.failure, std::string());
  CHECK_EQ(outcome.jobs, 2000u);
  CHECK(!outcome.jsonl.empty());
}

TEST("refuses or takes randomly damaged segments the same fast as by the XML reader") {
  Random random(seed());
  const std::string whole = segment_with(with_everything + job_line(2) + with_everything + job_line(3));
  constexpr std::string_view bytes = "<>&\"'/=\\ \n\r\t]-?!;a0:\x01\x80\xc3\x7f";
  for (int i = 0; i < 3000; i++) {
    std::string xml = whole;
    for (uint64_t n = 1 + random.below(3); n > 0; n--) {
      const size_t at = random.below(xml.size());
      if (random.one_in(3)) xml.erase(at, 1 + random.below(8));
      else if (random.one_in(2)) xml.insert(at, 1, bytes[random.below(bytes.size())]);
      else xml[at] = bytes[random.below(bytes.size())];
    }
    // What is wrong with the end of the document is wrong somewhere else with a comment behind it.
    const std::string padded = xml + "<!--" + std::string(2000, ' ') + "-->";
    agreed(padded);
  }
}

TEST("takes what stands on the last pages of memory without reading behind them") {
  Random random(seed());
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::string jobs;
  for (uint64_t n = 1; n < 8; n++) jobs += n % 2 == 0 ? with_everything : job_line(n);
  for (int i = 0; i < 200; i++) {
    // The document ends anywhere behind a job, with no page behind its last byte.
    std::string xml = segment_with(jobs);
    if (random.one_in(2)) xml.resize(xml.size() - random.below(xml.size() / 2));
    xml.insert(segment_head.size(), std::string(random.below(130), ' '));
    const size_t bytes = (xml.size() + page - 1) / page * page;
    void* const memory =
        mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(memory != MAP_FAILED)) return;
    CHECK_EQ(mprotect(static_cast<uint8_t*>(memory) + bytes, page, PROT_NONE), 0);
    uint8_t* const start = static_cast<uint8_t*>(memory) + (bytes - xml.size());
    std::memcpy(start, xml.data(), xml.size());
    const Transformed general = transform({start, xml.size()}, nullptr);
    for (const CanonicalKernel* kernel : canonical_kernels()) {
      const Transformed fast = transform({start, xml.size()}, kernel);
      CHECK(fast.jobs == general.jobs && fast.bytes == general.bytes && fast.failure.reason == general.failure.reason);
      CHECK(fast.bytes == 0 || std::memcmp(fast.jsonl.get(), general.jsonl.get(), fast.bytes) == 0);
    }
    CHECK_EQ(munmap(memory, bytes + page), 0);
  }
}

TEST("copies text of any length with what must be escaped anywhere in it") {
  constexpr std::string_view odd[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#13;", "\"", "\\", "\n", "\t", "\xc3\xa4", "\x7f",
                                      "&#10;", "&#9;", "&apos;", "]]", "&#xA;", "&#34;", "\r", "]]>", "&", "&am", "\x01"};
  for (const std::string_view special : odd) {
    std::string jobs;
    for (size_t before = 0; before < 140; before += before < 70 ? 1 : 7) {
      const std::string text = std::string(before, 'x') + std::string(special) + std::string(before % 67, 'y');
      jobs += job_line(1, "<executable>" + text + "</executable><environment><variable name=\"" + text + "\">" + text +
                              "</variable></environment>");
    }
    read(segment_with(jobs));
  }
}

TEST("takes integers of any number of digits as the schema has them") {
  for (const std::string_view name : {"node_count", "gpu_cores_per_process", "memory"}) {
    for (size_t digits = 0; digits < 24; digits++) {
      for (const char* first : {"0", "1", "2", "9", "x", "+", "/", ":"}) {
        for (const char rest : {'0', '1', '9', ':'}) {
          const std::string number = digits == 0 ? "" : first + std::string(digits - 1, rest);
          read(segment_with(job_line(1, "<executable>x</executable><resources><" + std::string(name) + ">" + number + "</" +
                                            std::string(name) + "></resources>")));
        }
      }
    }
  }
  for (const char* number : {"2147483647", "2147483648", "9007199254740991", "9007199254740992", "9999999999999999"}) {
    read(segment_with(job_line(1, "<executable>x</executable><resources><node_count>" + std::string(number) + "</node_count></resources>")));
    read(segment_with(job_line(1, "<executable>x</executable><resources><memory>" + std::string(number) + "</memory></resources>")));
  }
}

TEST("takes ids and times whatever those of the job before were") {
  const auto job = [](const std::string& id, const std::string& at) {
    return "<job id=\"" + id + "\" at=\"" + at + "\" cluster=\"main\"><executable>x</executable></job>\n";
  };
  const std::string good = "2026-11-23T04:00:00.124Z";
  for (const char* id : {"9f8c2e71a4b0d3e5-0", "9f8c2e71a4b0d3e5-00", "9f8c2e71a4b0d3e5-", "9f8c2e71a4b0d3e5-18446744073709551615",
                         "9f8c2e71a4b0d3e5-18446744073709551616", "9f8c2e71a4b0d3e5-184467440737095516150", "9F8c2e71a4b0d3e5-1",
                         "9f8c2e71a4b0d3e5_1", "0000000000000000-1", "9f8c2e71a4b0d3e51", "9f8c2e71a4b0d3e5-1234567890123456",
                         "9f8c2e71a4b0d3e5-01234567890123456", "9f8c2e71a4b0d3e5-1x"}) {
    read(segment_with(job(id, good)));
    read(segment_with(job("9f8c2e71a4b0d3e5-7", good) + job(id, good) + job("9f8c2e71a4b0d3e6-7", good)));
  }
  for (const char* at : {"2026-11-23T04:00:00.125Z", "2026-02-29T04:00:00.124Z", "2024-02-29T04:00:00.124Z", "2026-11-23T04:00:00.124z",
                         "2026-11-23T24:00:00.000Z", "2026-11-23T04:00:00.12Z", "2026-11-23T04:00:60.124Z"}) {
    read(segment_with(job("9f8c2e71a4b0d3e5-7", good) + job("9f8c2e71a4b0d3e5-8", at) + job("9f8c2e71a4b0d3e5-9", good)));
  }
}

TEST("says where a job isn't as the schema has it") {
  const struct {
    std::string_view inside;
    std::string_view place;
  } cases[] = {
      {"", "4:1"},
      {"<name>n</name>", "4:1"},
      {"<executable/>", "5:1"},
      {"<executable>x</executable><name>n</name>", "5:27"},
      {"<executable>x</executable><executable>x</executable>", "5:27"},
      {"<directory>x</directory><executable>x</executable>", "4:1"},
      {"<executable>x</executable><nonsense/>", "5:27"},
      {"<executable>x</executable><name xmlns='other'>n</name>", "5:27"},
      {"<executable>x</executable>text", "5:27"},
      {"<executable a='b'>x</executable>", "5:13"},
      {"<executable><b/></executable>", "5:13"},
      {"<executable>x</executable><arguments>x</arguments>", "5:38"},
      {"<executable>x</executable><arguments><arg/></arguments>", "5:38"},
      {"<executable>x</executable><inherit_environment>yes</inherit_environment>", "5:27"},
      {"<executable>x</executable><inherit_environment>1</inherit_environment>", "5:27"},
      {"<executable>x</executable><environment><variable>1</variable></environment>", "5:40"},
      {"<executable>x</executable><environment><variable name=''>1</variable></environment>", "5:50"},
      {"<executable>x</executable><environment><variable name='a=b'>1</variable></environment>", "5:50"},
      {"<executable>x</executable><environment><variable name='a'>1</variable><variable "
       "name='a'>1</variable></environment>",
       "5:71"},
      {"<executable>x</executable><resources><node_count>0</node_count></resources>", "5:38"},
      {"<executable>x</executable><resources><node_count>2147483648</node_count></resources>", "5:38"},
      {"<executable>x</executable><resources><node_count>1.0</node_count></resources>", "5:38"},
      {"<executable>x</executable><resources><node_count>+1</node_count></resources>", "5:38"},
      {"<executable>x</executable><resources><node_count>01</node_count></resources>", "5:38"},
      {"<executable>x</executable><resources><node_count/></resources>", "5:38"},
      {"<executable>x</executable><resources><gpu_cores_per_process>-1</gpu_cores_per_process></resources>",
       "5:38"},
      {"<executable>x</executable><resources><memory>9007199254740992</memory></resources>", "5:38"},
      {"<executable>x</executable><resources><memory>99999999999999999999</memory></resources>", "5:38"},
      {"<executable>x</executable><attributes><duration>0</duration></attributes>", "5:39"},
      {"<executable>x</executable><attributes><account>a</account><queue_name>q</queue_name></attributes>",
       "5:59"},
  };
  for (const auto& [inside, place] : cases) {
    const std::string expected = "schema_violated " + std::string(place);
    if (!CHECK_EQ(refused(inside), expected)) check(false, __FILE__, __LINE__, show(inside));
  }
}

TEST("says which attribute of a job or of the segment isn't as the schema has it") {
  const auto changed = [](std::string text, std::string_view from, std::string_view to) {
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  for (const auto& [from, to] :
       {std::pair("9f8c", "9F8C"), std::pair("-1\"", "-01\""), std::pair("-1\"", "-18446744073709551616\""),
        std::pair("-1\"", "\""), std::pair("2026-11-23", "2026-02-29"),
        std::pair("04:00:00.124Z", "04:00:00.124"), std::pair("04:00", "24:00"),
        std::pair("\"main\"", "\"\""), std::pair(" cluster=\"main\"", ""),
        std::pair("cluster=", "nonsense='' cluster="), std::pair("<job ", "<job xml:lang='e' "),
        std::pair("<job ", "<job traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1' "),
        std::pair("<job ", "<job traceparent='00-00000000000000000000000000000000-b7ad6b7169203331-01' "),
        std::pair("<job ", "<job traceparent='ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' ")}) {
    CHECK(read(segment_with(changed(job_line(1), from, to))).failure.starts_with("schema_violated 3:"));
  }
  for (const auto& [from, to] :
       {std::pair("urn:usher:segment:1", "urn:usher:segment:2"), std::pair(" store=\"s\"", ""),
        std::pair(" host=\"h\"", " host=\"\""), std::pair("h-1", "h/1"), std::pair("4711", "0"),
        std::pair("4711", "x"), std::pair("number=\"17\"", "number=\"10000000000\""),
        std::pair("opened", "closed"), std::pair(":00.123Z", ":60.123Z")}) {
    CHECK(read(changed(segment_with(job_line(1)), from, to)).failure.starts_with("schema_violated 2:"));
  }
  CHECK_EQ(read("<a/>").failure, std::string("schema_violated 1:1"));
  CHECK_EQ(read(segment_with("text")).failure, std::string("schema_violated 3:1"));
}

TEST("takes segments without jobs, with comments around, and without marks") {
  const Reading outcome = read("<!-- c --><?p q?>" + segment_head.substr(segment_head.find('\n') + 1) +
                               "<!-- c --><?p q?>" + segment_tail);
  CHECK_EQ(outcome.failure, std::string());
  CHECK_EQ(outcome.jobs, 0u);
  CHECK_EQ(read(segment_with(job_line(1) + job_line(2))).jobs, 2u);
}

TEST("takes groups that are padded to whole blocks, and still says where text stands between jobs") {
  const auto segment_with_groups = [](bool padded, std::string_view odd) {
    std::string xml = segment_head;
    for (uint64_t job = 1; job <= 5; job++) {
      xml += job_line(job);
      xml += mark_behind(xml, job);
      if (job == 3) xml += odd;
      if (padded) xml += padding_behind(xml);
    }
    xml += segment_tail;
    return padded ? xml + padding_behind(xml) : xml;
  };
  const Reading padded = read(segment_with_groups(true, ""));
  CHECK_EQ(padded.failure, std::string());
  CHECK_EQ(padded.jobs, 5u);
  CHECK_EQ(padded.jsonl, read(segment_with_groups(false, "")).jsonl);
  // Lines are counted through the padding: three of the head, and three for each of two groups.
  CHECK_EQ(read(segment_with_groups(true, "   \n  odd")).failure, std::string("schema_violated 12:3"));
  CHECK_EQ(read(segment_with_groups(true, "    odd")).failure, std::string("schema_violated 11:5"));
}

TEST("checks commit marks and names the one that is false") {
  std::string good = segment_head + job_line(1);
  good += mark_behind(good, 1);
  const std::string first_mark = good.substr(good.rfind("<?"));
  good += job_line(2);
  good += mark_behind(good, 2);
  CHECK_EQ(read(good + segment_tail).failure, std::string());
  const auto changed = [&good](std::string_view from, std::string_view to) {
    std::string text = good + segment_tail;
    text.replace(text.rfind(from), from.size(), to);
    return read(text);
  };
  for (const auto& [from, to] : {std::pair("jobs=\"2\"", "jobs=\"3\""), std::pair("bytes=\"", "bytes=\"1"),
                                 std::pair("crc32c=\"", "crc32c='"), std::pair("/bin/echo", "/bin/ecHo"),
                                 std::pair("</job>", "</jo>")}) {
    const Reading outcome = changed(from, to);
    CHECK(outcome.failure.starts_with("segment_corrupt "));
    CHECK(outcome.reason.find("usher-commit jobs=") != std::string::npos);
  }
  const Reading unmarked = read(good + job_line(3) + segment_tail);
  CHECK_EQ(unmarked.failure, std::string("segment_corrupt 8:1"));
  // A true mark behind the trouble says that the bytes are as they were written: it isn't damage.
  std::string wrong = segment_head + job_line(1, "<nonsense/>");
  wrong += mark_behind(wrong, 1);
  CHECK(read(wrong + segment_tail).failure.starts_with("schema_violated 3:"));
}

}  // namespace usher
