// The one field of EXIF data that changes a picture.
#pragma once

#include <cstddef>
#include <span>

namespace easel::io {

/// The orientation (tag 0x0112, 1 … 8) in EXIF data, a TIFF structure after an optional "Exif\0\0"; 1 where there is
/// none or the data make no sense: a picture is not refused for its EXIF. CIPA DC-008 (EXIF 2.3), 4.6.
int exif_orientation(std::span<const std::byte> exif);

}  // namespace easel::io
