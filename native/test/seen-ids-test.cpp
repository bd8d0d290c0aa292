#include "../core/seen-ids.h"

#include <map>
#include <memory>
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

namespace {

// Everything that one holds, in another one.
void copy(SeenIds& from, SeenIds& to, size_t bytes) {
  from.begin_save();
  for (;;) {
    const std::vector<uint64_t> piece = from.save(bytes);
    if (piece.empty()) return;
    CHECK(to.load(piece));
  }
}

}  // namespace

TEST("remembers ids whose digests it has forgotten, and tells no content of them from another") {
  SeenIds ids(4);
  for (uint64_t sequence = 10; sequence < 1000; sequence++) ids.admit(7, sequence, sequence);
  ids.advance();
  ids.admit(7, 1000, 1);
  CHECK(ids.forget(1, 1'000'000));
  CHECK_EQ(ids.size(), 991u);
  for (uint64_t sequence = 10; sequence < 960; sequence++) CHECK_EQ(ids.admit(7, sequence, 0), Answer::same);
  // In one block with an id that is young.
  CHECK_EQ(ids.admit(7, 1000, 2), Answer::conflict);
  CHECK_EQ(ids.admit(7, 999, 2), Answer::conflict);
  CHECK_EQ(ids.admit(7, 9, 0), Answer::added);
  CHECK_EQ(ids.admit(7, 1001, 0), Answer::added);
  CHECK_EQ(ids.admit(8, 10, 0), Answer::added);
  CHECK_EQ(ids.size(), 994u);
}

TEST("holds a hundred million forgotten ids of a producer without gaps in less than two megabytes") {
  SeenIds ids(5);
  for (uint64_t from = 0; from < 100'000'000; from += 1'000'000) {
    for (uint64_t i = 0; i < 1'000'000; i++) ids.admit(3, from + i, i);
    ids.advance();
    while (!ids.forget(1, 4096)) {
    }
  }
  CHECK_EQ(ids.size(), 100'000'000u);
  // The table keeps the room that a million took once.
  CHECK(ids.bytes() < 2'000'000);
  CHECK_EQ(ids.admit(3, 0, 0), Answer::same);
  CHECK_EQ(ids.admit(3, 99'999'999, 0), Answer::same);
  CHECK_EQ(ids.admit(3, 100'000'000, 0), Answer::added);
}

TEST("joins what was added in any order to the fewest runs") {
  Random random(seed());
  IdSet set(random.next());
  std::map<uint64_t, uint64_t> model;
  for (int i = 0; i < 20'000; i++) {
    const uint64_t number = random.below(300);
    const uint64_t bits = random.one_in(3) ? ~uint64_t{0} : random.next() & random.next();
    if (random.one_in(50)) {
      const uint64_t last = number + random.below(20);
      set.add_run(9, number, last);
      // Of a block that it holds in part the set counts the bits of both.
      for (uint64_t n = number; n <= last; n++) {
        set.add(9, n, ~uint64_t{0});
        model[n] = ~uint64_t{0};
      }
    } else {
      set.add(9, number, bits);
      if (bits != 0) model[number] |= bits;
    }
  }
  uint64_t runs = 0;
  for (uint64_t n = 0; n < 400; n++) {
    const uint64_t expected = model.contains(n) ? model[n] : 0;
    if (!CHECK_EQ(set.present(9, n), expected)) return;
    if (expected == ~uint64_t{0} && (n == 0 || !model.contains(n - 1) || model[n - 1] != ~uint64_t{0})) runs++;
  }
  CHECK_EQ(set.runs().size(), runs);
  CHECK_EQ(set.present(8, 5), 0u);
  CHECK_EQ(set.present(10, 5), 0u);
}

