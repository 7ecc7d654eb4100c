/* Run all cases in ONNX Runtime's C library, the one in the pip wheel.

   engine OUT < cases

   The cases are words: for each "NAME GRAPH INPUTS OUTPUTS", the two counts, and then for each input and output
   "NAME FILE RANK SIZE...". The first line printed is the version, each further one "NAME message" of a case that
   failed. A program of yours includes onnxruntime_c_api.h instead of the declarations here: the wheel has no header,
   so the table of functions, whose order never changes, is declared as far as it is used. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Status Status;
typedef void *Handle;
typedef void (*Unused)(void);

typedef struct {
  Unused unused_0[2];
  const char *(*GetErrorMessage)(const Status *);                                   /* 2 */
  Status *(*CreateEnv)(int severity, const char *name, Handle *env);                /* 3 */
  Unused unused_4[3];
  Status *(*CreateSession)(Handle env, const char *path, Handle options, Handle *); /* 7 */
  Unused unused_8;
  Status *(*Run)(Handle session, Handle options, const char *const *names, const Handle *inputs, size_t count,
                 const char *const *output_names, size_t output_count, Handle *outputs); /* 9 */
  Status *(*CreateSessionOptions)(Handle *);                                        /* 10 */
  Unused unused_11[13];
  Status *(*SetIntraOpNumThreads)(Handle options, int threads);                     /* 24 */
  Unused unused_25[24];
  Status *(*CreateTensorWithDataAsOrtValue)(Handle memory, void *data, size_t bytes, const int64_t *shape,
                                            size_t rank, int type, Handle *);       /* 49 */
  Unused unused_50;
  Status *(*GetTensorMutableData)(Handle value, void **data);                       /* 51 */
  Unused unused_52[12];
  Status *(*GetTensorShapeElementCount)(Handle shape, size_t *count);               /* 64 */
  Status *(*GetTensorTypeAndShape)(Handle value, Handle *shape);                    /* 65 */
  Unused unused_66[3];
  Status *(*CreateCpuMemoryInfo)(int allocator, int type, Handle *);                /* 69 */
  Unused unused_70[23];
  void (*ReleaseStatus)(Status *);                                                  /* 93 */
  Unused unused_94;
  void (*ReleaseSession)(Handle);                                                   /* 95 */
  void (*ReleaseValue)(Handle);                                                     /* 96 */
  Unused unused_97[2];
  void (*ReleaseTensorTypeAndShapeInfo)(Handle);                                    /* 99 */
} Api;

typedef struct {
  const Api *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} ApiBase;

const ApiBase *OrtGetApiBase(void);

enum { FLOAT = 1, DEVICE_ALLOCATOR = 0, DEFAULT_MEMORY = 0, ERRORS_ONLY = 3, MOST = 4 };

typedef struct {
  char name[64], file[4096];
  int64_t shape[8];
  size_t rank, count;
  float *data;
} Tensor;

static const Api *api;

static void die(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static int failed(const char *name, Status *status) {
  if (!status) return 0;
  printf("%s %s\n", name, api->GetErrorMessage(status));
  api->ReleaseStatus(status);
  return 1;
}

static size_t read_tensors(Tensor *tensors, size_t count) {
  if (count > MOST) die("too many inputs or outputs");
  for (Tensor *t = tensors; t < tensors + count; t++) {
    if (scanf("%63s %4095s %zu", t->name, t->file, &t->rank) != 3 || t->rank > 8) die("malformed case");
    t->count = 1;
    for (size_t k = 0; k < t->rank; k++) {
      if (scanf("%ld", &t->shape[k]) != 1) die("malformed case");
      t->count *= (size_t)t->shape[k];
    }
  }
  return count;
}

static void load(Tensor *t) {
  FILE *file = fopen(t->file, "rb");
  t->data = malloc(t->count * sizeof(float));
  if (!file || !t->data || fread(t->data, sizeof(float), t->count, file) != t->count) die(t->file);
  fclose(file);
}

static void save(const char *folder, const Tensor *t, const float *data) {
  char path[8192];
  const char *name = strrchr(t->file, '/');
  snprintf(path, sizeof path, "%s/%s", folder, name ? name + 1 : t->file);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, sizeof(float), t->count, file) != t->count) die(path);
  fclose(file);
}

/* Write one output of a case, if it has as many elements as it should. */
static void collect(const char *name, const char *folder, const Tensor *t, Handle value) {
  Handle shape;
  size_t count = 0;
  float *data;
  if (failed(name, api->GetTensorTypeAndShape(value, &shape))) return;
  if (!failed(name, api->GetTensorShapeElementCount(shape, &count)) && count != t->count)
    printf("%s %s has %zu elements, expected %zu\n", name, t->name, count, t->count);
  else if (!failed(name, api->GetTensorMutableData(value, (void **)&data)))
    save(folder, t, data);
  api->ReleaseTensorTypeAndShapeInfo(shape);
}

static void run(const char *name, const char *folder, Handle session, Handle memory, Tensor *in, size_t ins,
                Tensor *out, size_t outs) {
  const char *in_names[MOST], *out_names[MOST];
  Handle inputs[MOST], outputs[MOST] = {0};
  for (size_t k = 0; k < ins; k++) {
    load(&in[k]);
    in_names[k] = in[k].name;
    if (failed(name, api->CreateTensorWithDataAsOrtValue(memory, in[k].data, in[k].count * sizeof(float), in[k].shape,
                                                         in[k].rank, FLOAT, &inputs[k])))
      exit(1);
  }
  for (size_t k = 0; k < outs; k++) out_names[k] = out[k].name;
  if (!failed(name, api->Run(session, NULL, in_names, inputs, ins, out_names, outs, outputs))) {
    for (size_t k = 0; k < outs; k++) {
      collect(name, folder, &out[k], outputs[k]);
      api->ReleaseValue(outputs[k]);
    }
  }
  for (size_t k = 0; k < ins; k++) {
    api->ReleaseValue(inputs[k]);
    free(in[k].data);
  }
}

int main(int argc, char **argv) {
  char name[256], graph[4096];
  size_t ins, outs;
  Handle env, options, memory, session;
  if (argc != 2 || !(api = OrtGetApiBase()->GetApi(1))) die("usage: engine OUT < cases");
  printf("%s\n", OrtGetApiBase()->GetVersionString());
  if (failed("env", api->CreateEnv(ERRORS_ONLY, "engine", &env)) ||
      failed("options", api->CreateSessionOptions(&options)) ||
      failed("threads", api->SetIntraOpNumThreads(options, 1)) ||
      failed("memory", api->CreateCpuMemoryInfo(DEVICE_ALLOCATOR, DEFAULT_MEMORY, &memory)))
    return 1;
  while (scanf("%255s %4095s %zu %zu", name, graph, &ins, &outs) == 4) {
    Tensor in[MOST], out[MOST];
    read_tensors(in, ins);
    read_tensors(out, outs);
    if (failed(name, api->CreateSession(env, graph, options, &session))) continue;
    run(name, argv[1], session, memory, in, ins, out, outs);
    api->ReleaseSession(session);
  }
  return 0;
}
