// Draws a picture with the model in the folder that it is run in.
//
//     c++ -std=c++17 draw.cpp model.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -Wl,-rpath,$ORT/lib -o draw
//     ./draw [SEED [LABEL | NAME=VALUE ...]]
//
// prints the numbers, and writes picture.png.
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include "model.hpp"
#include "png.h"

static void print(const std::string& name, const aae::Numbers& values) {
  std::printf("%s", name.c_str());
  for (const float value : values) std::printf(" %.6f", value);
  std::printf("\n");
}

// The middle row of every channel.
static aae::Numbers middle(const aae::Model& model, const aae::Numbers& image) {
  aae::Numbers row;
  for (int c = 0; c < model.channels(); c++) {
    const auto start = image.begin() + (c * model.height() + model.height() / 2) * model.width();
    row.insert(row.end(), start, start + model.width());
  }
  return row;
}

static std::uint32_t read_seed(const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  const auto seed = digits ? std::strtoull(text.c_str(), nullptr, 10) : ULLONG_MAX;
  if (seed <= UINT32_MAX) return static_cast<std::uint32_t>(seed);
  throw std::invalid_argument("the seed is " + text + ", expected a whole number from 0 to " + std::to_string(UINT32_MAX));
}

static void draw(std::uint32_t seed, const aae::Asked& asked) {
  const aae::Model model;
  const aae::Numbers u = model.noise(1, seed, asked);
  aae::Codes codes = model.codes(u);
  const aae::Numbers image = model.decode(codes);
  print("u", u);
  print("z", codes.at("z"));
  if (codes.count("y")) print("y", codes.at("y"));
  const double sum = std::accumulate(image.begin(), image.end(), 0.0);
  print("mean", {static_cast<float>(sum / static_cast<double>(image.size()))});
  print("middle", middle(model, image));

  for (auto& [name, values] : model.encode(image)) codes[name] = values;  // y stays where no encoder tells it
  print("encoded", codes.at("z"));
  print("redrawn", middle(model, model.decode(codes)));
  if (model.detects()) {
    const aae::Codes found = model.score(image);
    const auto start = found.at("map").begin() + model.height() / 2 * model.width();
    print("score", found.at("score"));
    print("odd", aae::Numbers(start, start + model.width()));
  }
  if (png_write("picture.png", image.data(), model.channels(), model.height(), model.width()))
    throw std::runtime_error("picture.png cannot be written");
}

int main(int count, char** arguments) {
  try {
    aae::Asked asked;
    for (int i = 2; i < count; i++) {
      const std::string text = arguments[i];
      const std::size_t equals = text.find('=');
      asked[equals == text.npos ? "label" : text.substr(0, equals)] = text.substr(equals == text.npos ? 0 : equals + 1);
    }
    draw(count > 1 ? read_seed(arguments[1]) : 0, asked);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
