// A model of aae-zoo: draws, encodes, decodes, scores; ONNX Runtime's C++ interface (headers over its C library) is
// all that this needs.
// Model: any of aae-zoo; what differs between models is read from the graphs.
//
// Images are [count][channels][height][width] numbers in [0, 1], one after another. Every function throws a
// std::exception that says what went wrong.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>
#include "onnxruntime_cxx_api.h"

namespace aae {

using Numbers = std::vector<float>;

// Codes by name: "z" [count][latent], "y" [count][classes], the probabilities of the classes, where the model has it,
// and what else a graph tells.
using Codes = std::map<std::string, Numbers>;

// What is asked of pictures, such as {{"glasses", "yes"}}: values of attributes by their names or their numbers. The
// attribute of a model that has classes is "label".
using Asked = std::map<std::string, std::string>;

// The graphs in a folder, open; keep it, and use it from any thread.
class Model {
 public:
  explicit Model(const std::filesystem::path& folder = ".");

  // Draw images; the same seed draws the same, and `label` is the number of the class to draw.
  Numbers sample(std::size_t count, std::uint32_t seed, std::optional<int> label = {}) const;
  Numbers sample(std::size_t count, std::uint32_t seed, const Asked& asked) const;

  // Uniform noise in (0, 1), [count][noise_size()], and the codes that the prior makes of it.
  Numbers noise(std::size_t count, std::uint32_t seed, std::optional<int> label = {}) const;
  Numbers noise(std::size_t count, std::uint32_t seed, const Asked& asked) const;
  Codes codes(Numbers u) const;

  Codes encode(Numbers images) const;
  Numbers decode(Codes codes) const;  // takes what the decoder knows, by name
  Numbers reconstruct(Numbers images, const Asked& asked = {}) const;  // redrawn with what is asked for, the rest kept

  // How odd images are: "score" [count], odd above 1, and "map" [count][height][width], greatest where they are odd.
  Codes score(Numbers images) const;
  bool detects() const { return detector_ != nullptr; }  // whether the model is a detector, which scores images

  int channels() const { return shape_[0]; }
  int height() const { return shape_[1]; }
  int width() const { return shape_[2]; }
  int noise_size() const { return noise_; }
  int classes() const { return classes_; }

 private:
  Codes run(Ort::Session& graph, Codes& inputs) const;
  void choose(Numbers& u, int at, int value, int values) const;

  Ort::Env env_;
  mutable Ort::Session prior_, decoder_, encoder_;  // running one changes nothing that is seen, from any thread
  std::unique_ptr<Ort::Session> detector_;  // where there is one
  int shape_[3] = {}, latent_ = 0, noise_ = 0, classes_ = 0;
  std::optional<int> chooses_;  // which number of the noise chooses the class
  std::string asked_;  // what can be asked for, as JSON
};

}  // namespace aae
