// usher-run: runs one job of the `local` driver, once. It outlives the usher that started it, as a
// container's shim outlives its runtime, so that a restart of usher costs no running job.
//
//   1. reads its order from standard input, to the end (run-order.h);
//   2. claims the job: NAME.run, made by link(2). Of any number of runners for one job a single one gets past
//      this, and none does after the order's deadline, which the kernel keeps: a timer kills this process;
//   3. says on standard output what came of that, one line, and closes it:
//        claimed PID   it will run (or has failed on its own account, as NAME.end will say)
//        exists        another runner has it, or had it
//        late          the deadline has passed, nothing was done
//        failed WHY    nothing was done
//        unclear WHY   nothing will be run, but the claim may stand: for the driver it is doubt
//   4. runs the job, bounded by its duration (job-process.h);
//   5. writes NAME.end: exit code or signal, times, and the reason in a word.
//
// It must never run a job without holding its claim, and never leave a claimed job's end unwritten while it
// lives.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>

#include "job-process.h"
#include "record-file.h"
#include "run-order.h"

namespace usher {
namespace {

/// To the driver, if it is still there.
void say(const std::string& line) noexcept { (void)write_all(STDOUT_FILENO, line + "\n"); }

/// The kernel kills this process at a time of CLOCK_BOOTTIME, whatever it is doing.
class Deadline {
 public:
  Deadline() noexcept = default;
  ~Deadline() { disarm(); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  [[nodiscard]] int arm(std::int64_t at_ms) noexcept {
    sigevent event {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGKILL;
    if (::timer_create(CLOCK_BOOTTIME, &event, &timer_) != 0) return errno;
    armed_ = true;
    itimerspec span {};
    span.it_value.tv_sec = static_cast<time_t>(at_ms / 1000);
    span.it_value.tv_nsec = static_cast<long>(at_ms % 1000) * 1000000;
    return ::timer_settime(timer_, TIMER_ABSTIME, &span, nullptr) == 0 ? 0 : errno;
  }

  void disarm() noexcept {
    if (armed_) (void)::timer_delete(timer_);
    armed_ = false;
  }

 private:
  timer_t timer_ {};
  bool armed_ = false;
};

std::string read_small(const char* path) noexcept {
  Descriptor file(::open(path, O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!file.open() || !read_to_end(file.get(), text)) return {};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// Field 22 of /proc/self/stat: with the pid, and the boot id, what tells this process from any other.
std::string start_ticks() noexcept {
  const std::string text = read_small("/proc/self/stat");
  // The name in field 2 may hold spaces; fields are counted from its closing bracket.
  std::size_t at = text.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = text.find(' ', at + 1);
  if (at == std::string::npos) return {};
  return text.substr(at + 1, text.find(' ', at + 1) - at - 1);
}

/// Makes NAME.run. True: this process alone may run the job.
bool claim(int directory, const RunOrder& order, const std::string& started) noexcept {
  const std::string pid = std::to_string(::getpid());
  const std::string ticks = start_ticks();
  const std::string boot = read_small("/proc/sys/kernel/random/boot_id");
  if (ticks.empty() || boot.empty()) {
    say("failed /proc is not as expected");
    return false;
  }
  std::string record = "pid " + pid + "\nstart_ticks " + ticks + "\n";
  record += "boot_id " + boot + "\nstarted " + started + "\n";
  for (const std::string& stamp : order.stamps) record += one_line(stamp) + "\n";

  Deadline deadline;
  if (const int error = deadline.arm(order.deadline_ms); error != 0) {
    say(std::string("failed no timer: ") + std::strerror(error));
    return false;
  }
  const std::string own = "." + order.name + ".run." + pid + "." + ticks;
  if (const int error = write_private(directory, own, record); error != 0) {
    say(std::string("failed the run record can't be written: ") + std::strerror(error));
    return false;
  }
  const std::string name = order.name + ".run";
  if (boot_ms() >= order.deadline_ms) {
    (void)::unlinkat(directory, own.c_str(), 0);
    say("late");
    return false;
  }
  int error = 0;
  const Publish published = link_exclusively(directory, own, name, error);
  if (published == Publish::done && ::fsync(directory) != 0) {
    // A claim that may not survive a crash of the machine is none: it is taken back before anything has run.
    error = errno;
    (void)::unlinkat(directory, name.c_str(), 0);
    (void)::unlinkat(directory, own.c_str(), 0);
    say(std::string("failed the run record can't be synced: ") + std::strerror(error));
    return false;
  }
  deadline.disarm();
  // A private name left behind is swept by the driver.
  (void)::unlinkat(directory, own.c_str(), 0);
  if (published == Publish::done) return true;
  if (published == Publish::taken) say("exists");
  // Neither the name's inode nor its absence is known: said in no word that the driver takes for certain.
  else say(std::string("unclear ") + std::strerror(error));
  return false;
}

std::string end_record(const JobEnd& end, const std::string& started) noexcept {
  std::string record;
  if (end.exit_code >= 0) record += "exit_code " + std::to_string(end.exit_code) + "\n";
  if (end.signal != 0) {
    const char* name = ::sigabbrev_np(end.signal);
    record += "signal " + (name != nullptr ? "SIG" + std::string(name) : std::to_string(end.signal)) + "\n";
  }
  return record + "started " + started + "\nended " + utc_now() + "\nreason " + one_line(end.reason) + "\n";
}

/// Writes NAME.end, however long the store takes: full and failing disks are waited for, up to a day.
bool write_end(int directory, const RunOrder& order, const std::string& record) noexcept {
  const std::string own = "." + order.name + ".end." + std::to_string(::getpid());
  const std::string name = order.name + ".end";
  constexpr std::int64_t patience_ms = 24LL * 3600 * 1000;
  const std::int64_t give_up_at = boot_ms() + patience_ms;
  for (unsigned pause_s = 1; boot_ms() < give_up_at; pause_s = pause_s < 30 ? pause_s * 2 : 30) {
    if (write_private(directory, own, record) == 0) {
      (void)::renameat(directory, own.c_str(), directory, name.c_str());
      // What rename reported doesn't matter where the record can be seen under its name.
      struct stat seen {};
      const bool there = ::fstatat(directory, name.c_str(), &seen, AT_SYMLINK_NOFOLLOW) == 0;
      if (there && ::fsync(directory) == 0) return true;
    }
    ::sleep(pause_s);
  }
  return false;
}

int run() noexcept {
  ::signal(SIGPIPE, SIG_IGN);
  std::string text;
  RunOrder order;
  std::string reason;
  if (!read_to_end(STDIN_FILENO, text) || !parse_order(text, order, reason)) {
    say("failed " + (reason.empty() ? std::string("the order can't be read") : reason));
    return 64;
  }
  text.clear();
  const Descriptor directory(::open(order.records.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.open()) {
    say("failed '" + order.records + "' can't be opened: " + std::strerror(errno));
    return 74;
  }
  const sigset_t awaited = runner_signals();
  ::sigprocmask(SIG_BLOCK, &awaited, nullptr);
  // The order's paths are absolute; a runner mustn't keep the file system busy that usher was started in.
  (void)!::chdir("/");
  const std::string started = utc_now();
  if (!claim(directory.get(), order, started)) return 75;
  say("claimed " + std::to_string(::getpid()));
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    (void)::dup2(null, STDIN_FILENO);
    (void)::dup2(null, STDOUT_FILENO);
    if (null > STDERR_FILENO) ::close(null);
  }
  JobProcess job(order);
  const JobEnd end = job.run();
  return write_end(directory.get(), order, end_record(end, started)) ? 0 : 74;
}

}  // namespace
}  // namespace usher

int main() { return usher::run(); }
