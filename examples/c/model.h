// A model of aae-zoo: draws, encodes, decodes, scores; ONNX Runtime's C library is all that this needs.
// Model: any of aae-zoo; what differs between models is read from the graphs.
//
// Images are [count][channels][height][width] numbers in [0, 1]. Codes are `z`, [count][latent], and `y`, [count][classes],
// the probabilities of the classes, in models that have them; where a model has no `y`, give NULL. The functions return
// NULL, or what went wrong, a text that holds until the model's next call. A model is for one thread at a time.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  int channels, height, width;
  int latent;            // how many numbers a z has
  int noise;             // how many numbers a row of noise has
  int classes;           // how many there are, or 0
  int label_coordinate;  // which number of the noise chooses the class, or -1
  int takes_classes;     // whether the decoder takes a y
  int tells_classes;     // whether the encoder tells a y
  int detects;           // whether the model is a detector, which scores images
  char error[512];       // what went wrong last
  struct aae_graphs* graphs;
} aae_model;

// Open the graphs in a folder. A model that was not opened needs no aae_close. On Windows the folder's name is in
// the process's code page, as fopen takes it.
const char* aae_open(aae_model* model, const char* folder);
void aae_close(aae_model* model);

// Draw images; the same seed draws the same. `label` is the number of the class to draw, or -1.
const char* aae_sample(aae_model* model, size_t count, uint32_t seed, int label, float* images);

// Uniform noise in (0, 1), [count][noise], and the codes that the prior makes of it.
const char* aae_noise(aae_model* model, size_t count, uint32_t seed, int label, float* u);
const char* aae_codes(aae_model* model, size_t count, const float* u, float* z, float* y);

// Have noise draw the value of an attribute, such as "yes" of "glasses", or have `y` redraw it: by its name or, as text,
// its number. The attribute of a model with classes is "label". `u` and `y` have `count` rows; what is NULL is not
// written.
const char* aae_ask(aae_model* model, size_t count, const char* attribute, const char* value, float* u, float* y);

// Images to codes, and codes to images. `y` is written where it is not NULL, and read where the decoder takes it.
const char* aae_encode(aae_model* model, size_t count, const float* images, float* z, float* y);
const char* aae_decode(aae_model* model, size_t count, const float* z, const float* y, float* images);

// How odd images are, [count], odd above 1, and where, [count][height][width], greatest where they are odd. What is
// NULL is not written.
const char* aae_score(aae_model* model, size_t count, const float* images, float* score, float* map);

#ifdef __cplusplus
}
#endif
