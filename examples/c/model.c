// A model of aae-zoo; see model.h.
#define _POSIX_C_SOURCE 200112L  // setenv
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "asked.h"
#include "onnxruntime_c_api.h"

struct aae_graphs {
  const OrtApi* ort;
  OrtEnv* env;
  OrtSessionOptions* options;
  OrtMemoryInfo* memory;
  OrtSession *prior, *decoder, *encoder, *detector;  // the last may be NULL
  char* asked;  // what can be asked for, as JSON
};

// A named tensor of `count` rows; rank 0, 1 or 3 is that of a row.
typedef struct {
  const char* name;
  float* values;
  size_t rank;
  int shape[3];
} tensor;

// Keep what went wrong where the caller may read it.
static const char* fail(aae_model* m, const char* what, const char* which) {
  snprintf(m->error, sizeof m->error, "%s%s", what, which);
  return m->error;
}

static const char* said(aae_model* m, OrtStatus* status) {
  if (!status) return NULL;
  const char* error = fail(m, m->graphs->ort->GetErrorMessage(status), "");
  m->graphs->ort->ReleaseStatus(status);
  return error;
}

#define TRY(call)                       \
  do {                                  \
    if ((error = (call))) goto end;     \
  } while (0)

static const char* open_graph(aae_model* m, const char* folder, const char* role, int needed, OrtSession** session) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.onnx", folder, role);
  FILE* file = fopen(path, "rb");
  if (!file) return needed ? fail(m, "cannot be read: ", path) : NULL;
  fseek(file, 0, SEEK_END);
  const long size = ftell(file);
  void* bytes = malloc(size > 0 ? (size_t)size : 1);
  rewind(file);
  const int whole = bytes && size > 0 && fread(bytes, 1, (size_t)size, file) == (size_t)size;
  fclose(file);
  const char* error = whole ? said(m, m->graphs->ort->CreateSessionFromArray(m->graphs->env, bytes, (size_t)size,
                                                                             m->graphs->options, session))
                            : fail(m, "cannot be read: ", path);
  const size_t length = strlen(m->error);
  if (whole && error) snprintf(m->error + length, sizeof m->error - length, " (%s)", path);
  free(bytes);
  return error;
}

// One of the graphs' own facts, as a number; -1 where it is empty. Of the image's shape all three.
static const char* fact(aae_model* m, OrtModelMetadata* facts, const char* key, int* number, int* second, int* third) {
  const OrtApi* ort = m->graphs->ort;
  OrtAllocator* allocator;
  char* text = NULL;
  const char* error = NULL;
  TRY(said(m, ort->GetAllocatorWithDefaultOptions(&allocator)));
  TRY(said(m, ort->ModelMetadataLookupCustomMetadataMap(facts, allocator, key, &text)));
  if (!text) return fail(m, "the graph has no ", key);
  const int found = second ? sscanf(text, "[%d, %d, %d]", number, second, third) == 3 : sscanf(text, "%d", number) == 1;
  if (!found && second) error = fail(m, "no image shape is ", text);
  if (!found) *number = -1;
  (void)said(m, ort->AllocatorFree(allocator, text));
end:
  return error;
}

// Keep what can be asked for: the attributes or, of a model that has none, its labels as the attribute "label".
static const char* read_asked(aae_model* m, OrtModelMetadata* facts) {
  const OrtApi* ort = m->graphs->ort;
  OrtAllocator* allocator;
  char *attributes = NULL, *labels = NULL;
  const char* error = NULL;
  TRY(said(m, ort->GetAllocatorWithDefaultOptions(&allocator)));
  TRY(said(m, ort->ModelMetadataLookupCustomMetadataMap(facts, allocator, "aae_zoo.attributes", &attributes)));
  TRY(said(m, ort->ModelMetadataLookupCustomMetadataMap(facts, allocator, "aae_zoo.labels", &labels)));
  if (!labels) TRY(fail(m, "the graph has no ", "aae_zoo.labels"));
  const size_t size = strlen(attributes ? attributes : labels) + 80;
  if (!(m->graphs->asked = malloc(size))) TRY(fail(m, "there is no memory", ""));
  if (attributes)
    snprintf(m->graphs->asked, size, "%s", attributes);
  else
    snprintf(m->graphs->asked, size, "[{\"name\": \"label\", \"labels\": %s, \"coordinate\": %d}]", labels,
             m->label_coordinate);
end:
  if (attributes) (void)said(m, ort->AllocatorFree(allocator, attributes));
  if (labels) (void)said(m, ort->AllocatorFree(allocator, labels));
  return error;
}