TEST("answers as a plain map does while digests are forgotten and everything is saved and loaded") {
  Random random(seed());
  auto ids = std::make_unique<SeenIds>(random.next());
  // Digest and the generation of the id's block; forgotten ids have none.
  struct Known {
    uint64_t digest;
    bool forgotten;
  };
  using Key = std::pair<uint64_t, uint64_t>;
  std::map<Key, Known> model;
  std::map<Key, uint64_t> generation_of;
  uint64_t generation = 0;
  for (int step = 0; step < 4000; step++) {
    const uint64_t producer = random.below(3);
    uint64_t sequence = random.one_in(4) ? random.next() : random.below(3000);
    for (uint64_t length = 1 + random.below(60); length > 0; length--, sequence++) {
      const uint64_t digest = random.below(3);
      const auto [place, added] = model.try_emplace({producer, sequence}, Known{digest, false});
      const Known& known = place->second;
      const Answer expected = added                                       ? Answer::added
                              : known.forgotten || known.digest == digest ? Answer::same
                                                                          : Answer::conflict;
      if (!CHECK_EQ(ids->admit(producer, sequence, digest), expected)) return;
      if (added) generation_of[{producer, sequence >> 6}] = generation;
    }
    if (random.one_in(20)) {
      ids->advance();
      generation++;
    }
    if (random.one_in(100)) {
      const uint64_t age = 1 + random.below(8);
      while (!ids->forget(static_cast<unsigned>(age), 1 + random.below(1000))) {
      }
      for (auto& [key, known] : model) {
        const uint64_t born = generation_of[{key.first, key.second >> 6}];
        // Ages beyond 63 count modulo 64; none gets as old as that here without being forgotten.
        if ((generation - born) % 64 >= age) known.forgotten = true;
      }
    }
    if (random.one_in(200)) {
      auto other = std::make_unique<SeenIds>(random.next());
      copy(*ids, *other, 8 + random.below(5000));
      if (!CHECK_EQ(other->size(), ids->size())) return;
      ids = std::move(other);
    }
  }
  CHECK_EQ(ids->size(), model.size());
}

TEST("saves at least what was there when it began, whatever is admitted and forgotten meanwhile") {
  Random random(seed());
  for (int round = 0; round < 50; round++) {
    SeenIds ids(random.next());
    const uint64_t before = 1 + random.below(5000);
    for (uint64_t i = 0; i < before; i++) ids.admit(random.below(5), i * 3, i);
    SeenIds model(1);
    copy(ids, model, 1000);
    SeenIds loaded(random.next());
    ids.begin_save();
    uint64_t sequence = 1'000'000;
    for (;;) {
      const std::vector<uint64_t> piece = ids.save(600);
      if (piece.empty()) break;
      CHECK(loaded.load(piece));
      for (uint64_t i = random.below(200); i > 0; i--) ids.admit(random.below(5), sequence += 64, 1);
      if (random.one_in(30)) {
        ids.advance();
        ids.forget(1, random.below(50));
      }
      if (sequence > 3'000'000) break;
    }
    // Pieces that are left when admitting outruns saving are taken at the end.
    for (;;) {
      const std::vector<uint64_t> piece = ids.save(100'000);
      if (piece.empty()) break;
      CHECK(loaded.load(piece));
    }
    uint64_t missing = 0;
    for (uint64_t producer = 0; producer < 5; producer++) {
      for (uint64_t i = 0; i < before; i++) {
        if (model.admit(producer, i * 3, i) != Answer::added &&
            loaded.admit(producer, i * 3, i) == Answer::added)
          missing++;
      }
    }
    if (!CHECK_EQ(missing, 0u)) return;
  }
}

TEST("refuses pieces that are none") {
  SeenIds ids(6);
  const std::vector<std::vector<uint64_t>> bad = {
      {},
      {0},
      {4, 1, 2, 3},
      {1, 1, 2},
      {1, 1, 2, 0, 5},
      {1, 1, 2, 7, 5, 5},
      {2, 1, 2},
      {2, 1, UINT64_MAX, 1},
      {3, 1, 5, 4},
      {3, 1, 5, UINT64_MAX},
  };
  for (const std::vector<uint64_t>& piece : bad) CHECK(!ids.load(piece));
  CHECK(ids.load(std::vector<uint64_t>{1}));
}

}  // namespace usher
