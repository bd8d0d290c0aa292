// Sessions against a queue that nobody empties but the test: what is answered at once, what waits in groups.
#include <algorithm>
#include <memory>

#include "../core/session.h"
#include "check.h"
#include "conversation.h"

namespace usher::test {
namespace {

constexpr uint32_t frame_max = 4096;
constexpr uint64_t first_credit = 2 * (frame_max + frame_header_bytes);

const SessionLimits small_limits{frame_max, 100, 512, first_credit, 60'000, 3 * frame_max};

struct Server {
  explicit Server(SessionLimits limits = small_limits, size_t group_bytes_max = 1 << 20)
      : queue(group_bytes_max), shared(limits, ServerIdentity{{}, "i", "h", "v"}, ClusterNames{{"main"}, 0}, queue) {}

  // Answers all that waits as the segment writer would; returns what the session `for_connection` got.
  Bytes answer(Session& session, uint64_t for_connection = 1) {
    Bytes out;
    while (Group* group = queue.take(0)) {
      for (const Share& share : group->shares) {
        if (share.connection != for_connection) continue;
        append_acks(*group, share, out);
        if (share.credit > 0) append_credit(share.credit, out);
        session.answered(share.jobs, share.credit, out);
      }
      groups++;
      queue.done(group);
    }
    return out;
  }

  GroupQueue queue;
  SessionShared shared;
  int groups = 0;
};

Bytes greeting() { return preamble() + hello(); }

// A session that has been greeted; what it said to that is dropped.
struct Greeted : Server {
  explicit Greeted(SessionLimits limits = small_limits, size_t group_bytes_max = 1 << 20)
      : Server(limits, group_bytes_max), session(shared, 1) {
    feed(greeting());
  }
  Answers feed(const Bytes& bytes) {
    Bytes out;
    // In memory of exactly its size, so that a sanitizer sees every byte too many.
    const auto copy = std::make_unique<uint8_t[]>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), copy.get());
    const bool first = !session.greeted();
    session.feed({copy.get(), bytes.size()}, out);
    return read_answers(out, first);
  }
  Answers answered() { return read_answers(answer(session), false); }
  Session session;
};

uint16_t error_of(const Bytes& bytes, SessionLimits limits = small_limits) {
  Greeted server(limits);
  const Answers answers = server.feed(bytes);
  CHECK(answers.sound);
  CHECK_EQ(server.session.closed(), answers.error != 0);
  return answers.error;
}

Bytes conversation() {
  return preamble() + hello() + jobs({1, 2, 3}) +
         jobs(std::vector<SentJob>{small_job(4), {5, JobEncoding().field(3, "no executable").bytes()}, small_job(6)}) +
         ping(77) + jobs({9}) + jobs(std::vector<SentJob>{{10, Bytes{1, 2, 3}}}) + goodbye();
}

// Everything that a conversation said, but how it was cut into frames.
void check_conversation(const Answers& now, const Answers& later, const Session& session) {
  CHECK(now.sound && now.preamble);
  CHECK_EQ(now.version, 1);
  CHECK(now.types.size() > 1 && now.types[0] == FrameType::welcome);
  CHECK(now.pongs == std::vector<uint64_t>{77});
  if (CHECK_EQ(now.refused.size(), 2)) {
    CHECK_EQ(now.refused[0].sequence, 5);
    CHECK_EQ(now.refused[0].code, static_cast<uint16_t>(Code::field_missing));
    CHECK_EQ(now.refused[0].field, static_cast<uint8_t>(Field::executable));
    CHECK_EQ(now.refused[1].sequence, 10);
  }
  CHECK_EQ(now.goodbyes, 0);
  CHECK(later.sound);
  CHECK(later.acked == (std::vector<uint64_t>{1, 2, 3, 4, 6, 9}));
  CHECK_EQ(later.goodbyes, 1);
  CHECK_EQ(later.types.back() == FrameType::goodbye, true);
  // The sixth frame's job was refused at once, the others waited for their answers.
  CHECK_EQ(now.credit, jobs(std::vector<SentJob>{{10, Bytes{1, 2, 3}}}).size());
  CHECK_EQ(session.credit(), first_credit);
  CHECK(session.closed());
}

TEST("a conversation that is split anywhere says the same") {
  const Bytes all = conversation();
  for (size_t split = 0; split <= all.size(); split++) {
    Server server;
    Session session(server.shared, 1);
    Bytes out;
    session.feed(std::span(all).first(split), out);
    session.feed(std::span(all).subspan(split), out);
    CHECK_EQ(session.partial_bytes(), 0);
    CHECK_EQ(server.shared.partial_bytes.load(), 0);
    const Bytes later = server.answer(session);
    check_conversation(read_answers(out, true), read_answers(later, false), session);
  }
}

TEST("a conversation that comes byte by byte says the same") {
  const Bytes all = conversation();
  Server server;
  Session session(server.shared, 1);
  Bytes out;
  for (const uint8_t& byte : all) session.feed({&byte, 1}, out);
  const Bytes later = server.answer(session);
  check_conversation(read_answers(out, true), read_answers(later, false), session);
}

TEST("a conversation that is cut anywhere has no effect beyond its whole frames, and leaves no memory") {
  const Bytes head = greeting();
  const Bytes frame = jobs({1, 2});
  const Bytes all = head + frame;
  for (size_t cut = 0; cut < all.size(); cut++) {
    Server server;
    {
      Session session(server.shared, 1);
      Bytes out;
      session.feed(std::span(all).first(cut), out);
      CHECK(!session.closed());
      CHECK(!server.queue.waiting());
      const size_t whole = cut < preamble_bytes ? 0 : cut < head.size() ? preamble_bytes : head.size();
      CHECK_EQ(session.partial_bytes(), cut - whole);
      CHECK_EQ(server.shared.partial_bytes.load(), cut - whole);
    }
    CHECK_EQ(server.shared.partial_bytes.load(), 0);
  }
}

TEST("nothing is said before the preamble is complete") {
  Server server;
  Session session(server.shared, 1);
  Bytes out;
  session.feed(bytes_of("GET / H"), out);
  CHECK(out.empty());
}

TEST("whom usher ends before anything was said is sent its preamble first") {
  for (const bool greeting : {false, true}) {
    Server server;
    Session session(server.shared, 1);
    Bytes out;
    session.feed(greeting ? preamble() : bytes_of("USH"), out);
    Session other(server.shared, 2);
    Bytes goodbye;
    other.feed(greeting ? preamble() : bytes_of("USH"), goodbye);
    session.end(Code::hello_timeout, "late", out);
    const Answers ended = read_answers(out, true);
    CHECK(ended.sound && ended.preamble);
    CHECK_EQ(ended.version, greeting ? 1 : 0);
    CHECK_EQ(ended.error, static_cast<uint16_t>(Code::hello_timeout));
    CHECK(session.closed() && session.failure() == Code::hello_timeout);
    // Whoever hasn't sent its preamble is told nothing else in a goodbye.
    other.say_goodbye(Code::draining, "", {}, goodbye);
    const Answers said = read_answers(goodbye, true);
    CHECK(said.preamble && other.closed());
    CHECK_EQ(said.version, greeting ? 1 : 0);
    CHECK_EQ(said.goodbyes, greeting ? 1 : 0);
    CHECK_EQ(server.shared.partial_bytes.load(), 0);
    const size_t all = out.size();
    session.end(Code::idle_timeout, "again", out);
    CHECK_EQ(out.size(), all);
  }
}

TEST("an incomplete preamble that there is no memory for is told so behind usher's own") {
  SessionLimits limits = small_limits;
  limits.partial_bytes_max = 0;
  Server server(limits);
  Session session(server.shared, 1);
  Bytes out;
  session.feed(bytes_of("USH"), out);
  const Answers answers = read_answers(out, true);
  CHECK(answers.sound && answers.preamble);
  CHECK_EQ(answers.error, static_cast<uint16_t>(Code::memory_exhausted));
}

TEST("a greeting that isn't one is told so") {
  const auto greet = [](const Bytes& bytes) {
    Server server;
    Session session(server.shared, 1);
    Bytes out;
    session.feed(bytes + hello(), out);
    const Answers answers = read_answers(out, true);
    CHECK(answers.sound && answers.preamble && session.closed());
    CHECK_EQ(answers.version, 0);
    CHECK_EQ(answers.types.size(), 1);
    return answers.error;
  };
  CHECK_EQ(greet(preamble("HTTP")), 1);
  CHECK_EQ(greet(preamble("USHR", 2, 9)), 2);
  CHECK_EQ(greet(preamble("USHR", 0, 0)), 2);
  CHECK_EQ(greet(preamble("USHR", 9, 1)), 2);
}

TEST("versions on both sides of ours are fine") {
  Server server;
  Session session(server.shared, 1);
  Bytes out;
  session.feed(preamble("USHR", 0, 65535) + hello(), out);
  CHECK(session.greeted() && !session.closed());
}

TEST("a byte that changed anywhere in a frame makes it corrupt or too large") {
  const Bytes good = jobs({1, 2});
  for (size_t i = 0; i < good.size(); i++) {
    Bytes bad = good;
    bad[i] ^= 0x40;
    // Padding, so that a frame whose length has grown comes to its end.
    const uint16_t error = error_of(bad + Bytes(frame_max));
    CHECK(error == static_cast<uint16_t>(Code::frame_corrupt) ||
          (i >= 4 && i < 8 && error == static_cast<uint16_t>(Code::frame_too_large)));
  }
}

TEST("a frame over the limit is refused by its header, before its payload has come") {
  CHECK_EQ(error_of(Bytes{0, 0, 0, 0, 0, 0x10, 0, 0, 3, 0, 1, 0}), 0);
  CHECK_EQ(error_of(Bytes{0, 0, 0, 0, 1, 0x10, 0, 0, 3, 0, 1, 0}), 4);
  CHECK_EQ(error_of(Bytes{0, 0, 0, 0, 255, 255, 255, 255, 3, 0, 1, 0}), 4);
}

TEST("more jobs in a frame than allowed are too many") {
  SessionLimits limits = small_limits;
  limits.frame_jobs_max = 2;
  CHECK_EQ(error_of(jobs({1, 2}), limits), 0);
  CHECK_EQ(error_of(jobs({1, 2, 3}), limits), 4);
}

TEST("frames that don't belong there are unexpected") {
  CHECK_EQ(error_of(hello()), 5);
  for (const int type : {0, 2, 4, 5, 6, 10, 11, 255}) CHECK_EQ(error_of(frame(static_cast<FrameType>(type), {})), 5);
  CHECK_EQ(error_of(frame(FrameType::ping, Bytes(8), 0, 1)), 5);
  const auto first = [](const Bytes& bytes) {
    Server server;
    Session session(server.shared, 1);
    Bytes out;
    session.feed(preamble() + bytes, out);
    return read_answers(out, true).error;
  };
  CHECK_EQ(first(jobs({1})), 5);
  CHECK_EQ(first(ping(1)), 5);
  CHECK_EQ(first(goodbye()), 5);
  // While its jobs wait for their answers, a producer that has said goodbye may ping and nothing else.
  CHECK_EQ(error_of(jobs({1}) + goodbye() + jobs({2})), 5);
  CHECK_EQ(error_of(jobs({1}) + goodbye() + goodbye()), 5);
  CHECK_EQ(error_of(jobs({1}) + goodbye() + ping(1)), 0);
}

TEST("frames without the shape of their type are malformed") {
  CHECK_EQ(error_of(frame(FrameType::ping, Bytes(7))), 6);
  CHECK_EQ(error_of(frame(FrameType::ping, Bytes(9))), 6);
  CHECK_EQ(error_of(frame(FrameType::ping, Bytes(8), 1)), 6);
  CHECK_EQ(error_of(frame(FrameType::goodbye, Bytes(2))), 6);
  CHECK_EQ(error_of(frame(FrameType::goodbye, Bytes(3), 1)), 6);
  CHECK_EQ(error_of(frame(FrameType::goodbye, Bytes(4), 0)), 6);
  CHECK_EQ(error_of(frame(FrameType::goodbye, Bytes{0, 0, 1, 0xff})), 6);
  const auto first = [](const Bytes& bytes) {
    Server server;
    Session session(server.shared, 1);
    Bytes out;
    session.feed(preamble() + bytes, out);
    return read_answers(out, true).error;
  };
  CHECK_EQ(first(frame(FrameType::hello, Bytes(12))), 6);
  CHECK_EQ(first(frame(FrameType::hello, Bytes(14))), 6);
  CHECK_EQ(first(hello(1, "\xff")), 6);
  CHECK_EQ(first(frame(FrameType::hello, Bytes(13), 1)), 6);
}

TEST("a JOBS frame whose jobs don't fill it is malformed and leaves nothing behind") {
  const Bytes good = jobs({1, 2});
  const std::span payload = std::span(good).subspan(frame_header_bytes);
  for (const size_t length : {payload.size() - 1, payload.size() / 2, size_t{11}, size_t{0}}) {
    Greeted server;
    CHECK_EQ(server.feed(frame(FrameType::jobs, payload.first(length), 2)).error, 6);
    CHECK(!server.queue.waiting());
  }
  CHECK_EQ(error_of(frame(FrameType::jobs, payload, 1)), 6);
  CHECK_EQ(error_of(frame(FrameType::jobs, payload, 3)), 6);
  CHECK_EQ(error_of(frame(FrameType::jobs, Bytes{7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1)), 6);
  CHECK_EQ(error_of(frame(FrameType::jobs, Bytes{255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0}, 1)), 6);
}

TEST("a bad job costs itself alone") {
  Greeted server;
  const Bytes large(600, 'x');
  const Answers answers = server.feed(jobs(std::vector<SentJob>{
      small_job(1), {2, Bytes{99, 0}}, small_job(3), {4, JobEncoding().field(4, std::string(600, 'x')).bytes()},
      small_job(5)}));
  if (CHECK_EQ(answers.refused.size(), 2)) {
    CHECK_EQ(answers.refused[0].code, static_cast<uint16_t>(Code::field_unknown));
    CHECK_EQ(answers.refused[1].code, static_cast<uint16_t>(Code::job_too_large));
  }
  CHECK_EQ(answers.credit, 0);
  CHECK(server.answered().acked == (std::vector<uint64_t>{1, 3, 5}));
  CHECK_EQ(server.session.credit(), first_credit);
  CHECK_EQ(server.shared.refused_jobs.load(), 2);
}

TEST("credit is used up by frames and comes back with the answers") {
  Greeted server;
  const Bytes frame = jobs({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  uint64_t left = first_credit;
  while (left >= frame.size()) {
    CHECK_EQ(server.feed(frame).error, 0);
    left -= frame.size();
    CHECK_EQ(server.session.credit(), left);
  }
  const Answers answers = server.answered();
  CHECK_EQ(answers.credit, first_credit - left);
  CHECK_EQ(server.session.credit(), first_credit);
  while (server.session.credit() >= frame.size()) server.feed(frame);
  CHECK_EQ(server.feed(frame).error, 7);
  CHECK(server.session.closed());
}

TEST("the jobs of a frame may be spread over groups; its credit comes with the last") {
  Greeted server(small_limits, 300);
  const Bytes frame = jobs({1, 2, 3, 4, 5, 6});
  server.feed(frame + jobs(std::vector<SentJob>{small_job(7), {8, Bytes{99, 0}}}));
  std::vector<uint64_t> acked;
  uint64_t credit = 0;
  int groups = 0;
  while (Group* group = server.queue.take(0)) {
    CHECK(group->xml.size() < 700);
    Bytes out;
    if (CHECK_EQ(group->shares.size(), 1)) append_acks(*group, group->shares[0], out);
    for (const uint64_t sequence : read_answers(out, false).acked) acked.push_back(sequence);
    if (acked.size() < 6) CHECK_EQ(group->shares[0].credit, 0);
    credit += group->shares[0].credit;
    groups++;
    server.queue.done(group);
  }
  CHECK(groups > 2);
  CHECK(acked == (std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7}));
  CHECK_EQ(credit, first_credit - server.session.credit());
  CHECK_EQ(server.queue.uncommitted_bytes(), 0);
}

TEST("credit is owed by the last job's group when a new one was begun for a job that is refused") {
  // Every group is full after one job.
  Greeted server(small_limits, 1);
  server.feed(jobs(std::vector<SentJob>{small_job(1), {2, Bytes{99, 0}}}));
  CHECK(server.answered().credit > 0);
  CHECK_EQ(server.session.credit(), first_credit);
  CHECK_EQ(server.groups, 1);
}

TEST("an empty JOBS frame is answered with its credit") {
  Greeted server;
  const Answers answers = server.feed(jobs(std::vector<SentJob>{}));
  CHECK_EQ(answers.credit, frame_header_bytes);
  CHECK_EQ(server.session.credit(), first_credit);
}

TEST("while the store fails jobs are refused with its code, and their credit comes back at once") {
  for (const Code code : {Code::store_full, Code::store_failing, Code::retired}) {
    Greeted server;
    server.queue.refuse(code);
    const Bytes frame = jobs({1, 2, 3});
    const Answers answers = server.feed(frame);
    CHECK_EQ(answers.refused.size(), 3);
    for (const Refused& one : answers.refused) CHECK_EQ(one.code, static_cast<uint16_t>(code));
    CHECK_EQ(answers.credit, frame.size());
    CHECK(!server.queue.waiting());
    server.queue.refuse(Code::none);
    server.feed(frame);
    CHECK_EQ(server.answered().acked.size(), 3);
  }
}

TEST("after usher's goodbye jobs are refused with its code, and what came before is answered") {
  Greeted server;
  server.feed(jobs({1}));
  Bytes out;
  const std::vector<std::string> addresses{"other:7433"};
  server.session.say_goodbye(Code::draining, "going", addresses, out);
  const Answers said = read_answers(out, false);
  CHECK(said.sound);
  CHECK_EQ(said.goodbye_code, 66);
  const Answers answers = server.feed(jobs({2}));
  if (CHECK_EQ(answers.refused.size(), 1)) CHECK_EQ(answers.refused[0].code, 66);
  server.feed(goodbye());
  CHECK(!server.session.closed());
  const Answers last = server.answered();
  CHECK(last.acked == std::vector<uint64_t>{1});
  CHECK_EQ(last.goodbyes, 0);
  CHECK(server.session.closed());
}

TEST("a goodbye with nothing outstanding is answered at once") {
  Greeted server;
  CHECK_EQ(server.feed(goodbye()).goodbyes, 1);
  CHECK(server.session.closed());
}

TEST("incomplete frames beyond the memory for them cost the one that goes too far") {
  SessionLimits limits = small_limits;
  limits.partial_bytes_max = 100;
  Greeted first(limits);
  Session second(first.shared, 2);
  Bytes out;
  second.feed(greeting(), out);
  const Bytes frame = jobs({1, 2, 3, 4});
  out.clear();
  second.feed(std::span(frame).first(80), out);
  CHECK(out.empty());
  CHECK_EQ(first.feed(Bytes(frame.begin(), frame.begin() + 20)).error, 0);
  CHECK_EQ(first.feed(Bytes(frame.begin() + 20, frame.begin() + 21)).error, 12);
  CHECK(first.session.closed());
  CHECK_EQ(first.shared.partial_bytes.load(), 80);
  // The other's frame is completed, though its rest is more than the memory that is left.
  second.feed(std::span(frame).subspan(80), out);
  CHECK(!second.closed() && out.empty());
  CHECK_EQ(first.shared.partial_bytes.load(), 0);
  CHECK(first.queue.waiting());
}

TEST("after an error nothing more is taken") {
  Greeted server;
  CHECK_EQ(server.feed(hello() + jobs({1})).error, 5);
  CHECK(server.feed(jobs({2})).types.empty());
  CHECK(!server.queue.waiting());
}

TEST("runs name exactly the jobs that were added, whatever their order") {
  Random random(seed());
  for (int round = 0; round < 200; round++) {
    Group group;
    std::vector<uint64_t> expected[3];
    uint32_t shares[3];
    for (uint32_t i = 0; i < 3; i++) shares[i] = group.add_share(i);
    uint64_t sequences[3] = {0, UINT64_MAX - 20, 1000};
    for (int i = 0; i < 300; i++) {
      const size_t who = random.below(3);
      if (random.one_in(10)) sequences[who] += random.below(5);
      group.add_job(shares[who], sequences[who]);
      expected[who].push_back(sequences[who]++);
    }
    for (size_t who = 0; who < 3; who++) {
      Bytes out;
      append_acks(group, group.shares[shares[who]], out);
      const Answers answers = read_answers(out, false);
      CHECK(answers.sound && answers.acked == expected[who]);
      out.clear();
      append_refusals(group, group.shares[shares[who]], Code::store_full, out);
      CHECK_EQ(read_answers(out, false).refused.size(), expected[who].size());
    }
  }
}

TEST("many answers go out in several frames") {
  Group group;
  const uint32_t share = group.add_share(1);
  for (uint64_t i = 0; i < 20'000; i++) group.add_job(share, i * 2);
  Bytes out;
  append_acks(group, group.shares[share], out);
  Answers answers = read_answers(out, false);
  CHECK(answers.sound && answers.acked.size() == 20'000 && answers.types.size() > 1);
  out.clear();
  append_refusals(group, group.shares[share], Code::store_full, out);
  answers = read_answers(out, false);
  CHECK(answers.sound && answers.refused.size() == 20'000 && answers.types.size() > 1);
}

}  // namespace
}  // namespace usher::test