static const char* read_facts(aae_model* m) {
  const OrtApi* ort = m->graphs->ort;
  OrtModelMetadata* facts;
  const char* error = said(m, ort->SessionGetModelMetadata(m->graphs->prior, &facts));
  if (error) return error;
  size_t takes, tells;
  TRY(fact(m, facts, "aae_zoo.image_shape", &m->channels, &m->height, &m->width));
  TRY(fact(m, facts, "aae_zoo.latent", &m->latent, NULL, NULL));
  TRY(fact(m, facts, "aae_zoo.noise", &m->noise, NULL, NULL));
  TRY(fact(m, facts, "aae_zoo.classes", &m->classes, NULL, NULL));
  TRY(fact(m, facts, "aae_zoo.label_coordinate", &m->label_coordinate, NULL, NULL));
  TRY(read_asked(m, facts));
  TRY(said(m, ort->SessionGetInputCount(m->graphs->decoder, &takes)));
  m->takes_classes = takes > 1;
  TRY(said(m, ort->SessionGetOutputCount(m->graphs->encoder, &tells)));
  m->tells_classes = tells > 1 && m->classes > 0;
end:
  ort->ReleaseModelMetadata(facts);
  return error;
}

const char* aae_open(aae_model* m, const char* folder) {
  const char* error = NULL;
#ifdef _WIN32
  if (!getenv("ORT_DISABLE_TELEMETRY")) _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);  // ONNX Runtime reads it when its environment is made
#endif
  memset(m, 0, sizeof *m);
  struct aae_graphs* g = m->graphs = calloc(1, sizeof *g);
  if (!g) return "there is no memory";
  if (!(g->ort = OrtGetApiBase()->GetApi(ORT_API_VERSION))) TRY(fail(m, "this ONNX Runtime is older than its header", ""));
  TRY(said(m, g->ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "aae", &g->env)));
  TRY(said(m, g->ort->CreateSessionOptions(&g->options)));
  TRY(said(m, g->ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &g->memory)));
  TRY(open_graph(m, folder, "prior", 1, &g->prior));
  TRY(open_graph(m, folder, "decoder", 1, &g->decoder));
  TRY(open_graph(m, folder, "encoder", 1, &g->encoder));
  TRY(open_graph(m, folder, "detector", 0, &g->detector));
  m->detects = g->detector != NULL;
  TRY(read_facts(m));
  return NULL;
end:
  aae_close(m);
  return error;
}

void aae_close(aae_model* m) {
  struct aae_graphs* g = m->graphs;
  if (g && g->ort) {
    g->ort->ReleaseSession(g->prior);
    g->ort->ReleaseSession(g->decoder);
    g->ort->ReleaseSession(g->encoder);
    g->ort->ReleaseSession(g->detector);
    g->ort->ReleaseMemoryInfo(g->memory);
    g->ort->ReleaseSessionOptions(g->options);
    g->ort->ReleaseEnv(g->env);
  }
  if (g) free(g->asked);
  free(g);
  m->graphs = NULL;
}

static size_t row_size(const tensor* t) {
  size_t size = 1;
  for (size_t i = 0; i < t->rank; i++) size *= (size_t)t->shape[i];
  return size;
}

// Copy a tensor, which has to have `count` numbers: graphs of different models do not fit each other.
static const char* copy(aae_model* m, OrtValue* from, const char* name, size_t count, float* to) {
  const OrtApi* ort = m->graphs->ort;
  OrtTensorTypeAndShapeInfo* info;
  void* values;
  size_t found;
  const char* error = said(m, ort->GetTensorTypeAndShape(from, &info));
  if (error) return error;
  TRY(said(m, ort->GetTensorShapeElementCount(info, &found)));
  if (found != count) TRY(fail(m, "the graphs are not of one model: unexpected size of ", name));
  TRY(said(m, ort->GetTensorMutableData(from, &values)));
  if (count) memcpy(to, values, count * sizeof(float));  // what is empty has no address
end:
  ort->ReleaseTensorTypeAndShapeInfo(info);
  return error;
}

// Run a graph with `inputs` (one or two), and copy what is asked for of `outputs`, by name; those without values are not.
static const char* run(aae_model* m, OrtSession* graph, size_t count, const tensor* inputs, const tensor* outputs) {
  const OrtApi* ort = m->graphs->ort;
  const char *error = NULL, *in[2], *out[2];
  OrtValue *given[2] = {0}, *found[2] = {0};
  float* to[2];
  size_t ins = 0, outs = 0, sizes[2];
  for (int i = 0; i < 2 && inputs[i].values; i++) {
    const tensor* t = &inputs[i];
    const int64_t shape[4] = {(int64_t)count, t->shape[0], t->shape[1], t->shape[2]};
    in[ins] = t->name;
    TRY(said(m, ort->CreateTensorWithDataAsOrtValue(m->graphs->memory, t->values, count * row_size(t) * sizeof(float),
                                                    shape, t->rank + 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                                    &given[ins])));
    ins++;
  }
  for (int i = 0; i < 2; i++) {
    if (!outputs[i].values) continue;
    out[outs] = outputs[i].name;
    to[outs] = outputs[i].values;
    sizes[outs++] = count * row_size(&outputs[i]);
  }
  TRY(said(m, ort->Run(graph, NULL, in, (const OrtValue* const*)given, ins, out, outs, found)));
  for (size_t i = 0; i < outs; i++) TRY(copy(m, found[i], out[i], sizes[i], to[i]));
end:
  for (int i = 0; i < 2; i++) {
    ort->ReleaseValue(given[i]);
    ort->ReleaseValue(found[i]);
  }
  return error;
}

