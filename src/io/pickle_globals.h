// The names that a pickle may import, and what each means here.
#pragma once

#include <easel/dtype.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace easel::io {

enum class GlobalRole : uint8_t {
  ordered_dict,
  set,
  size,               ///< torch.Size(tuple)
  rebuild_tensor,     ///< (storage, offset, size, stride, …)
  rebuild_tensor_v3,  ///< the same, with the dtype after the hooks
  rebuild_parameter,  ///< (tensor, …)
  storage,            ///< the element type of a storage
  dtype,              ///< the element type of a tensor
  encode,             ///< _codecs.encode(text, "latin1"): how protocol 2 writes bytes
  numpy_dtype,
  numpy_scalar,
  opaque,  ///< may be called; what comes out is kept closed
  name,    ///< may be mentioned, not called
};

struct AllowedGlobal {
  std::string_view module, name;
  GlobalRole role;
  std::optional<DType> dtype;
};

inline constexpr AllowedGlobal kAllowedGlobals[] = {
    {"collections", "OrderedDict", GlobalRole::ordered_dict, {}},
    {"builtins", "set", GlobalRole::set, {}},
    {"__builtin__", "set", GlobalRole::set, {}},
    {"torch", "Size", GlobalRole::size, {}},
    {"torch", "device", GlobalRole::opaque, {}},
    {"torch._utils", "_rebuild_tensor", GlobalRole::rebuild_tensor, {}},
    {"torch._utils", "_rebuild_tensor_v2", GlobalRole::rebuild_tensor, {}},
    {"torch._utils", "_rebuild_tensor_v3", GlobalRole::rebuild_tensor_v3, {}},
    {"torch._utils", "_rebuild_parameter", GlobalRole::rebuild_parameter, {}},
    {"torch", "DoubleStorage", GlobalRole::storage, DType::f64},
    {"torch", "FloatStorage", GlobalRole::storage, DType::f32},
    {"torch", "HalfStorage", GlobalRole::storage, DType::f16},
    {"torch", "BFloat16Storage", GlobalRole::storage, DType::bf16},
    {"torch", "LongStorage", GlobalRole::storage, DType::i64},
    {"torch", "IntStorage", GlobalRole::storage, DType::i32},
    {"torch", "ShortStorage", GlobalRole::storage, DType::i16},
    {"torch", "CharStorage", GlobalRole::storage, DType::i8},
    {"torch", "ByteStorage", GlobalRole::storage, DType::u8},
    {"torch", "BoolStorage", GlobalRole::storage, DType::boolean},
    {"torch", "UntypedStorage", GlobalRole::storage, DType::u8},
    {"torch.storage", "UntypedStorage", GlobalRole::storage, DType::u8},
    {"torch", "float64", GlobalRole::dtype, DType::f64},
    {"torch", "float32", GlobalRole::dtype, DType::f32},
    {"torch", "float16", GlobalRole::dtype, DType::f16},
    {"torch", "bfloat16", GlobalRole::dtype, DType::bf16},
    {"torch", "float8_e4m3fn", GlobalRole::dtype, DType::f8_e4m3},
    {"torch", "float8_e5m2", GlobalRole::dtype, DType::f8_e5m2},
    {"torch", "int64", GlobalRole::dtype, DType::i64},
    {"torch", "int32", GlobalRole::dtype, DType::i32},
    {"torch", "int16", GlobalRole::dtype, DType::i16},
    {"torch", "int8", GlobalRole::dtype, DType::i8},
    {"torch", "uint64", GlobalRole::dtype, DType::u64},
    {"torch", "uint32", GlobalRole::dtype, DType::u32},
    {"torch", "uint16", GlobalRole::dtype, DType::u16},
    {"torch", "uint8", GlobalRole::dtype, DType::u8},
    {"torch", "bool", GlobalRole::dtype, DType::boolean},
    {"_codecs", "encode", GlobalRole::encode, {}},
    {"numpy", "dtype", GlobalRole::numpy_dtype, {}},
    {"numpy", "ndarray", GlobalRole::name, {}},
    {"numpy.core.multiarray", "scalar", GlobalRole::numpy_scalar, {}},
    {"numpy._core.multiarray", "scalar", GlobalRole::numpy_scalar, {}},
    {"numpy.core.multiarray", "_reconstruct", GlobalRole::opaque, {}},
    {"numpy._core.multiarray", "_reconstruct", GlobalRole::opaque, {}},
    // Training programs leave the class of a callback as a key in their checkpoints.
    {"pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", GlobalRole::name, {}},
    {"pytorch_lightning.callbacks.early_stopping", "EarlyStopping", GlobalRole::name, {}},
};

constexpr const AllowedGlobal* find_allowed_global(std::string_view module, std::string_view name) {
  for (const AllowedGlobal& row : kAllowedGlobals)
    if (row.module == module && row.name == name) return &row;
  return nullptr;
}

}  // namespace easel::io
