#include "../core/job-xml.h"

#include <algorithm>

#include "check.h"
#include "job-model.h"

using namespace usher;
using namespace usher::test;

namespace {

const ClusterNames one = {{"main"}, 0};
const ClusterNames several = {{"main", "gpu & \"big\"", "m"}, -1};
const ClusterNames with_default = {{"main", "gpu & \"big\"", "m"}, 1};

constexpr std::string_view trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

std::string start(std::string_view cluster = "main") {
  return "<job id=\"9f8c2e71a4b0d3e5-17\" at=\"2026-11-23T04:00:00.124Z\" cluster=\"" + std::string(cluster) +
         "\"";
}

void accepts(const JobEncoding& job, const std::string& inside, const ClusterNames& clusters = one) {
  const Outcome outcome = write_job(job.bytes(), clusters);
  if (!CHECK(outcome.accepted)) {
    check(false, __FILE__, __LINE__, "code " + shown(outcome.refusal.code) + " for " + show(inside));
    return;
  }
  CHECK_EQ(outcome.xml, start() + ">" + inside + "</job>\n");
}

void refuses(const JobEncoding& job, Code code, Field field, std::string_view detail,
             const ClusterNames& clusters = one) {
  const Outcome outcome = write_job(job.bytes(), clusters);
  const std::string_view bytes(reinterpret_cast<const char*>(job.bytes().data()), job.size());
  if (!CHECK(!outcome.accepted) || !CHECK_EQ(outcome.refusal.code, code) ||
      !CHECK_EQ(outcome.refusal.field, field) || !CHECK_EQ(outcome.refusal.detail_text(), detail)) {
    check(false, __FILE__, __LINE__, "job: " + show(bytes));
  }
}

JobEncoding job() { return JobEncoding().field(4, "x"); }

// All fields of the protocol, as docs/store.md shows them.
JobEncoding full_job() {
  return JobEncoding()
      .field(1, "main")
      .field(2, trace)
      .field(3, "n")
      .field(4, "/bin/echo")
      .field(5, "hello")
      .field(5, "")
      .field(6, "/tmp")
      .boolean(7, false)
      .pair(8, "A", "1")
      .pair(8, "AB", "")
      .field(9, "in")
      .field(10, "out")
      .field(11, "err")
      .integer(16, 2)
      .integer(17, 4)
      .integer(18, 2)
      .integer(19, 1)
      .integer(20, 0)
      .boolean(21, true)
      .integer(22, 1073741824)
      .integer(32, 7205)
      .field(33, "q")
      .field(34, "a")
      .field(35, "r")
      .pair(36, "k", "v")
      .field(48, "before")
      .field(49, "after")
      .field(50, "single");
}

constexpr std::string_view full_inside =
    "<name>n</name><executable>/bin/echo</executable><arguments><argument>hello</argument><argument></"
    "argument>"
    "</arguments><directory>/tmp</directory><inherit_environment>false</inherit_environment><environment>"
    "<variable name=\"A\">1</variable><variable "
    "name=\"AB\"></variable></environment><stdin_path>in</stdin_path>"
    "<stdout_path>out</stdout_path><stderr_path>err</stderr_path><resources><node_count>2</node_count>"
    "<process_count>4</process_count><processes_per_node>2</processes_per_node>"
    "<cpu_cores_per_process>1</cpu_cores_per_process><gpu_cores_per_process>0</gpu_cores_per_process>"
    "<exclusive_node_use>true</exclusive_node_use><memory>1073741824</memory></resources><attributes>"
    "<duration>7205</duration><queue_name>q</queue_name><account>a</account><reservation_id>r</"
    "reservation_id>"
    "<custom_attributes><attribute name=\"k\">v</attribute></custom_attributes></attributes>"
    "<pre_launch>before</pre_launch><post_launch>after</post_launch><launcher>single</launcher>";

struct Tag {
  unsigned tag;
  Field field;
};

constexpr Tag text_tags[] = {{3, Field::name},         {4, Field::executable},  {6, Field::directory},
                             {9, Field::stdin_path},   {10, Field::stdout_path}, {11, Field::stderr_path},
                             {33, Field::queue_name},  {34, Field::account},    {35, Field::reservation_id},
                             {48, Field::pre_launch},  {49, Field::post_launch}, {50, Field::launcher}};

// A job whose last field is `tag`, with what must stand before it.
JobEncoding before(unsigned tag) { return tag > 4 ? job() : JobEncoding(); }

std::string offset(const JobEncoding& job) { return std::to_string(job.size()); }

}  // namespace

