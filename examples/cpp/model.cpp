// A model of aae-zoo; see model.hpp.
#include "model.hpp"
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include "asked.h"

namespace aae {
namespace {

Ort::Env environment() {
#ifdef _WIN32
  if (!std::getenv("ORT_DISABLE_TELEMETRY")) _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // ONNX Runtime reads it when its environment is made
#endif
  return Ort::Env();
}

// Uniform in (0, 1): a counter through MurmurHash3's finaliser. Any generator will do; every example has this one.
float uniform(std::uint32_t seed, std::uint32_t i) {
  std::uint32_t x = seed * 0x9E3779B9u + i + 1;
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x = (x ^ x >> 13) * 0xC2B2AE35u;
  return (static_cast<float>((x ^ x >> 16) >> 9) * 2 + 1) / 16777216;
}

// The names of what a graph takes or gives.
std::vector<std::string> names(const Ort::Session& graph, bool inputs) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<std::string> found;
  for (std::size_t i = 0; i < (inputs ? graph.GetInputCount() : graph.GetOutputCount()); i++)
    found.push_back((inputs ? graph.GetInputNameAllocated(i, allocator) : graph.GetOutputNameAllocated(i, allocator)).get());
  return found;
}

// How many numbers a row has of a tensor of this shape.
std::size_t row_size(const std::vector<std::int64_t>& shape) {
  std::size_t size = 1;
  for (std::size_t i = 1; i < shape.size(); i++) size *= static_cast<std::size_t>(shape[i]);
  return size;
}

// A value of what can be asked for, which is JSON.
asked_value find(const std::string& json, const std::string& attribute, const std::string& value) {
  asked_value found;
  if (!asked_find(json.c_str(), attribute.c_str(), value.c_str(), &found))
    throw std::invalid_argument("the model has no " + attribute + " " + value);
  return found;
}

}  // namespace

Model::Model(const std::filesystem::path& folder)
    : env_(environment()),
      prior_(env_, (folder / "prior.onnx").c_str(), Ort::SessionOptions()),
      decoder_(env_, (folder / "decoder.onnx").c_str(), Ort::SessionOptions()),
      encoder_(env_, (folder / "encoder.onnx").c_str(), Ort::SessionOptions()) {
  const std::filesystem::path detector = folder / "detector.onnx";
  if (std::filesystem::exists(detector))
    detector_ = std::make_unique<Ort::Session>(env_, detector.c_str(), Ort::SessionOptions());
  Ort::AllocatorWithDefaultOptions allocator;
  const Ort::ModelMetadata facts = prior_.GetModelMetadata();
  const auto fact = [&](const std::string& key) {
    const auto value = facts.LookupCustomMetadataMapAllocated(("aae_zoo." + key).c_str(), allocator);
    return value ? std::string(value.get()) : throw std::runtime_error("the graph has no aae_zoo." + key);
  };
  if (std::sscanf(fact("image_shape").c_str(), "[%d, %d, %d]", &shape_[0], &shape_[1], &shape_[2]) != 3)
    throw std::runtime_error("no image shape is " + fact("image_shape"));
  latent_ = std::stoi(fact("latent"));
  noise_ = std::stoi(fact("noise"));
  classes_ = std::stoi(fact("classes"));
  if (!fact("label_coordinate").empty()) chooses_ = std::stoi(fact("label_coordinate"));
  const auto attributes = facts.LookupCustomMetadataMapAllocated("aae_zoo.attributes", allocator);
  const std::string label = R"([{"name": "label", "labels": )" + fact("labels") + R"(, "coordinate": )";
  asked_ = attributes ? attributes.get() : label + std::to_string(chooses_.value_or(-1)) + "}]";
}

Numbers Model::sample(std::size_t count, std::uint32_t seed, std::optional<int> label) const {
  return decode(codes(noise(count, seed, label)));
}

Numbers Model::sample(std::size_t count, std::uint32_t seed, const Asked& asked) const {
  return decode(codes(noise(count, seed, asked)));
}

Numbers Model::noise(std::size_t count, std::uint32_t seed, std::optional<int> label) const {
  if (label && (!chooses_ || *label < 0 || *label >= classes_))
    throw std::invalid_argument("the model has no label " + std::to_string(*label));
  const std::size_t row = row_size({0, noise_});
  if (count > Numbers().max_size() / row) throw std::length_error("too many images: " + std::to_string(count));
  Numbers u(count * row);
  for (std::size_t i = 0; i < u.size(); i++) u[i] = uniform(seed, static_cast<std::uint32_t>(i));
  if (label) choose(u, *chooses_, *label, classes_);
  return u;
}

