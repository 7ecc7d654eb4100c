// As much of ONNX Runtime's C++ interface as the example uses, for machines without its header, in the signatures of the
// official header of the same name, which programs include. Nothing is released: a test's process is short.
#pragma once
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>
#include "onnxruntime_c_api.h"

namespace Ort {
inline const OrtApi& GetApi() { return *OrtGetApiBase()->GetApi(ORT_API_VERSION); }

struct Exception : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void ThrowOnError(OrtStatus* status) {
  if (status) throw Exception(GetApi().GetErrorMessage(status));
}

struct Env {
  Env() { ThrowOnError(GetApi().CreateEnv(ORT_LOGGING_LEVEL_WARNING, "", &p)); }
  OrtEnv* p{};
};

struct SessionOptions {
  SessionOptions() { ThrowOnError(GetApi().CreateSessionOptions(&p)); }
  OrtSessionOptions* p{};
};

struct RunOptions {};

struct AllocatorWithDefaultOptions {
  AllocatorWithDefaultOptions() { ThrowOnError(GetApi().GetAllocatorWithDefaultOptions(&p)); }
  operator OrtAllocator*() { return p; }
  OrtAllocator* p{};
};

using AllocatedStringPtr = std::unique_ptr<char, std::function<void(void*)>>;

inline AllocatedStringPtr Allocated(OrtAllocator* allocator, char* text) {
  return AllocatedStringPtr(text, [allocator](void* p) { (void)GetApi().AllocatorFree(allocator, p); });
}

struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType type, OrtMemType memory) {
    MemoryInfo info;
    ThrowOnError(GetApi().CreateCpuMemoryInfo(type, memory, &info.p));
    return info;
  }
  operator const OrtMemoryInfo*() const { return p; }
  OrtMemoryInfo* p{};
};

struct TensorTypeAndShapeInfo {
  size_t GetElementCount() const {
    size_t count;
    ThrowOnError(GetApi().GetTensorShapeElementCount(p, &count));
    return count;
  }
  OrtTensorTypeAndShapeInfo* p{};
};

struct Value {
  template <typename T>
  static Value CreateTensor(const OrtMemoryInfo* info, T* data, size_t count, const int64_t* shape, size_t rank) {
    Value value;
    ThrowOnError(GetApi().CreateTensorWithDataAsOrtValue(info, data, count * sizeof(T), shape, rank,
                                                         ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value.p));
    return value;
  }
  template <typename T>
  const T* GetTensorData() const {
    void* data;
    ThrowOnError(GetApi().GetTensorMutableData(p, &data));
    return static_cast<const T*>(data);
  }
  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const {
    TensorTypeAndShapeInfo info;
    ThrowOnError(GetApi().GetTensorTypeAndShape(p, &info.p));
    return info;
  }
  OrtValue* p{};
};

struct ModelMetadata {
  AllocatedStringPtr LookupCustomMetadataMapAllocated(const char* key, OrtAllocator* allocator) const {
    char* value;
    ThrowOnError(GetApi().ModelMetadataLookupCustomMetadataMap(p, allocator, key, &value));
    return Allocated(allocator, value);
  }
  OrtModelMetadata* p{};
};

struct Session {
  Session(const Env& env, const ORTCHAR_T* path, const SessionOptions& options) {
    ThrowOnError(GetApi().CreateSession(env.p, path, options.p, &p));
  }
  ModelMetadata GetModelMetadata() const {
    ModelMetadata facts;
    ThrowOnError(GetApi().SessionGetModelMetadata(p, &facts.p));
    return facts;
  }
  size_t GetInputCount() const {
    size_t count;
    ThrowOnError(GetApi().SessionGetInputCount(p, &count));
    return count;
  }
  AllocatedStringPtr GetInputNameAllocated(size_t index, OrtAllocator* allocator) const {
    char* name;
    ThrowOnError(GetApi().SessionGetInputName(p, index, allocator, &name));
    return Allocated(allocator, name);
  }
  size_t GetOutputCount() const {
    size_t count;
    ThrowOnError(GetApi().SessionGetOutputCount(p, &count));
    return count;
  }
  AllocatedStringPtr GetOutputNameAllocated(size_t index, OrtAllocator* allocator) const {
    char* name;
    ThrowOnError(GetApi().SessionGetOutputName(p, index, allocator, &name));
    return Allocated(allocator, name);
  }
  std::vector<Value> Run(const RunOptions&, const char* const* input_names, const Value* inputs, size_t input_count,
                         const char* const* output_names, size_t output_count) {
    std::vector<Value> outputs(output_count);
    static_assert(sizeof(Value) == sizeof(OrtValue*), "a Value is its pointer, as in the official header");
    ThrowOnError(GetApi().Run(p, nullptr, input_names, reinterpret_cast<const OrtValue* const*>(inputs), input_count,
                              output_names, output_count, reinterpret_cast<OrtValue**>(outputs.data())));
    return outputs;
  }
  OrtSession* p{};
};
}  // namespace Ort