TEST("a job with every field becomes the element that docs/store.md shows") {
  const Outcome outcome = write_job(full_job().bytes(), one);
  CHECK(outcome.accepted);
  CHECK_EQ(outcome.xml,
           start() + " traceparent=\"" + std::string(trace) + "\">" + std::string(full_inside) + "</job>\n");
}

TEST("a job with its executable alone gets the default cluster and nothing else") {
  accepts(job(), "<executable>x</executable>");
  const Outcome outcome = write_job(job().bytes(), with_default);
  CHECK_EQ(outcome.xml, start("gpu &amp; &quot;big&quot;") + "><executable>x</executable></job>\n");
}

TEST("ids are written as 16 hexadecimal digits, a hyphen and a decimal, from the least to the greatest") {
  const auto id = [](uint64_t producer, uint64_t sequence) {
    const Outcome outcome = write_job(job().bytes(), one, producer, sequence);
    return outcome.xml.substr(9, outcome.xml.find('"', 9) - 9);
  };
  CHECK_EQ(id(0, 0), "0000000000000000-0");
  CHECK_EQ(id(UINT64_MAX, UINT64_MAX), "ffffffffffffffff-18446744073709551615");
  uint64_t power = 1;
  for (size_t digits = 1; digits <= 20; digits++, power *= 10) {
    CHECK_EQ(id(0xabcdef, power), "0000000000abcdef-" + std::to_string(power));
    CHECK_EQ(id(1, power - 1), "0000000000000001-" + std::to_string(power - 1));
  }
}

TEST("containers are opened and closed around what is in them, and not without") {
  accepts(job().field(5, "a").pair(8, "k", "v"),
          "<executable>x</executable><arguments><argument>a</argument></arguments><environment>"
          "<variable name=\"k\">v</variable></environment>");
  accepts(job().pair(36, "k", "v"),
          "<executable>x</executable><attributes><custom_attributes><attribute name=\"k\">v</attribute>"
          "</custom_attributes></attributes>");
  accepts(job().integer(16, 1).pair(36, "k", "").field(50, "l"),
          "<executable>x</executable><resources><node_count>1</node_count></resources><attributes>"
          "<custom_attributes><attribute name=\"k\"></attribute></custom_attributes></attributes>"
          "<launcher>l</launcher>");
  accepts(job().integer(32, 1), "<executable>x</executable><attributes><duration>1</duration></attributes>");
  accepts(
      job().field(5, "a").boolean(7, true).field(9, "i"),
      "<executable>x</executable><arguments><argument>a</argument></arguments><stdin_path>i</stdin_path>");
}

TEST("booleans that say the default are not written, nor is a container for them") {
  accepts(job().boolean(7, true), "<executable>x</executable>");
  accepts(job().boolean(7, false),
          "<executable>x</executable><inherit_environment>false</inherit_environment>");
  accepts(job().boolean(21, false), "<executable>x</executable>");
  accepts(job().boolean(21, true),
          "<executable>x</executable><resources><exclusive_node_use>true</exclusive_node_use></resources>");
}

TEST("booleans are one byte, 0 or 1") {
  for (const Tag& tag : {Tag{7, Field::inherit_environment}, Tag{21, Field::exclusive_node_use}}) {
    for (const std::string& value :
         {std::string(), std::string("\2"), std::string("\xff"), std::string(2, '\0')}) {
      refuses(job().field(tag.tag, value), Code::field_invalid, tag.field, "5");
    }
  }
}

