#include "corpus.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "../core/commit-mark.h"
#include "../core/crc32c.h"
#include "../core/wire.h"
#include "../test/check.h"
#include "../test/job-model.h"
#include "../test/segment-model.h"

namespace usher::bench {
namespace {

using test::JobEncoding;
using test::Random;

constexpr uint64_t producer = 0x9f8c2e71a4b0d3e5u;
constexpr size_t frame_jobs = 400;
constexpr size_t small_bytes = 250;

unsigned tag(Field field) { return static_cast<unsigned>(field); }

std::string word(Random& random, size_t least, size_t most) {
  static constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  std::string text;
  for (size_t left = least + random.below(most - least + 1); left > 0; left--) {
    text += letters[random.below(letters.size())];
  }
  return text;
}

std::string path(Random& random) { return "/data/" + word(random, 3, 12) + "/" + word(random, 4, 24); }

void small(JobEncoding& job, Random& random, uint64_t) {
  job.field(tag(Field::name), "simulate-detector").field(tag(Field::executable), "/opt/lab/bin/simulate");
  for (const char* argument : {"--events", "25000", "--geometry", "run3/barrel.xml", "--seed"}) {
    job.field(tag(Field::arguments), argument);
  }
  job.field(tag(Field::arguments), std::to_string(1000 + random.below(9000)));
  JobEncoding rest;
  rest.field(tag(Field::directory), "/home/jane/runs/0815").pair(tag(Field::environment), "OMP_NUM_THREADS", "8");
  rest.integer(tag(Field::node_count), 1).integer(tag(Field::process_count), 8);
  rest.integer(tag(Field::memory), uint64_t{16} << 30).integer(tag(Field::duration), 7200);
  rest.field(tag(Field::queue_name), "long").field(tag(Field::account), "hep");
  const size_t bytes = job_length_bytes + job_sequence_bytes + job.size() + rest.size();
  if (bytes + 2 < small_bytes) job.field(tag(Field::arguments), std::string(small_bytes - bytes - 2, 'x'));
  job.raw({reinterpret_cast<const char*>(rest.bytes().data()), rest.size()});
}

void pairs(JobEncoding& job, Random& random, Field field, size_t count) {
  std::map<std::string, std::string> sorted;
  while (sorted.size() < count) sorted["K_" + word(random, 2, 16)] = word(random, 0, 40);
  for (const auto& [key, value] : sorted) job.pair(tag(field), key, value);
}

void rich(JobEncoding& job, Random& random, uint64_t sequence) {
  char traceparent[64];
  std::snprintf(traceparent, sizeof traceparent, "00-%016llx%016llx-%016llx-01",
                static_cast<unsigned long long>(random.next() | 1), static_cast<unsigned long long>(random.next()),
                static_cast<unsigned long long>(random.next() | 1));
  job.field(tag(Field::cluster), "main");
  job.field(tag(Field::traceparent), traceparent);
  job.field(tag(Field::name), "step-" + std::to_string(sequence));
  job.field(tag(Field::executable), path(random));
  for (uint64_t left = 2 + random.below(10); left > 0; left--) job.field(tag(Field::arguments), word(random, 1, 40));
  job.field(tag(Field::directory), path(random));
  job.boolean(tag(Field::inherit_environment), false);
  pairs(job, random, Field::environment, 2 + random.below(10));
  job.field(tag(Field::stdout_path), path(random)).field(tag(Field::stderr_path), path(random));
  job.integer(tag(Field::node_count), 2).integer(tag(Field::process_count), 64);
  job.integer(tag(Field::processes_per_node), 32).integer(tag(Field::memory), (1 + random.below(64)) << 30);
  job.integer(tag(Field::duration), 60 * (1 + random.below(2000))).field(tag(Field::queue_name), "long");
  job.field(tag(Field::account), word(random, 4, 10)).field(tag(Field::launcher), "single");
}

std::string odd_text(Random& random, size_t pieces) {
  static constexpr std::string_view odd[] = {"&", "<", ">", "\"", "\\", "\n", "\t", "\xc3\xa4", "\xe2\x82\xac",
                                             "\xf0\x9f\x98\x80", "\r"};
  std::string text;
  for (; pieces > 0; pieces--) text.append(word(random, 1, 9)).append(odd[random.below(std::size(odd))]);
  return text;
}

void escapes(JobEncoding& job, Random& random, uint64_t) {
  job.field(tag(Field::name), odd_text(random, 2)).field(tag(Field::executable), "/bin/sh");
  job.field(tag(Field::arguments), "-c").field(tag(Field::arguments), odd_text(random, 12));
  std::map<std::string, std::string> sorted;
  for (int i = 0; i < 3; i++) sorted["N" + word(random, 1, 9)] = odd_text(random, 3);
  for (const auto& [key, value] : sorted) job.pair(tag(Field::environment), key, value);
}

void swf(JobEncoding& job, Random& random, uint64_t sequence) {
  const uint64_t processes = uint64_t{1} << random.below(9);
  const std::string user = std::to_string(random.below(300));
  const std::string queue = "queue" + std::to_string(random.below(5));
  job.field(tag(Field::name), "swf-" + std::to_string(sequence)).field(tag(Field::executable), "/bin/true");
  job.integer(tag(Field::process_count), processes);
  job.integer(tag(Field::memory), (100'000 + random.below(4'000'000)) * 1024 * processes);
  job.integer(tag(Field::duration), 60 + random.below(86'400)).field(tag(Field::queue_name), queue);
  job.field(tag(Field::account), "user" + user);
  job.pair(tag(Field::custom_attributes), "swf.application", std::to_string(random.below(90)));
  job.pair(tag(Field::custom_attributes), "swf.group", std::to_string(random.below(40)));
  job.pair(tag(Field::custom_attributes), "swf.job", std::to_string(sequence));
  job.pair(tag(Field::custom_attributes), "swf.partition", "partition1");
  job.pair(tag(Field::custom_attributes), "swf.queue", queue);
  job.pair(tag(Field::custom_attributes), "swf.user", user);
}

[[noreturn]] void give_up(std::string_view what) {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

}  // namespace

ClusterNames corpus_clusters() { return {{"main"}, 0}; }

Corpus make_corpus(std::string_view name, size_t jobs) {
  void (*const fill)(JobEncoding&, Random&, uint64_t) = name == "small"     ? small
                                                        : name == "rich"    ? rich
                                                        : name == "escapes" ? escapes
                                                        : name == "swf"     ? swf
                                                                            : nullptr;
  if (fill == nullptr) give_up("there is no corpus of that name");
  Random random(0x75736865722d3431u);
  Corpus corpus;
  corpus.name = name;
  corpus.jobs = jobs;
  corpus.xml =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<segment xmlns=\"urn:usher:segment:1\" store=\"6f0d2f2e-2b63-4c36-8f0e-3b8f3c1f7f10\" host=\"node7\" "
      "instance=\"node7-20261123T040000-3fa9c1\" pid=\"4711\" version=\"0.1.0\" config=\"3fa9c1d2\" "
      "number=\"17\" opened=\"2026-11-23T04:00:00.123Z\">\n";
  const ClusterNames clusters = corpus_clusters();
  std::vector<uint8_t> room;
  uint32_t crc = 0;
  size_t crc_of = 0;
  for (size_t done = 0; done < jobs;) {
    const size_t count = std::min(frame_jobs, jobs - done);
    FrameWriter frame(corpus.frames, FrameType::jobs);
    for (size_t i = 0; i < count; i++) {
      const uint64_t sequence = 100'000 + done + i;
      JobEncoding job;
      fill(job, random, sequence);
      frame.u32(static_cast<uint32_t>(job_sequence_bytes + job.size()));
      frame.u64(sequence);
      frame.bytes(job.bytes());
      room.resize(job_xml_bytes_max(job.size(), clusters));
      JobRefusal refusal;
      const uint8_t* end = write_job_xml(job.bytes(), producer, sequence, test::test_time, clusters, room.data(), refusal);
      if (end == nullptr) give_up("a job of the corpus was refused");
      corpus.xml.append(reinterpret_cast<const char*>(room.data()), static_cast<size_t>(end - room.data()));
    }
    frame.finish(static_cast<uint16_t>(count));
    done += count;
    crc = crc32c(test::as_bytes(std::string_view(corpus.xml).substr(crc_of)), crc);
    crc_of = corpus.xml.size();
    char mark[128];
    std::snprintf(mark, sizeof mark, "<?usher-commit jobs=\"%zu\" bytes=\"%zu\" crc32c=\"%08x\"?>\n", done, crc_of, crc);
    corpus.xml += mark;
  }
  corpus.xml += "</segment>\n";
  return corpus;
}

}  // namespace usher::bench

namespace usher::test {

// The model of jobs reports through check(): here a false one ends the program.
bool check(bool good, const char* file, int line, const std::string& what) {
  if (good) return true;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  std::exit(1);
}

}  // namespace usher::test
