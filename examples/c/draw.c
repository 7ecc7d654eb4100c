// Draws a picture with a model of aae-zoo; ONNX Runtime's C library is all that this needs.
//
//     cc draw.c -I$ORT/include -L$ORT/lib -lonnxruntime -Wl,-rpath,$ORT/lib -o draw && ./draw [SEED [LABEL]]
//
// reads prior.onnx and decoder.onnx where it is run, prints the numbers and writes picture.pgm (gray) or .ppm (colour).
// Model: any of aae-zoo; what differs between models is read from the graphs.
#define _POSIX_C_SOURCE 200112L  // setenv
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "onnxruntime_c_api.h"

enum { MOST = 4 };  // outputs of a prior
static const OrtApi* ort;
static OrtAllocator* allocator;

static void fail(const char* what, const char* which) {
  fprintf(stderr, "error: %s%s\n", what, which);
  exit(1);
}

static void check(OrtStatus* status) {
  if (status) fail(ort->GetErrorMessage(status), "");
}

// Uniform in (0, 1): a counter through MurmurHash3's finaliser. Any generator will do; every example has this one.
static float noise(uint32_t seed, uint32_t i) {
  uint32_t x = seed * 0x9E3779B9u + i + 1;
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x = (x ^ x >> 13) * 0xC2B2AE35u;
  return ((float)((x ^ x >> 16) >> 9) * 2 + 1) / 16777216;
}

// One of a graph's own facts, such as the size of its noise.
static const char* fact(const OrtModelMetadata* facts, const char* key) {
  char* value = NULL;
  check(ort->ModelMetadataLookupCustomMetadataMap(facts, allocator, key, &value));
  if (!value) fail("the graph has no ", key);
  return value;
}

static const float* print(const char* name, OrtValue* tensor, size_t* count) {
  OrtTensorTypeAndShapeInfo* info;
  float* values;
  check(ort->GetTensorTypeAndShape(tensor, &info));
  check(ort->GetTensorShapeElementCount(info, count));
  check(ort->GetTensorMutableData(tensor, (void**)&values));
  ort->ReleaseTensorTypeAndShapeInfo(info);
  if (name) printf("%s", name);
  for (size_t i = 0; name && i < *count; i++) printf(" %.6f%s", values[i], i + 1 == *count ? "\n" : "");
  return values;
}

int main(int count, char** arguments) {
#ifdef _WIN32
  if (!getenv("ORT_DISABLE_TELEMETRY")) _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // ONNX Runtime reads it when its environment is made
#endif
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!ort) fail("this ONNX Runtime is older than its header", "");
  OrtEnv* env;
  OrtSessionOptions* options;
  OrtSession *prior, *decoder;
  OrtModelMetadata* facts;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "draw", &env));
  check(ort->CreateSessionOptions(&options));
  check(ort->CreateSession(env, ORT_TSTR("prior.onnx"), options, &prior));
  check(ort->CreateSession(env, ORT_TSTR("decoder.onnx"), options, &decoder));
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  check(ort->SessionGetModelMetadata(prior, &facts));

  int channels, height, width;
  if (sscanf(fact(facts, "aae_zoo.image_shape"), "[%d, %d, %d]", &channels, &height, &width) != 3)
    fail("no image shape is ", fact(facts, "aae_zoo.image_shape"));
  const int size = atoi(fact(facts, "aae_zoo.noise"));
  const uint32_t seed = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 0;
  float* u = malloc(size * sizeof *u);
  for (int i = 0; i < size; i++) u[i] = noise(seed, (uint32_t)i);
  if (count > 2) {  // one coordinate of the noise chooses the class: the interval (k, k + 1) / classes is class k
    const int label = atoi(arguments[2]), classes = atoi(fact(facts, "aae_zoo.classes"));
    const char* coordinate = fact(facts, "aae_zoo.label_coordinate");
    if (!*coordinate || label < 0 || label >= classes) fail("no such label; there are ", fact(facts, "aae_zoo.labels"));
    u[atoi(coordinate)] = (float)((label + 0.5 + 0.99 * ((double)u[atoi(coordinate)] - 0.5)) / classes);
  }

  OrtMemoryInfo* cpu;
  OrtValue *noise_in, *codes[MOST] = {0}, *image = NULL;
  const int64_t shape[] = {1, size};
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &cpu));
  check(ort->CreateTensorWithDataAsOrtValue(cpu, u, size * sizeof *u, shape, 2, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                            &noise_in));
  size_t outputs, values;
  const char *u_name = "u", *image_name = "image", *names[MOST];  // the prior's outputs are the decoder's inputs, by name
  check(ort->SessionGetOutputCount(prior, &outputs));
  if (outputs > MOST) fail("the prior has too many outputs", "");
  for (size_t i = 0; i < outputs; i++) check(ort->SessionGetOutputName(prior, i, allocator, (char**)&names[i]));
  check(ort->Run(prior, NULL, &u_name, (const OrtValue* const*)&noise_in, 1, names, outputs, codes));
  check(ort->Run(decoder, NULL, names, (const OrtValue* const*)codes, outputs, &image_name, 1, &image));

  print("u", noise_in, &values);
  for (size_t i = 0; i < outputs; i++) print(names[i], codes[i], &values);
  const float* pixels = print(NULL, image, &values);  // [1, channels, height, width], each in [0, 1]
  double sum = 0;
  for (size_t i = 0; i < values; i++) sum += pixels[i];
  printf("mean %.6f\nmiddle", sum / values);
  for (int c = 0; c < channels; c++)
    for (int x = 0; x < width; x++) printf(" %.6f", pixels[(c * height + height / 2) * width + x]);
  printf("\n");

  FILE* file = fopen(channels == 1 ? "picture.pgm" : "picture.ppm", "wb");
  if (!file) fail("the picture cannot be written", "");
  fprintf(file, "P%d %d %d 255\n", channels == 1 ? 5 : 6, width, height);
  for (int i = 0; i < height * width; i++)
    for (int c = 0; c < channels; c++) fputc((int)(pixels[c * height * width + i] * 255 + 0.5f), file);
  return fclose(file);
}
