// Measures the native kernels on one core, each by itself.
//
//   kernels                      all of them on all corpora
//   kernels ONLY [CORPUS]        those whose name contains ONLY
//   kernels count KERNEL CORPUS  one round of one kernel, for callgrind (native/bench/guard)
//
// The best of many short rounds is given, in seconds of the processor: whatever else the machine does only ever makes a
// round slower.
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <cstring>
#include <functional>
#include <string>

#include "../core/crc32c.h"
#include "../core/job-xml.h"
#include "../core/transform.h"
#include "corpus.h"
#include "../test/segment-model.h"

#if __has_include(<pugixml.hpp>)
#define USHER_PUGIXML 1
#include <pugixml.hpp>
#endif

using namespace usher;
using namespace usher::bench;

namespace {

uint64_t sink = 0;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

struct Kernel {
  std::string name;
  // What a second is counted in: bytes of this.
  size_t bytes;
  size_t jobs;
  std::function<void()> run;
};

// Whether what is freed stays with the process, so that who allocates it again finds pages that were touched before.
// It decides more than any parser does, and the library's own rule changes while a program runs.
void keep_memory(bool keep) {
  mallopt(M_MMAP_THRESHOLD, keep ? 32 << 20 : 128 << 10);
  mallopt(M_TRIM_THRESHOLD, keep ? 1 << 30 : 128 << 10);
  malloc_trim(0);
}

// From the bytes of a frame to the checked XML of its jobs, as Session::take_jobs does it.
size_t decode(const std::vector<uint8_t>& frames, const ClusterNames& clusters, std::vector<uint8_t>& out) {
  const uint8_t* at = frames.data();
  const uint8_t* const end = at + frames.size();
  uint8_t* to = out.data();
  JobRefusal refusal;
  while (at < end) {
    const FrameHeader header = parse_frame_header(std::span<const uint8_t, frame_header_bytes>(at, frame_header_bytes));
    if (frame_crc({at, frame_header_bytes + header.length}) != header.crc) give_up("a frame is corrupt");
    at += frame_header_bytes;
    for (uint32_t i = 0; i < header.count; i++) {
      const uint32_t length = load_le<uint32_t>(at);
      const uint64_t sequence = load_le<uint64_t>(at + job_length_bytes);
      const std::span fields(at + job_length_bytes + job_sequence_bytes, length - job_sequence_bytes);
      at += job_length_bytes + length;
      sink += job_xml_bytes_max(length, clusters);
      to = write_job_xml(fields, 0x9f8c2e71a4b0d3e5u, sequence, "2026-11-23T04:00:00.124Z", clusters, to, refusal);
      if (to == nullptr) give_up("a job was refused");
    }
  }
  return static_cast<size_t>(to - out.data());
}

std::vector<Kernel> kernels_of(const Corpus& corpus) {
  static std::vector<uint8_t> out;
  static const ClusterNames clusters = corpus_clusters();
  out.assign(corpus.xml.size() * 2 + 4096, 0);
  const auto xml = test::as_bytes(corpus.xml);
  std::vector<Kernel> kernels;
  const auto add = [&](std::string name, size_t bytes, std::function<void()> run) {
    kernels.push_back({std::move(name), bytes, corpus.jobs, std::move(run)});
  };
  add("crc32c of the frames", corpus.frames.size(), [&corpus] { sink += crc32c(corpus.frames); });
  add("decode, of bytes in", corpus.frames.size(), [&corpus] { sink += decode(corpus.frames, clusters, out); });
  add("decode, of XML out", decode(corpus.frames, clusters, out), [&corpus] { sink += decode(corpus.frames, clusters, out); });
  const auto transforms = [xml, &corpus](const CanonicalKernel* kernel) {
    static JsonBuffer lines(xml.size() * 2);
    if (transform(xml, lines, kernel).jobs != corpus.jobs) give_up("jobs are missing");
    sink += lines.size();
  };
  add("crc32c of the XML", xml.size(), [xml] { sink += crc32c(xml); });
  add("check_text of the XML", xml.size(), [xml] { sink += check_text(xml).offset; });
  for (const CanonicalKernel* kernel : canonical_kernels()) {
    add(std::string("transform, ") + kernel->name, xml.size(), [transforms, kernel] { transforms(kernel); });
  }
  add("transform, allocating", xml.size(), [xml, &corpus] {
    if (transform(xml).jobs != corpus.jobs) give_up("jobs are missing");
  });
  add("XML reader alone", xml.size(), [transforms] { transforms(nullptr); });
#if USHER_PUGIXML
  add("pugixml, copied first", xml.size(), [xml] {
    pugi::xml_document document;
    if (!document.load_buffer(xml.data(), xml.size())) give_up("pugixml refuses it");
    sink += document.first_child() ? 1 : 0;
  });
  add("pugixml, in place and minimal", xml.size(), [xml] {
    // It writes into what it parses: the copy is the caller's here, too.
    std::memcpy(out.data(), xml.data(), xml.size());
    pugi::xml_document document;
    if (!document.load_buffer_inplace(out.data(), xml.size(), pugi::parse_minimal)) give_up("pugixml refuses it");
    sink += document.first_child() ? 1 : 0;
  });
#endif
  return kernels;
}

// Of the processor alone, so that whatever else runs only costs caches.
double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double seconds_of(const Kernel& kernel) {
  double best = 1e9;
  const double until = cpu_seconds() + 0.3;
  for (double begun = cpu_seconds(); begun < until;) {
    kernel.run();
    const double ended = cpu_seconds();
    best = std::min(best, ended - begun);
    begun = ended;
  }
  return best;
}

// What callgrind counts from its beginning to its end.
[[gnu::noinline]] void counted(const Kernel& kernel) {
  kernel.run();
  // Nothing may be merged into whoever calls this.
  __asm__ volatile("" ::: "memory");
}

}  // namespace

int main(int count, char** arguments) {
  const std::string only = count > 1 ? arguments[1] : "";
  if (only == "count") {
    if (count != 4) give_up("usage: kernels count KERNEL CORPUS");
    const Corpus corpus = make_corpus(arguments[3], 2000);
    for (const Kernel& kernel : kernels_of(corpus)) {
      if (kernel.name != arguments[2]) continue;
      // Once before, so that memory is there and nothing is resolved for the first time.
      kernel.run();
      counted(kernel);
      return 0;
    }
    give_up("there is no such kernel");
  }
  for (const std::string_view name : corpus_names) {
    if (count > 2 && name != arguments[2]) continue;
    const Corpus corpus = make_corpus(name, 4'000);
    std::printf("%.*s: %zu jobs, %.1f MB of frames, %.1f MB of XML\n", static_cast<int>(name.size()), name.data(),
                corpus.jobs, static_cast<double>(corpus.frames.size()) / 1e6, static_cast<double>(corpus.xml.size()) / 1e6);
    for (const Kernel& kernel : kernels_of(corpus)) {
      if (kernel.name.find(only) == std::string_view::npos) continue;
      for (const bool keep : {true, false}) {
        keep_memory(keep);
        const double seconds = seconds_of(kernel);
        std::printf("  %-32s %s %8.3f GB/s %8.2f M jobs/s\n", kernel.name.c_str(), keep ? "memory kept " : "memory fresh",
                    static_cast<double>(kernel.bytes) / seconds / 1e9, static_cast<double>(kernel.jobs) / seconds / 1e6);
      }
    }
  }
  return sink == 0 ? 1 : 0;
}
