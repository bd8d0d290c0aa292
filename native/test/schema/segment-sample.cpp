// Prints a segment of random jobs, written by the core, for docs/segment.xsd to be checked against.
// Usage: segment-sample [JOBS]; env SEED replays one.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "../job-model.h"

using namespace usher;
using namespace usher::test;

namespace usher::test {

// The model reports through check(); here a false check ends the program, and its output is of no use.
bool check(bool good, const char* file, int line, const std::string& what) {
  if (good) return true;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  std::exit(1);
}

}  // namespace usher::test

int main(int count, char** arguments) {
  const unsigned long jobs = count > 1 ? std::strtoul(arguments[1], nullptr, 10) : 2000;
  const char* const given = std::getenv("SEED");
  std::random_device device;
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : uint64_t{device()} << 32 | device();
  std::fprintf(stderr, "%lu jobs (SEED=%" PRIu64 ")\n", jobs, seed);
  Random random(seed);
  const ClusterNames clusters = {{"main", "gpu & \"big\"", "m"}, 1};
  std::string document =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<segment xmlns=\"urn:usher:segment:1\" store=\"6f0d2f2e-2b63-4c36-8f0e-3b8f3c1f7f10\" host=\"node7\" "
      "instance=\"node7-20261123T040000-3fa9c1\" pid=\"4711\" version=\"0.1.0\" config=\"3fa9c1d2\" "
      "number=\"17\" "
      "opened=\"2026-11-23T04:00:00.123Z\">\n";
  for (unsigned long i = 0; i < jobs; i++) {
    const RandomJob job = random_job(random, clusters);
    const Outcome outcome = write_job(job.fields, clusters, job.producer, job.sequence);
    check(outcome.accepted && outcome.xml == job.xml, __FILE__, __LINE__,
          "a job isn't written as the model says");
    document += outcome.xml;
  }
  document += "<?usher-commit jobs=\"1\" bytes=\"1234\" crc32c=\"0a1b2c3d\"?>\n</segment>\n";
  const size_t written = std::fwrite(document.data(), 1, document.size(), stdout);
  return written == document.size() && std::fflush(stdout) == 0 ? 0 : 1;
}
