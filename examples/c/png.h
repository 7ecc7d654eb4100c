// Writes PNG files, in C and C++, with nothing but the standard library: uncompressed, which suits small pictures.
#pragma once
#include <stdint.h>
#include <stdio.h>

static void png_number(uint8_t* bytes, uint32_t value) {
  for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t png_crc(uint32_t crc, const uint8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return crc;
}

// Writes bytes of a chunk, which its checksum counts.
static void png_put(FILE* file, uint32_t* crc, const uint8_t* bytes, size_t count) {
  *crc = png_crc(*crc, bytes, count);
  fwrite(bytes, 1, count, file);
}

static void png_begin(FILE* file, uint32_t* crc, const char* name, uint32_t size) {
  uint8_t length[4];
  png_number(length, size);
  fwrite(length, 1, 4, file);
  *crc = ~0u;
  png_put(file, crc, (const uint8_t*)name, 4);
}

static void png_end(FILE* file, uint32_t crc) {
  uint8_t sum[4];
  png_number(sum, ~crc);
  fwrite(sum, 1, 4, file);
}

// Writes one image: [channels][height][width] numbers in [0, 1], of 1 channel (gray) or 3 (RGB), at most 21,000 pixels
// wide. Returns 0, or -1 where the file cannot be written.
static int png_write(const char* path, const float* image, int channels, int height, int width) {
  FILE* file = fopen(path, "wb");
  if (!file) return -1;
  const uint16_t line = (uint16_t)(1 + width * channels);  // a byte that says "as it is" begins each
  uint8_t header[13] = {0};
  uint32_t crc, a = 1, b = 0;  // a and b: Adler-32
  png_number(header, (uint32_t)width);
  png_number(header + 4, (uint32_t)height);
  header[8] = 8;
  header[9] = channels == 1 ? 0 : 2;
  fwrite("\x89PNG\r\n\x1a\n", 1, 8, file);
  png_begin(file, &crc, "IHDR", 13);
  png_put(file, &crc, header, 13);
  png_end(file, crc);
  png_begin(file, &crc, "IDAT", 2 + (uint32_t)height * (5 + line) + 4);
  png_put(file, &crc, (const uint8_t*)"\x78\x01", 2);
  for (int y = 0; y < height; y++) {  // each line is a block of deflate's that is stored
    const uint8_t block[6] = {y + 1 == height,        (uint8_t)line,           (uint8_t)(line >> 8),
                              (uint8_t)(0xFF ^ line), (uint8_t)(~line >> 8), 0};
    png_put(file, &crc, block, 6);
    b = (b + a) % 65521;  // the line's first byte, 0
    for (int i = 0; i < width * channels; i++) {
      const float value = image[(i % channels * height + y) * width + i / channels];
      const uint8_t byte = (uint8_t)((value > 0 ? value < 1 ? value : 1 : 0) * 255 + 0.5f);
      png_put(file, &crc, &byte, 1);
      a = (a + byte) % 65521;
      b = (b + a) % 65521;
    }
  }
  uint8_t sum[4];
  png_number(sum, b << 16 | a);
  png_put(file, &crc, sum, 4);
  png_end(file, crc);
  png_begin(file, &crc, "IEND", 0);
  png_end(file, crc);
  const int failed = ferror(file);
  return fclose(file) || failed ? -1 : 0;
}
