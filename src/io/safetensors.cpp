#include "io/safetensors.h"

#include "io/mapped_file.h"

namespace easel::io {

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  SafetensorsHeader header = parse_safetensors_header(file->bytes(), file->bytes().size(), path);
  return SafetensorsFile(from(std::move(file), {Container::safetensors, std::move(header.tensors),
                                                std::move(header.metadata), header.data_offset}));
}

}  // namespace easel::io
