#include "../core/seen-ids.h"

#include <map>
#include <utility>
#include <vector>

#include "check.h"

namespace usher {
namespace {

using Answer = SeenIds::Answer;
using namespace usher::test;

}  // namespace

TEST("tells new ids from seen ones, and the same content from another") {
  SeenIds ids(1);
  CHECK_EQ(ids.admit(7, 1, 100), Answer::added);
  CHECK_EQ(ids.admit(7, 1, 100), Answer::same);
  CHECK_EQ(ids.admit(7, 1, 101), Answer::conflict);
  CHECK_EQ(ids.admit(7, 1, 100), Answer::same);
  CHECK_EQ(ids.admit(8, 1, 101), Answer::added);
  CHECK_EQ(ids.size(), 2u);
}

TEST("knows ids at the ends of all ranges") {
  SeenIds ids(2);
  for (const uint64_t producer : {uint64_t{0}, UINT64_MAX}) {
    for (const uint64_t sequence : {uint64_t{0}, uint64_t{63}, uint64_t{64}, UINT64_MAX - 63, UINT64_MAX}) {
      CHECK_EQ(ids.admit(producer, sequence, 0), Answer::added);
      CHECK_EQ(ids.admit(producer, sequence, 0), Answer::same);
      CHECK_EQ(ids.admit(producer, sequence, UINT64_MAX), Answer::conflict);
    }
  }
  CHECK_EQ(ids.size(), 10u);
}

TEST("answers as a plain map does, whatever the order of runs, gaps and repetitions") {
  Random random(seed());
  SeenIds ids(random.next());
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> model;
  for (int run = 0; run < 3000; run++) {
    const uint64_t producer = random.below(3);
    uint64_t sequence = random.one_in(4) ? random.next() : random.below(5000);
    const uint64_t length = 1 + random.below(40);
    const bool down = random.one_in(3);
    for (uint64_t i = 0; i < length; i++) {
      const uint64_t digest = random.below(3);
      const auto [place, added] = model.try_emplace({producer, sequence}, digest);
      const Answer expected = added                     ? Answer::added
                              : place->second == digest ? Answer::same
                                                        : Answer::conflict;
      if (!CHECK_EQ(ids.admit(producer, sequence, digest), expected)) return;
      down ? sequence-- : sequence++;
    }
  }
  CHECK_EQ(ids.size(), model.size());
}

TEST("holds ten million ids of four producers in less than 100 MB") {
  SeenIds ids(3);
  for (uint64_t i = 0; i < 10'000'000; i++) ids.admit(i & 3, i >> 2, i * 0x9e3779b97f4a7c15u);
  CHECK_EQ(ids.size(), 10'000'000u);
  CHECK(ids.bytes() < 100'000'000);
}

TEST("holds lone ids in less than 100 bytes each") {
  Random random(seed());
  SeenIds ids(random.next());
  for (int i = 0; i < 1'000'000; i++) ids.admit(random.next(), random.next(), 1);
  CHECK_EQ(ids.size(), 1'000'000u);
  CHECK(ids.bytes() < 100'000'000);
}

}  // namespace usher