TEST("integers are taken within their bounds and refused beyond them") {
  struct Bounds {
    unsigned tag;
    Field field;
    const char* name;
    uint64_t least;
    uint64_t greatest;
    bool resource;
  };
  const uint64_t int32_max = 0x7fffffff;
  const Bounds all[] = {{16, Field::node_count, "node_count", 1, int32_max, true},
                        {17, Field::process_count, "process_count", 1, int32_max, true},
                        {18, Field::processes_per_node, "processes_per_node", 1, int32_max, true},
                        {19, Field::cpu_cores_per_process, "cpu_cores_per_process", 1, int32_max, true},
                        {20, Field::gpu_cores_per_process, "gpu_cores_per_process", 0, int32_max, true},
                        {22, Field::memory, "memory", 1, (uint64_t{1} << 53) - 1, true},
                        {32, Field::duration, "duration", 1, int32_max, false}};
  for (const Bounds& bounds : all) {
    const std::string around = bounds.resource ? "resources" : "attributes";
    const std::string name = bounds.name;
    std::vector<uint64_t> good = {bounds.least, bounds.greatest, 9,      10, 99, 100, 101, 255,
                                  256,          65535,           1234567};
    for (const uint64_t value : good) {
      accepts(job().integer(bounds.tag, value), "<executable>x</executable><" + around + "><" + name + ">" +
                                                    std::to_string(value) + "</" + name + "></" + around +
                                                    ">");
    }
    refuses(job().integer(bounds.tag, bounds.greatest + 1), Code::field_invalid, bounds.field, "5");
    refuses(job().integer(bounds.tag, UINT64_MAX), Code::field_invalid, bounds.field, "5");
    refuses(job().field(bounds.tag, ""), Code::field_invalid, bounds.field, "5");
    refuses(job().field(bounds.tag, std::string_view("\1\0", 2)), Code::field_invalid, bounds.field, "5");
    refuses(job().field(bounds.tag, std::string_view("\0\0", 2)), Code::field_invalid, bounds.field, "5");
    refuses(job().field(bounds.tag, "123456789"), Code::field_invalid, bounds.field, "5");
    if (bounds.least == 1) refuses(job().integer(bounds.tag, 0), Code::field_invalid, bounds.field, "5");
  }
}

TEST("texts are escaped and must not be empty, but for arguments and the values of pairs") {
  for (const Tag& tag : text_tags) {
    JobEncoding encoding = before(tag.tag).field(tag.tag, "a<&>\"\r\n\t\xe2\x82\xac");
    if (tag.tag < 4) encoding.field(4, "x");
    const Outcome outcome = write_job(encoding.bytes(), one);
    CHECK(outcome.accepted);
    CHECK(outcome.xml.find(">a&lt;&amp;&gt;\"&#13;\n\t\xe2\x82\xac</") != std::string::npos);
    const JobEncoding prefix = before(tag.tag);
    refuses(JobEncoding(prefix).field(tag.tag, ""), Code::field_invalid, tag.field,
            std::to_string(prefix.size() + 2));
  }
  accepts(job().field(5, "").pair(8, "a\"\t\n\r<&>'", "\"\t\n\r<&>'"),
          "<executable>x</executable><arguments><argument></argument></arguments><environment>"
          "<variable name=\""
          "a&quot;&#9;&#10;&#13;&lt;&amp;&gt;'\">\"\t\n&#13;&lt;&amp;&gt;'</variable></environment>");
}

TEST("text that is not UTF-8 or not XML is refused with the place where it stands") {
  struct Bad {
    std::string_view bytes;
    Code code;
  };
  for (const Bad& bad :
       {Bad{"\x80", Code::text_not_utf8}, Bad{"\xc3", Code::text_not_utf8},
        Bad{"\xed\xa0\x80", Code::text_not_utf8}, Bad{std::string_view("\0", 1), Code::text_not_xml},
        Bad{"\x1b", Code::text_not_xml}, Bad{"\xef\xbf\xbf", Code::text_not_xml}}) {
    const std::string text = "ok" + std::string(bad.bytes);
    for (const Tag& tag : text_tags) {
      const JobEncoding prefix = before(tag.tag);
      refuses(JobEncoding(prefix).field(tag.tag, text), bad.code, tag.field,
              std::to_string(prefix.size() + 4));
    }
    refuses(JobEncoding().field(1, text), bad.code, Field::cluster, "4");
    refuses(JobEncoding().field(2, text), bad.code, Field::traceparent, "4");
    refuses(job().field(5, "").field(5, "").field(5, text), bad.code, Field::arguments, "2");
    refuses(job().pair(8, text, ""), bad.code, Field::environment, "8");
    refuses(job().pair(8, "A", "").pair(8, "KEY", text), bad.code, Field::environment, "KEY");
    refuses(job().pair(36, text, ""), bad.code, Field::custom_attributes, "8");
    refuses(job().pair(36, "label", text), bad.code, Field::custom_attributes, "label");
  }
}

