// Reading and writing past the page cache (O_DIRECT). The cache costs: pages are got, filled, and given back, and where a
// hypervisor backs fresh ones only when they are touched, that is most of what writing a large file costs. Where a file
// system can't, nothing is different but the cost. Nothing here fails, and nothing decides what is worth it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "byte-buffer.h"

namespace usher {

// Of memory, offsets and lengths. Some disks take less, but a smaller piece shares a block of the file system, and often a
// sector, with what was written before it: both are then read and written again.
inline constexpr size_t block_bytes = 4096;

// What is shorter goes through the cache: whoever reads it next finds it there, and waits for no disk.
inline constexpr uint64_t direct_bytes_min = 64 * 1024;

using BlockBuffer = AlignedByteBuffer<block_bytes>;

// From now on past the cache. False: the file system can't, or takes only larger pieces than blocks.
bool begin_direct(int fd) noexcept;
// Through the cache again. False: it did that anyway.
bool end_direct(int fd) noexcept;
bool is_direct(int fd) noexcept;

}  // namespace usher
