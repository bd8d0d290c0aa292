#include "direct-io.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace usher {
namespace {

#ifdef STATX_DIOALIGN
bool blocks_suffice(int fd) noexcept {
  struct statx about {};
  // A kernel that can't say (before 6.1), or not for this file system, is asked by the first read or write.
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &about) != 0) return true;
  if ((about.stx_mask & STATX_DIOALIGN) == 0) return true;
  return about.stx_dio_offset_align > 0 && block_bytes % about.stx_dio_offset_align == 0 &&
         about.stx_dio_mem_align > 0 && block_bytes % about.stx_dio_mem_align == 0;
}
#else
bool blocks_suffice(int) noexcept { return true; }
#endif

}  // namespace

bool begin_direct(int fd) noexcept {
  // Set afterwards instead of by open(): where that is refused, the file may have been created all the same.
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && blocks_suffice(fd) && ::fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

bool end_direct(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_DIRECT) != 0 && ::fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

bool is_direct(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_DIRECT) != 0;
}

}  // namespace usher