TEST("a long key in a refusal is cut at a character") {
  std::string key(254, 'k');
  key += "\xe2\x82\xac";
  refuses(job().pair(36, key, "\x80"), Code::text_not_utf8, Field::custom_attributes, std::string(254, 'k'));
}

TEST("keys are not empty and ascend strictly; those of the environment have no equals sign") {
  for (const Tag& tag : {Tag{8, Field::environment}, Tag{36, Field::custom_attributes}}) {
    refuses(job().pair(tag.tag, "", "v"), Code::field_invalid, tag.field, "6");
    refuses(job().pair(tag.tag, "b", "").pair(tag.tag, "a", ""), Code::field_order, tag.field, "a");
    refuses(job().pair(tag.tag, "b", "1").pair(tag.tag, "b", "2"), Code::field_order, tag.field, "b");
    refuses(job().pair(tag.tag, "bb", "").pair(tag.tag, "b", ""), Code::field_order, tag.field, "b");
    // Bytes are compared without a sign.
    refuses(job().pair(tag.tag, "\xc3\xa9", "").pair(tag.tag, "z", ""), Code::field_order, tag.field, "z");
    CHECK(write_job(
              job().pair(tag.tag, "b", "").pair(tag.tag, "bb", "").pair(tag.tag, "\xc3\xa9", "").bytes(), one)
              .accepted);
  }
  // The keys of labels begin anew.
  CHECK(write_job(job().pair(8, "z", "").pair(36, "a", "").bytes(), one).accepted);
  refuses(job().pair(8, "A=B", ""), Code::field_invalid, Field::environment, "A=B");
  CHECK(write_job(job().pair(36, "A=B", "=").bytes(), one).accepted);
}

TEST("a pair whose key runs over its field is malformed") {
  refuses(job().field(8, ""), Code::job_malformed, Field::environment, "5");
  refuses(job().field(8, "\2a"), Code::job_malformed, Field::environment, "5");
  refuses(job().field(36, "\x80"), Code::job_malformed, Field::custom_attributes, "5");
  refuses(job().field(36, std::string_view("\x81\0a", 3)), Code::job_malformed, Field::custom_attributes,
          "5");
}

TEST("lengths are LEB128 of at most four bytes in the shortest form, and stay within the job") {
  refuses(JobEncoding().raw("\4"), Code::job_malformed, Field::executable, "0");
  refuses(JobEncoding().raw("\4\2x"), Code::job_malformed, Field::executable, "0");
  refuses(JobEncoding().raw(std::string_view("\4\x81\0x", 4)), Code::job_malformed, Field::executable, "0");
  refuses(JobEncoding().raw(std::string_view("\4\x80\0", 3)), Code::job_malformed, Field::executable, "0");
  refuses(JobEncoding().raw("\4\x80\x80\x80\x80\1"), Code::job_malformed, Field::executable, "0");
  refuses(JobEncoding().raw("\4\xff\xff\xff\x7fx"), Code::job_malformed, Field::executable, "0");
  for (const size_t length : {127u, 128u, 16383u, 16384u, 2097151u, 2097152u}) {
    const std::string text(length, 'y');
    accepts(JobEncoding().field(4, text), "<executable>" + text + "</executable>");
  }
}

TEST("tags that this version doesn't have are refused by their number") {
  for (unsigned tag = 0; tag < 256; tag++) {
    const bool known = (tag >= 1 && tag <= 11) || (tag >= 16 && tag <= 22) || (tag >= 32 && tag <= 36) ||
                       (tag >= 48 && tag <= 50);
    if (!known) refuses(job().field(tag, "v"), Code::field_unknown, static_cast<Field>(tag), "3");
  }
}

TEST("fields out of order or given twice are refused") {
  for (unsigned tag = 1; tag <= 50; tag++) {
    const bool known = tag <= 11 || (tag >= 16 && tag <= 22) || (tag >= 32 && tag <= 36) || tag >= 48;
    if (!known) continue;
    if (tag < 50) {
      const JobEncoding last = job().field(50, "l");
      refuses(JobEncoding(last).field(tag, "v"), Code::field_order, static_cast<Field>(tag), offset(last));
    }
    if (tag == 5 || tag == 8 || tag == 36) continue;
    JobEncoding twice = before(tag);
    const std::string value = tag == 1 ? "main" : tag == 2 ? std::string(trace) : "\1";
    const bool text =
        std::any_of(std::begin(text_tags), std::end(text_tags), [&](Tag t) { return t.tag == tag; });
    twice.field(tag, text ? "t" : value);
    refuses(JobEncoding(twice).field(tag, text ? "t" : value), Code::field_order, static_cast<Field>(tag),
            offset(twice));
  }
}

