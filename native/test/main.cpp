// Runs the registered tests, all or those whose title contains one of the arguments.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "check.h"

namespace usher::test {
namespace {

Test* first = nullptr;
Test** last = &first;
size_t checks_of_test = 0;
size_t failures_of_test = 0;
constexpr size_t failures_printed_max = 10;

uint64_t chosen_seed() noexcept {
  if (const char* given = std::getenv("SEED"); given != nullptr && *given != '\0') {
    return std::strtoull(given, nullptr, 0);
  }
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

bool wanted(const char* title, int count, char** arguments) noexcept {
  for (int i = 1; i < count; i++) {
    if (std::strstr(title, arguments[i]) != nullptr) return true;
  }
  return count < 2;
}

}  // namespace

Test::Test(const char* title_, void (*run_)()) noexcept : title(title_), run(run_), next(nullptr) {
  *last = this;
  last = &next;
}

bool check(bool good, const char* file, int line, const std::string& what) {
  checks_of_test++;
  if (good) return true;
  if (failures_of_test++ < failures_printed_max) std::printf("  %s:%d: %s\n", file, line, what.c_str());
  return false;
}

uint64_t seed() noexcept {
  static const uint64_t value = chosen_seed();
  return value;
}

std::string show(std::string_view text) {
  constexpr size_t shown_max = 600;
  std::string out;
  for (const char c : text.substr(0, shown_max)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      char hex[5];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += hex;
    }
  }
  if (text.size() > shown_max) out += "… (" + std::to_string(text.size()) + " bytes)";
  return out;
}

static int run_all(int count, char** arguments) {
  size_t passed = 0;
  size_t failed = 0;
  for (const Test* test = first; test != nullptr; test = test->next) {
    if (!wanted(test->title, count, arguments)) continue;
    checks_of_test = failures_of_test = 0;
    // Printed before it runs, so that a crash or a sanitizer's report has a name.
    std::printf("%s\n", test->title);
    std::fflush(stdout);
    test->run();
    if (checks_of_test == 0) check(false, test->title, 0, "the test checked nothing");
    if (failures_of_test == 0) {
      passed++;
    } else {
      failed++;
      std::printf("  FAILED: %zu of %zu checks\n", failures_of_test, checks_of_test);
    }
  }
  std::printf("%zu passed, %zu failed (SEED=%" PRIu64 ")\n", passed, failed, seed());
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace usher::test

int main(int count, char** arguments) { return usher::test::run_all(count, arguments); }
