// The whole test framework of the core: TEST registers a function under a sentence, CHECK and CHECK_EQ count
// what is false and go on. It must never hide a failure: a test without a single check fails too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace usher::test {

struct Test {
  const char* title;
  void (*run)();
  Test* next;
  Test(const char* title, void (*run)()) noexcept;
};

// Counts one check of the running test; prints where it stands and `what` if it is false. Returns `good`.
bool check(bool good, const char* file, int line, const std::string& what);

// The seed of the random tests: env SEED, else a new one, printed by main so that a run can be replayed.
uint64_t seed() noexcept;

// SplitMix64: small, good enough, the same on every machine.
class Random {
 public:
  explicit Random(uint64_t state) noexcept : state_(state) {}
  uint64_t next() noexcept {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // 0 … bound − 1; bound must not be 0.
  uint64_t below(uint64_t bound) noexcept { return next() % bound; }
  bool one_in(uint64_t n) noexcept { return below(n) == 0; }

 private:
  uint64_t state_;
};

// Text as it is, bytes that are not printable ASCII as \xNN.
std::string show(std::string_view text);

template <class T>
std::string shown(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else if constexpr (std::is_arithmetic_v<T>) {
    return std::to_string(value);
  } else if constexpr (std::is_convertible_v<T, std::string_view>) {
    return "\"" + show(std::string_view(value)) + "\"";
  } else if constexpr (std::is_pointer_v<T>) {
    return value == nullptr ? "null" : "a pointer";
  } else {
    return "a value";
  }
}

template <class A, class B>
bool check_equal(const A& a, const B& b, const char* text, const char* file, int line) {
  bool equal;
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && !std::is_same_v<A, bool> &&
                !std::is_same_v<B, bool> && !std::is_same_v<A, char> && !std::is_same_v<B, char>) {
    equal = std::cmp_equal(a, b);
  } else {
    equal = a == b;
  }
  return check(equal, file, line, equal ? std::string() : text + (": " + shown(a)) + " is not " + shown(b));
}

}  // namespace usher::test

#define USHER_JOIN_(a, b) a##b
#define USHER_JOIN(a, b) USHER_JOIN_(a, b)
#define USHER_TEST(title, id)                                             \
  static void USHER_JOIN(test_, id)();                                    \
  static ::usher::test::Test USHER_JOIN(registered_, id)(title, USHER_JOIN(test_, id)); \
  static void USHER_JOIN(test_, id)()
// TEST("sentence about behaviour") { … }
#define TEST(title) USHER_TEST(title, __COUNTER__)
// Both yield whether the check held, so that a test can stop where going on makes no sense.
#define CHECK(expression) \
  ::usher::test::check(static_cast<bool>(expression), __FILE__, __LINE__, #expression)
#define CHECK_EQ(a, b) ::usher::test::check_equal((a), (b), #a " == " #b, __FILE__, __LINE__)