TEST("a job without an executable is refused where that would have stood") {
  refuses(JobEncoding(), Code::field_missing, Field::executable, "");
  refuses(JobEncoding().field(3, "n"), Code::field_missing, Field::executable, "");
  refuses(JobEncoding().field(5, "\x80"), Code::field_missing, Field::executable, "");
  refuses(JobEncoding().field(1, "main").field(50, "\x80"), Code::field_missing, Field::executable, "");
  // What is wrong before comes first.
  refuses(JobEncoding().field(3, "\x80").field(5, "a"), Code::text_not_utf8, Field::name, "2");
}

TEST("a cluster must be one of those configured, and be named where there is no default") {
  const auto cluster_of = [](const ClusterNames& clusters, std::string_view name) {
    return write_job(JobEncoding().field(1, name).field(4, "x").bytes(), clusters).xml;
  };
  CHECK_EQ(cluster_of(several, "m"), start("m") + "><executable>x</executable></job>\n");
  CHECK_EQ(cluster_of(several, "main"), start("main") + "><executable>x</executable></job>\n");
  CHECK_EQ(cluster_of(with_default, "gpu & \"big\""),
           start("gpu &amp; &quot;big&quot;") + "><executable>x</executable></job>\n");
  refuses(JobEncoding().field(1, "mai").field(4, "x"), Code::cluster_unknown, Field::cluster, "2");
  refuses(JobEncoding().field(1, "mainn").field(4, "x"), Code::cluster_unknown, Field::cluster, "2");
  refuses(JobEncoding().field(1, "").field(4, "x"), Code::field_invalid, Field::cluster, "2");
  refuses(job(), Code::cluster_required, Field::cluster, "", several);
  refuses(JobEncoding(), Code::cluster_required, Field::cluster, "", several);
  refuses(JobEncoding().field(2, trace).field(4, "x"), Code::cluster_required, Field::cluster, "", several);
  refuses(JobEncoding().field(1, "x").field(4, "x"), Code::cluster_unknown, Field::cluster, "2", {{}, -1});
}

TEST("traceparent is one of W3C Trace Context") {
  const auto refused = [](std::string_view value) {
    refuses(JobEncoding().field(2, value).field(4, "x"), Code::field_invalid, Field::traceparent, "2");
  };
  const auto replaced = [](size_t at, std::string_view by) {
    return std::string(trace).replace(at, by.size(), by);
  };
  CHECK(write_job(JobEncoding().field(2, replaced(0, "01")).field(4, "x").bytes(), one).accepted);
  CHECK(write_job(JobEncoding().field(2, replaced(0, "fe")).field(4, "x").bytes(), one).accepted);
  CHECK(write_job(JobEncoding().field(2, replaced(53, "ff")).field(4, "x").bytes(), one).accepted);
  refused("");
  refused(trace.substr(0, 54));
  refused(std::string(trace) + "0");
  refused(replaced(0, "ff"));
  refused(replaced(3, "00000000000000000000000000000000"));
  refused(replaced(36, "0000000000000000"));
  for (size_t i = 0; i < trace.size(); i++) {
    refused(replaced(i, trace[i] == '-' ? "0" : "g"));
    refused(replaced(i, trace[i] == '-' ? "_" : "A"));
    refused(replaced(i, trace[i] == '-' ? "f" : "-"));
  }
}

TEST("process_count must be the product where all three are given, and that is said last") {
  const auto counts = [](uint64_t nodes, uint64_t processes, uint64_t each) {
    return job().integer(16, nodes).integer(17, processes).integer(18, each);
  };
  CHECK(write_job(counts(3, 12, 4).bytes(), one).accepted);
  CHECK(write_job(job().integer(16, 3).integer(17, 5).bytes(), one).accepted);
  CHECK(write_job(job().integer(17, 5).integer(18, 3).bytes(), one).accepted);
  CHECK(write_job(job().integer(16, 5).integer(18, 3).bytes(), one).accepted);
  refuses(counts(3, 11, 4), Code::resources_contradict, Field::process_count, "");
  // 2^31−1 squared is 1 modulo 2^31: no narrow product may be compared.
  refuses(counts(0x7fffffff, 1, 0x7fffffff), Code::resources_contradict, Field::process_count, "");
  const JobEncoding worse = counts(3, 11, 4).field(50, "");
  refuses(worse, Code::field_invalid, Field::launcher, offset(worse));
}