Numbers Model::noise(std::size_t count, std::uint32_t seed, const Asked& asked) const {
  Numbers u = noise(count, seed);
  for (const auto& [attribute, value] : asked) {
    const asked_value found = find(asked_, attribute, value);
    if (found.coordinate < 0) throw std::invalid_argument("no number of the noise chooses " + attribute);
    choose(u, found.coordinate, found.number, found.values);
  }
  return u;
}

// Have one number of each row choose a value: the interval (k, k + 1) / values is value k.
void Model::choose(Numbers& u, int at, int value, int values) const {
  for (auto row = u.begin(); row < u.end(); row += noise_)
    row[at] = static_cast<float>((value + 0.5 + 0.99 * (static_cast<double>(row[at]) - 0.5)) / values);
}

Codes Model::codes(Numbers u) const {
  Codes inputs{{"u", std::move(u)}};
  return run(prior_, inputs);
}

Codes Model::encode(Numbers images) const {
  Codes inputs{{"image", std::move(images)}};
  return run(encoder_, inputs);
}

Numbers Model::decode(Codes codes) const { return run(decoder_, codes).at("image"); }

Numbers Model::reconstruct(Numbers images, const Asked& asked) const {
  Codes codes = encode(std::move(images));
  for (const auto& [attribute, value] : asked) {
    const asked_value found = find(asked_, attribute, value);
    if (decoder_.GetInputCount() < 2 || !codes.count("y"))
      throw std::invalid_argument("the model redraws nothing with another " + attribute);
    Numbers& y = codes["y"];
    for (auto row = y.begin(); row < y.end(); row += classes_)
      for (int k = 0; k < found.values; k++) row[found.start + k] = k == found.number;
  }
  return decode(std::move(codes));
}

Codes Model::score(Numbers images) const {
  if (!detects()) throw std::logic_error("the model is not a detector");
  Codes inputs{{"image", std::move(images)}};
  return run(*detector_, inputs);
}

Codes Model::run(Ort::Session& graph, Codes& inputs) const {
  const std::int64_t image[4] = {0, shape_[0], shape_[1], shape_[2]};
  const std::map<std::string, std::vector<std::int64_t>> shapes{
      {"u", {0, noise_}}, {"z", {0, latent_}}, {"y", {0, classes_}}, {"image", {image, image + 4}},
      {"score", {0}}, {"map", {0, 1, shape_[1], shape_[2]}}};
  std::size_t rows = 0;
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto taken = names(graph, true), given = names(graph, false);
  std::vector<const char*> ins, outs;
  std::vector<Ort::Value> tensors;
  for (const auto& name : taken) {
    if (!inputs.count(name)) throw std::invalid_argument("the graph takes " + name + ", and none is given");
    Numbers& values = inputs[name];
    std::vector<std::int64_t> shape = shapes.at(name);
    const std::size_t size = row_size(shape);
    if (!size) throw std::runtime_error("the graphs are not of one model: none other takes " + name);
    if (values.size() % size)
      throw std::invalid_argument(name + " has " + std::to_string(values.size()) + " numbers, expected a multiple of " +
                                  std::to_string(size));
    rows = values.size() / size;
    shape[0] = static_cast<std::int64_t>(rows);
    tensors.push_back(Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape.data(), shape.size()));
    ins.push_back(name.c_str());
  }
  for (const auto& name : given) outs.push_back(name.c_str());
  const auto results = graph.Run(Ort::RunOptions(), ins.data(), tensors.data(), ins.size(), outs.data(), outs.size());
  Codes found;
  for (std::size_t i = 0; i < given.size(); i++) {
    const float* values = results[i].GetTensorData<float>();
    const std::size_t size = results[i].GetTensorTypeAndShapeInfo().GetElementCount();
    const auto shape = shapes.find(given[i]);
    if (shape != shapes.end() && size != rows * row_size(shape->second))
      throw std::runtime_error("the graphs are not of one model: unexpected size of " + given[i]);
    found[given[i]] = Numbers(values, values + size);
  }
  return found;
}

}  // namespace aae
