// The job itself: one process in a session of its own, told to end by signals to its group. Everything that
// goes wrong before exec is the job's failure, as it would be on a cluster, and comes back as a reason.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "record-file.h"
#include "run-order.h"

namespace usher {

inline std::int64_t boot_ms() noexcept {
  timespec now {};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

struct JobEnd {
  /// -1: none, it was killed by `signal`.
  int exit_code = -1;
  int signal = 0;
  std::string reason;
};

/// Signals that tell the runner to end its job.
inline sigset_t runner_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

class JobProcess {
 public:
  explicit JobProcess(const RunOrder& order) noexcept : order_(order) {}

  /// Starts the job and waits for its end. The caller has blocked runner_signals().
  [[nodiscard]] JobEnd run() noexcept {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return failed("no pipe: ", errno);
    Descriptor failure_in(ends[0]);
    Descriptor failure_out(ends[1]);
    std::vector<char*> arguments = pointers(order_.arguments);
    std::vector<char*> environment = pointers(order_.environment);
    pid_ = ::fork();
    if (pid_ < 0) return failed("no process: ", errno);
    if (pid_ == 0) become(failure_out.get(), arguments.data(), environment.data());
    (void)failure_out.close();
    const int status = wait();
    // Whatever the job left behind in its group ends with it, as a cluster would see to.
    (void)::kill(-pid_, SIGKILL);
    // A job that became its program wrote nothing here, since exec closed the pipe.
    std::string failure;
    if (read_to_end(failure_in.get(), failure) && failure.size() > 1) {
      return JobEnd{static_cast<unsigned char>(failure[0]), 0, failure.substr(1)};
    }
    JobEnd end;
    if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
    else end.signal = WTERMSIG(status);
    end.reason = timed_out_ ? "timed out" : told_to_end_ ? "killed" : end.signal != 0 ? "killed" : "exited";
    return end;
  }

 private:
  static std::vector<char*> pointers(const std::vector<std::string>& texts) noexcept {
    std::vector<char*> list;
    list.reserve(texts.size() + 1);
    for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
    list.push_back(nullptr);
    return list;
  }

  static JobEnd failed(const char* what, int error) noexcept {
    return JobEnd{126, 0, std::string(what) + std::strerror(error)};
  }

  /// In the child: says why it can't become the job, as a shell would count it, and ends.
  [[noreturn]] static void give_up(int fd, const std::string& what, int error) noexcept {
    const char code = static_cast<char>(error == ENOENT ? 127 : 126);
    const std::string text = std::string(1, code) + what + ": " + std::strerror(error);
    (void)write_all(fd, text);
    ::_exit(code);
  }

  static void redirect(int failure, const std::string& path, int flags, int target,
                       const char* what) noexcept {
    const char* file = path.empty() ? "/dev/null" : path.c_str();
    const int fd = ::open(file, flags | O_CLOEXEC, 0666);
    if (fd < 0) give_up(failure, std::string(what) + " '" + file + "' can't be opened", errno);
    if (::dup2(fd, target) < 0) give_up(failure, std::string(what) + " can't be set", errno);
    if (fd > STDERR_FILENO) ::close(fd);
  }

  [[noreturn]] void become(int failure, char* const* arguments, char* const* environment) noexcept {
    ::setsid();
    if (!order_.directory.empty() && ::chdir(order_.directory.c_str()) != 0) {
      give_up(failure, "the directory '" + order_.directory + "' can't be entered", errno);
    }
    constexpr int out = O_WRONLY | O_CREAT | O_TRUNC;
    redirect(failure, order_.stdin_path, O_RDONLY, STDIN_FILENO, "stdin_path");
    redirect(failure, order_.stdout_path, out, STDOUT_FILENO, "stdout_path");
    if (order_.stderr_path == order_.stdout_path && !order_.stderr_path.empty()) {
      if (::dup2(STDOUT_FILENO, STDERR_FILENO) < 0) give_up(failure, "stderr_path can't be set", errno);
    } else {
      redirect(failure, order_.stderr_path, out, STDERR_FILENO, "stderr_path");
    }
    ::signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // execvpe() looks for the program along this process's own PATH, and the job's is what counts.
    const char* path = "/usr/local/bin:/usr/bin:/bin";
    for (char* const* at = environment; *at != nullptr; ++at) {
      if (std::strncmp(*at, "PATH=", 5) == 0) path = *at + 5;
    }
    ::setenv("PATH", path, 1);
    ::execvpe(arguments[0], arguments, environment);
    give_up(failure, std::string("the executable '") + arguments[0] + "' can't be run", errno);
  }

  void tell(int number) noexcept {
    // Before the child has its own session there is no such group: then the child alone.
    if (::kill(-pid_, number) != 0 && errno == ESRCH) (void)::kill(pid_, number);
  }

  /// Waits for the job; at the end of its duration, or when the runner is told to end, SIGTERM, and SIGKILL
  /// after the grace.
  int wait() noexcept {
    const sigset_t awaited = runner_signals();
    const std::int64_t never = INT64_MAX;
    const std::int64_t now_ms = boot_ms();
    const bool bounded = order_.duration_ms > 0 && order_.duration_ms < never - now_ms;
    std::int64_t term_at = bounded ? now_ms + order_.duration_ms : never;
    std::int64_t kill_at = never;
    for (;;) {
      int status = 0;
      const pid_t got = ::waitpid(pid_, &status, WNOHANG);
      if (got == pid_) return status;
      const std::int64_t now = boot_ms();
      if (now >= kill_at) {
        tell(SIGKILL);
        kill_at = now + 1000;
      } else if (now >= term_at) {
        if (!told_to_end_) timed_out_ = true;
        tell(SIGTERM);
        // A stopped job can't act on it before it goes on.
        tell(SIGCONT);
        term_at = never;
        kill_at = now + order_.grace_ms;
      }
      const std::int64_t next = term_at < kill_at ? term_at : kill_at;
      // At most a minute at a time: sigtimedwait() doesn't count a suspend, boot_ms() does.
      const std::int64_t left = next == never ? 60000 : next - now;
      const std::int64_t wait_ms = left < 1 ? 1 : left > 60000 ? 60000 : left;
      timespec span {};
      span.tv_sec = static_cast<time_t>(wait_ms / 1000);
      span.tv_nsec = static_cast<long>(wait_ms % 1000) * 1000000;
      const int number = ::sigtimedwait(&awaited, nullptr, &span);
      if (number == SIGTERM || number == SIGINT || number == SIGHUP) {
        told_to_end_ = true;
        if (kill_at == never) term_at = now;
      }
    }
  }

  const RunOrder& order_;
  pid_t pid_ = -1;
  bool timed_out_ = false;
  bool told_to_end_ = false;
};

}  // namespace usher
