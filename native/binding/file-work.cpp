// readWhole and writeSynced (src/base/native.ts): what takes several file operations in a row, done in one go on a thread of
// libuv's pool. Each hop to the pool and back costs as much as a small operation, and an idle host would sleep between them.
#include <fcntl.h>
#include <napi.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <memory>
#include <string>

#include "binding.h"

namespace usher::binding {
namespace {

// What is larger is a segment, and segments are read once: pages just let go of cost the next one less than fresh ones.
constexpr size_t kept_in_cache_max = 64 * 1024;

// Pages of their own, which go back to the kernel at once: from malloc they would stay in the arena of whichever thread read.
class Pages {
 public:
  Pages() noexcept = default;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
    if (data_ != nullptr) munmap(data_, size_);
  }

  // False: there is no memory.
  bool map(size_t size) noexcept {
    void* const data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (data == MAP_FAILED) return false;
    data_ = static_cast<uint8_t*>(data);
    size_ = size;
    return true;
  }
  uint8_t* data() const noexcept { return data_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

class Work : public Napi::AsyncWorker {
 public:
  Work(Napi::Env env, const char* name) : Napi::AsyncWorker(env, name), deferred_(env) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void fail(const char* operation, int error) noexcept {
    operation_ = operation;
    error_ = error;
  }
  bool has_failed() const noexcept { return error_ != 0; }
  void reject() { deferred_.Reject(errno_error(Env(), operation_, error_).Value()); }

  const Napi::Promise::Deferred deferred_;

 private:
  const char* operation_ = "";
  int error_ = 0;
};

class ReadWhole final : public Work {
 public:
  ReadWhole(Napi::Env env, std::string path) : Work(env, "usher-read"), path_(std::move(path)) {}

 protected:
  void Execute() override {
    int fd;
    do {
      fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return fail("open", errno);
    read_from(fd);
    if (bytes_max_ > kept_in_cache_max) static_cast<void>(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    // Nothing was written through it, so nothing can be lost in closing it.
    close(fd);
  }

  void OnOK() override {
    if (has_failed()) return reject();
    if (size_ == 0) return deferred_.Resolve(Napi::Buffer<uint8_t>::New(Env(), 0));
    const auto release = [](Napi::Env, uint8_t*, Pages* pages) { delete pages; };
    uint8_t* const data = pages_->data();
    deferred_.Resolve(Napi::Buffer<uint8_t>::NewOrCopy(Env(), data, size_, release, pages_.release()));
  }

 private:
  void read_from(int fd) noexcept {
    struct stat about {};
    if (fstat(fd, &about) != 0) return fail("fstat", errno);
    bytes_max_ = about.st_size < 0 ? 0 : static_cast<size_t>(about.st_size);
    if (bytes_max_ == 0) return;
    if (!pages_->map(bytes_max_)) return fail("mmap", ENOMEM);
    while (size_ < bytes_max_) {
      const ssize_t got = pread(fd, pages_->data() + size_, bytes_max_ - size_, static_cast<off_t>(size_));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail("read", errno);
      if (got == 0) return;
      size_ += static_cast<size_t>(got);
    }
  }

  const std::string path_;
  std::unique_ptr<Pages> pages_ = std::make_unique<Pages>();
  size_t bytes_max_ = 0;
  size_t size_ = 0;
};

class WriteSynced final : public Work {
 public:
  WriteSynced(Napi::Env env, int fd, Napi::Uint8Array bytes, uint64_t position)
      : Work(env, "usher-write"),
        fd_(fd),
        held_(Napi::Persistent(bytes.As<Napi::Object>())),
        bytes_(bytes.Data()),
        size_(bytes.ByteLength()),
        position_(position) {}

 protected:
  void Execute() override {
    for (size_t done = 0; done < size_;) {
      const ssize_t put = pwrite(fd_, bytes_ + done, size_ - done, static_cast<off_t>(position_ + done));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return fail("write", errno);
      // A file system that takes nothing and says no error would be asked for ever.
      if (put == 0) return fail("write", EIO);
      done += static_cast<size_t>(put);
    }
    // An interrupted sync says nothing about errors it may have consumed, so it isn't repeated but reported.
    if (fdatasync(fd_) != 0) fail("fdatasync", errno);
  }

  void OnOK() override {
    if (has_failed()) return reject();
    deferred_.Resolve(Env().Undefined());
  }

 private:
  const int fd_;
  // Keeps the bytes where they are until they are written.
  const Napi::ObjectReference held_;
  const uint8_t* const bytes_;
  const size_t size_;
  const uint64_t position_;
};

// Deletes itself when it is done.
Napi::Value start(Work* work) {
  const Napi::Promise promise = work->promise();
  work->Queue();
  return promise;
}

Napi::Value read_whole(const Napi::CallbackInfo& info) {
  auto path = text_argument(info[0], "path");
  if (!path) return info.Env().Undefined();
  return start(new ReadWhole(info.Env(), std::move(*path)));
}

Napi::Value write_synced(const Napi::CallbackInfo& info) {
  const auto fd = whole_argument(info[0], "fd", INT_MAX);
  if (!fd) return info.Env().Undefined();
  const auto bytes = bytes_argument(info[1], "bytes");
  if (!bytes) return info.Env().Undefined();
  const auto position = whole_argument(info[2], "position");
  if (!position) return info.Env().Undefined();
  return start(new WriteSynced(info.Env(), static_cast<int>(*fd), info[1].As<Napi::Uint8Array>(), *position));
}

}  // namespace

void init_file_work(Napi::Env env, Napi::Object exports) {
  exports.Set("readWhole", Napi::Function::New<read_whole>(env, "readWhole"));
  exports.Set("writeSynced", Napi::Function::New<write_synced>(env, "writeSynced"));
}

}  // namespace usher::binding