TEST("a job that is cut at any byte is refused, or is one that has fewer fields") {
  const Bytes whole = full_job().bytes();
  std::vector<size_t> ends;
  for (size_t at = 0; at < whole.size(); at += 2 + whole[at + 1]) ends.push_back(at);
  for (size_t length = 0; length < whole.size(); length++) {
    const Outcome outcome = write_job({whole.data(), length}, one);
    const bool between = std::find(ends.begin(), ends.end(), length) != ends.end();
    const bool has_executable = length >= 2 + 4 + 2 + 55 + 2 + 1 + 2 + 9;
    CHECK_EQ(outcome.accepted, between && has_executable);
    if (!outcome.accepted)
      CHECK_EQ(outcome.refusal.code, between ? Code::field_missing : Code::job_malformed);
  }
}

TEST("a job with any byte changed is refused or written within the bound") {
  const Bytes whole = full_job().bytes();
  size_t accepted = 0;
  for (size_t at = 0; at < whole.size(); at++) {
    Bytes changed = whole;
    for (unsigned byte = 0; byte < 256; byte++) {
      changed[at] = static_cast<uint8_t>(byte);
      const Outcome outcome = write_job(changed, one);
      if (!outcome.accepted) continue;
      accepted++;
      CHECK(outcome.xml.ends_with("</job>\n"));
    }
  }
  CHECK(accepted >= whole.size());
}

TEST("random jobs become what a plain model makes of them, byte for byte") {
  Random random(seed());
  for (int round = 0; round < 20'000; round++) {
    const RandomJob expected = random_job(random, with_default);
    const Outcome outcome = write_job(expected.fields, with_default, expected.producer, expected.sequence);
    if (!CHECK(outcome.accepted) || !CHECK_EQ(outcome.xml, expected.xml)) break;
  }
}

TEST("no job is written longer than the bound says, whatever grows in it") {
  // write_job gives exactly the room of the bound and checks the length.
  const std::string name(40, '"');
  const ClusterNames clusters = {{name}, 0};
  for (const size_t size : {0u, 1u, 7u, 16u, 100u, 5000u}) {
    for (const char c : {'&', '\r', '<', 'x'}) {
      const std::string text(size, c);
      JobEncoding worst;
      worst.field(2, trace)
          .field(3, text + "&")
          .field(4, text + "&")
          .field(5, text)
          .field(6, text + "&")
          .boolean(7, false);
      for (char key = '!'; key <= '~'; key++) {
        if (key != '=') worst.pair(8, std::string(1, key), text);
      }
      worst.field(9, text + "&").field(10, text + "&").field(11, text + "&");
      for (unsigned tag = 16; tag < 21; tag++) {
        if (tag != 17) worst.integer(tag, 0x7fffffff);
      }
      worst.boolean(21, true).integer(22, (uint64_t{1} << 53) - 1).integer(32, 0x7fffffff);
      for (unsigned tag = 33; tag < 36; tag++) worst.field(tag, text + "&");
      worst.pair(36, std::string(size + 1, '"'), text)
          .field(48, text + "&")
          .field(49, text + "&")
          .field(50, text + "&");
      CHECK(write_job(worst.bytes(), clusters, UINT64_MAX, UINT64_MAX).accepted);
    }
  }
  JobEncoding arguments = job();
  for (int i = 0; i < 10'000; i++) arguments.field(5, "");
  CHECK(write_job(arguments.bytes(), clusters, UINT64_MAX, UINT64_MAX).accepted);
  JobEncoding labels = job();
  for (unsigned i = 0; i < 10'000; i++) {
    const auto digit = [](unsigned value) { return static_cast<char>(' ' + value % 90); };
    labels.pair(36, std::string{digit(i / 8100), digit(i / 90), digit(i)}, "");
  }
  CHECK(write_job(labels.bytes(), clusters, UINT64_MAX, UINT64_MAX).accepted);
}
