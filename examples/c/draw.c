// Draws a picture with the model in the folder that it is run in; ONNX Runtime's C library is all that this needs.
//
//     cc draw.c model.c -I$ORT/include -L$ORT/lib -lonnxruntime -Wl,-rpath,$ORT/lib -o draw
//     ./draw [SEED [LABEL | NAME=VALUE ...]]
//
// prints the numbers, and writes picture.png.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model.h"
#include "png.h"

static void check(const char* error) {
  if (!error) return;
  fprintf(stderr, "error: %s\n", error);
  exit(1);
}

static uint32_t read_seed(const char* text) {
  const size_t digits = strspn(text, "0123456789");
  const unsigned long long seed = strtoull(text, NULL, 10);
  if (digits && !text[digits] && seed <= UINT32_MAX) return (uint32_t)seed;
  fprintf(stderr, "error: the seed is %s, expected a whole number from 0 to %u\n", text, UINT32_MAX);
  exit(1);
}

static void print(const char* name, const float* values, int count) {
  printf("%s", name);
  for (int i = 0; i < count; i++) printf(" %.6f", values[i]);
  printf("\n");
}

// The middle row of every channel.
static void print_middle(const char* name, const aae_model* m, const float* image) {
  printf("%s", name);
  for (int c = 0; c < m->channels; c++)
    for (int x = 0; x < m->width; x++) printf(" %.6f", image[(c * m->height + m->height / 2) * m->width + x]);
  printf("\n");
}

int main(int count, char** arguments) {
  const uint32_t seed = count > 1 ? read_seed(arguments[1]) : 0;
  aae_model m;
  check(aae_open(&m, "."));
  const int size = m.channels * m.height * m.width;
  float* u = calloc((size_t)(m.noise + m.latent + m.classes + 2 * size), sizeof *u);
  if (!u) check("there is no memory");
  float *z = u + m.noise, *y = z + m.latent, *image = y + m.classes, *redrawn = image + size;

  check(aae_noise(&m, 1, seed, -1, u));
  for (int i = 2; i < count; i++) {
    char* equals = strchr(arguments[i], '=');
    if (equals) *equals = 0;
    check(aae_ask(&m, 1, equals ? arguments[i] : "label", equals ? equals + 1 : arguments[i], u, NULL));
  }
  check(aae_codes(&m, 1, u, z, y));
  check(aae_decode(&m, 1, z, y, image));
  print("u", u, m.noise);
  print("z", z, m.latent);
  if (m.takes_classes) print("y", y, m.classes);
  double sum = 0;
  for (int i = 0; i < size; i++) sum += image[i];
  printf("mean %.6f\n", sum / size);
  print_middle("middle", &m, image);

  check(aae_encode(&m, 1, image, z, y));
  check(aae_decode(&m, 1, z, y, redrawn));
  print("encoded", z, m.latent);
  print_middle("redrawn", &m, redrawn);
  if (m.detects) {
    float score;
    check(aae_score(&m, 1, image, &score, redrawn));
    print("score", &score, 1);
    print("odd", redrawn + m.height / 2 * m.width, m.width);
  }
  if (png_write("picture.png", image, m.channels, m.height, m.width)) check("picture.png cannot be written");
  free(u);
  aae_close(&m);
  return 0;
}
