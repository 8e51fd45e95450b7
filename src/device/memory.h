// Large aligned buffers and what the system says about memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace easel::device {

/// Anonymous memory, zero until written, page-aligned, with huge pages asked for; given back when destroyed.
class Buffer {
 public:
  Buffer() = default;
  /// Throws out_of_memory.
  explicit Buffer(int64_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  std::byte* data() const noexcept { return data_; }
  int64_t size() const noexcept { return size_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

/// Bytes this process may still take without swapping: free and reclaimable memory, within the control group's limit.
int64_t available_memory();
/// Resident size of this process now, in bytes; 0 where the system does not say.
int64_t resident_memory();
/// Highest resident size of this process so far, in bytes.
int64_t peak_resident_memory();

}  // namespace easel::device