static tensor row_of(const char* name, const float* values, int size) {
  const tensor t = {name, (float*)values, 1, {size, 0, 0}};
  return t;
}

static tensor image_of(const aae_model* m, const float* values) {
  const tensor t = {"image", (float*)values, 3, {m->channels, m->height, m->width}};
  return t;
}

// Uniform in (0, 1): a counter through MurmurHash3's finaliser. Any generator will do; every example has this one.
static float uniform(uint32_t seed, uint32_t i) {
  uint32_t x = seed * 0x9E3779B9u + i + 1;
  x = (x ^ x >> 16) * 0x85EBCA6Bu;
  x = (x ^ x >> 13) * 0xC2B2AE35u;
  return ((float)((x ^ x >> 16) >> 9) * 2 + 1) / 16777216;
}

// Have one number of each row choose a value: the interval (k, k + 1) / values is value k.
static void choose(const aae_model* m, size_t count, int at, int value, int values, float* u) {
  for (size_t row = 0; row < count; row++, u += m->noise)
    u[at] = (float)((value + 0.5 + 0.99 * ((double)u[at] - 0.5)) / values);
}

const char* aae_ask(aae_model* m, size_t count, const char* attribute, const char* value, float* u, float* y) {
  asked_value asked;
  char both[256];
  snprintf(both, sizeof both, "%s %s", attribute, value);
  if (!asked_find(m->graphs->asked, attribute, value, &asked)) return fail(m, "the model has no ", both);
  if (u && asked.coordinate < 0) return fail(m, "no number of the noise chooses ", attribute);
  if (y && !m->takes_classes) return fail(m, "the model redraws nothing with another ", attribute);
  if (u) choose(m, count, asked.coordinate, asked.number, asked.values, u);
  for (size_t row = 0; y && row < count; row++, y += m->classes)
    for (int k = 0; k < asked.values; k++) y[asked.start + k] = k == asked.number;
  return NULL;
}

const char* aae_noise(aae_model* m, size_t count, uint32_t seed, int label, float* u) {
  char number[16];
  snprintf(number, sizeof number, "%d", label);
  if (label >= 0 && (m->label_coordinate < 0 || label >= m->classes)) return fail(m, "the model has no label ", number);
  for (size_t i = 0; i < count * (size_t)m->noise; i++) u[i] = uniform(seed, (uint32_t)i);
  if (label >= 0) choose(m, count, m->label_coordinate, label, m->classes, u);
  return NULL;
}

const char* aae_codes(aae_model* m, size_t count, const float* u, float* z, float* y) {
  const tensor in[2] = {row_of("u", u, m->noise)};
  const tensor out[2] = {row_of("z", z, m->latent), row_of("y", m->takes_classes ? y : NULL, m->classes)};
  return run(m, m->graphs->prior, count, in, out);
}

const char* aae_encode(aae_model* m, size_t count, const float* images, float* z, float* y) {
  const tensor in[2] = {image_of(m, images)};
  const tensor out[2] = {row_of("z", z, m->latent), row_of("y", m->tells_classes ? y : NULL, m->classes)};
  return run(m, m->graphs->encoder, count, in, out);
}

const char* aae_decode(aae_model* m, size_t count, const float* z, const float* y, float* images) {
  if (m->takes_classes && !y) return fail(m, "the decoder takes y, and none is given", "");
  const tensor in[2] = {row_of("z", z, m->latent), row_of("y", m->takes_classes ? y : NULL, m->classes)};
  const tensor out[2] = {image_of(m, images)};
  return run(m, m->graphs->decoder, count, in, out);
}

const char* aae_score(aae_model* m, size_t count, const float* images, float* score, float* map) {
  if (!m->detects) return fail(m, "the model is not a detector", "");
  const tensor in[2] = {image_of(m, images)};
  const tensor out[2] = {{"score", score, 0, {0, 0, 0}}, {"map", map, 3, {1, m->height, m->width}}};
  return run(m, m->graphs->detector, count, in, out);
}

const char* aae_sample(aae_model* m, size_t count, uint32_t seed, int label, float* images) {
  float* u = calloc(count, (size_t)(m->noise + m->latent + m->classes + 1) * sizeof *u);  // refuses what overflows
  if (!u) return fail(m, "there is no memory", "");
  float *z = u + count * (size_t)m->noise, *y = z + count * (size_t)m->latent;
  const char* error;
  TRY(aae_noise(m, count, seed, label, u));
  TRY(aae_codes(m, count, u, z, y));
  TRY(aae_decode(m, count, z, y, images));
end:
  free(u);
  return error;
}
