// Draws a picture with a model of aae-zoo; ONNX Runtime's C++ interface (headers over its C library) is all that this needs.
//
//     c++ -std=c++17 draw.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -Wl,-rpath,$ORT/lib -o draw && ./draw [SEED [LABEL]]
//
// reads prior.onnx and decoder.onnx where it is run, prints the numbers and writes picture.pgm (gray) or .ppm (colour).
// Model: any of aae-zoo; what differs between models is read from the graphs.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>
#include "onnxruntime_cxx_api.h"

// Uniform in (0, 1): a counter through MurmurHash3's finaliser. Any generator will do; every example has this one.
static float noise(std::uint32_t seed, std::uint32_t i) {
  std::uint32_t x = seed * 0x9E3779B9u + i + 1;
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x = (x ^ x >> 13) * 0xC2B2AE35u;
  return (static_cast<float>((x ^ x >> 16) >> 9) * 2 + 1) / 16777216;
}

static void print(const std::string& name, const float* values, std::size_t count) {
  std::printf("%s", name.c_str());
  for (std::size_t i = 0; i < count; i++) std::printf(" %.6f", values[i]);
  std::printf("\n");
}

static void draw(std::uint32_t seed, const char* label_text) {
  Ort::Env env;
  Ort::Session prior(env, ORT_TSTR("prior.onnx"), Ort::SessionOptions());
  Ort::Session decoder(env, ORT_TSTR("decoder.onnx"), Ort::SessionOptions());
  Ort::AllocatorWithDefaultOptions allocator;
  const Ort::ModelMetadata facts = prior.GetModelMetadata();
  const auto fact = [&](const std::string& key) {
    const auto value = facts.LookupCustomMetadataMapAllocated(("aae_zoo." + key).c_str(), allocator);
    return value ? std::string(value.get()) : throw std::runtime_error("the graph has no aae_zoo." + key);
  };

  int channels = 0, height = 0, width = 0;
  std::sscanf(fact("image_shape").c_str(), "[%d, %d, %d]", &channels, &height, &width);
  std::vector<float> u(std::stoul(fact("noise")));
  for (std::size_t i = 0; i < u.size(); i++) u[i] = noise(seed, static_cast<std::uint32_t>(i));
  if (label_text) {  // one coordinate of the noise chooses the class: the interval (k, k + 1) / classes is class k
    const int label = std::stoi(label_text), classes = std::stoi(fact("classes"));
    if (fact("label_coordinate").empty() || label < 0 || label >= classes)
      throw std::runtime_error("there is no label " + std::to_string(label) + "; there are " + fact("labels"));
    float& chooses = u.at(std::stoul(fact("label_coordinate")));
    chooses = static_cast<float>((label + 0.5 + 0.99 * (static_cast<double>(chooses) - 0.5)) / classes);
  }

  std::vector<Ort::AllocatedStringPtr> owned;  // the prior's outputs are the decoder's inputs, by name
  std::vector<const char*> names;
  for (std::size_t i = 0; i < prior.GetOutputCount(); i++) {
    owned.push_back(prior.GetOutputNameAllocated(i, allocator));
    names.push_back(owned.back().get());
  }
  const auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::int64_t shape[] = {1, static_cast<std::int64_t>(u.size())};
  const Ort::Value input = Ort::Value::CreateTensor<float>(cpu, u.data(), u.size(), shape, 2);
  const char *u_name = "u", *image_name = "image";
  const Ort::RunOptions run;
  std::vector<Ort::Value> codes = prior.Run(run, &u_name, &input, 1, names.data(), names.size());
  std::vector<Ort::Value> images = decoder.Run(run, names.data(), codes.data(), codes.size(), &image_name, 1);
  const float* image = images[0].GetTensorData<float>();  // [1, channels, height, width], each in [0, 1]
  const int size = height * width;

  print("u", u.data(), u.size());
  for (std::size_t i = 0; i < codes.size(); i++)
    print(names[i], codes[i].GetTensorData<float>(), codes[i].GetTensorTypeAndShapeInfo().GetElementCount());
  const float mean = static_cast<float>(std::accumulate(image, image + channels * size, 0.0) / (channels * size));
  print("mean", &mean, 1);
  std::vector<float> middle;
  for (int c = 0; c < channels; c++)
    middle.insert(middle.end(), image + c * size + height / 2 * width, image + c * size + (height / 2 + 1) * width);
  print("middle", middle.data(), middle.size());

  std::ofstream file(channels == 1 ? "picture.pgm" : "picture.ppm", std::ios::binary);
  file << (channels == 1 ? "P5 " : "P6 ") << width << ' ' << height << " 255\n";
  for (int i = 0; i < size; i++)
    for (int c = 0; c < channels; c++) file.put(static_cast<char>(image[c * size + i] * 255 + 0.5f));
  if (!file.flush()) throw std::runtime_error("the picture cannot be written");
}

int main(int count, char** arguments) {
#ifdef _WIN32
  if (!std::getenv("ORT_DISABLE_TELEMETRY")) _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // ONNX Runtime reads it when its environment is made
#endif
  try {
    draw(count > 1 ? static_cast<std::uint32_t>(std::stoul(arguments[1])) : 0, count > 2 ? arguments[2] : nullptr);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
