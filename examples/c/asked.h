// What can be asked of a model's pictures, found in the JSON of its graphs' metadata. For C and C++.
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A value of an attribute: its number, of so many; where the attribute's part of y begins, and the number of the noise
// that chooses a value, or -1.
typedef struct {
  int number, values, start, coordinate;
} asked_value;

// Four hexadecimal digits.
static unsigned asked_digits(const char* from) {
  const char digits[5] = {from[0], from[1], from[2], from[3], 0};
  return (unsigned)strtoul(digits, NULL, 16);
}

// The character of a JSON string that begins at `from`, as UTF-8; what comes after it is given.
static const char* asked_character(const char* from, char utf8[5]) {
  static const char escaped[] = "bfnrt", meant[] = "\b\f\n\r\t";
  memset(utf8, 0, 5);
  if (*from != '\\' || !from[1]) return utf8[0] = *from, from + 1;
  const char* found = strchr(escaped, from[1]);
  if (from[1] != 'u' || strlen(from) < 6) return utf8[0] = found ? meant[found - escaped] : from[1], from + 2;
  unsigned code = asked_digits(from + 2);
  from += 6;
  if (code >> 10 == 0xD800 >> 10 && !strncmp(from, "\\u", 2) && strlen(from) >= 6) {  // two halves of one
    code = 0x10000 + ((code & 0x3FF) << 10) + (asked_digits(from + 2) & 0x3FF);
    from += 6;
  }
  const int more = (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF);  // bytes after the first
  static const unsigned first[] = {0, 0xC0, 0xE0, 0xF0};
  utf8[0] = (char)(first[more] | code >> 6 * more);
  for (int i = 1; i <= more; i++) utf8[i] = (char)(0x80 | (code >> 6 * (more - i) & 0x3F));
  return from;
}

// Whether the JSON string at `*at` is `text`; `*at` moves behind it.
static int asked_is(const char** at, const char* text) {
  int same = 1;
  const char* from = *at + 1;
  while (*from && *from != '"') {
    char utf8[5];
    from = asked_character(from, utf8);
    same = same && !strncmp(text, utf8, strlen(utf8));
    if (same) text += strlen(utf8);
  }
  *at = from + (*from == '"');
  return same && !*text;
}

// Find the value in the list at `*at`, by its name or, where none has it, its number.
static void asked_among(const char** at, const char* value, asked_value* found) {
  char number[16];
  found->number = -1;
  for (found->values = 0; *(*at += strcspn(*at, "\"]")) == '"'; found->values++) {
    snprintf(number, sizeof number, "%d", found->values);
    if (asked_is(at, value) || (found->number < 0 && !strcmp(value, number))) found->number = found->values;
  }
}

// Find what is asked for in a JSON list of attributes, each of "name", "labels" and "coordinate": whether it is there.
static int asked_find(const char* json, const char* name, const char* value, asked_value* found) {
  int start = 0;
  for (const char* at = json; *(at += strcspn(at, "{")); start += found->values) {
    int named = 0;
    memset(found, 0, sizeof *found);
    found->start = start;
    while (*(at += strcspn(at, "\"}")) == '"') {
      const char key = at[1];  // its first letter is enough
      asked_is(&at, "");
      at += strspn(at, ": \t\r\n");
      if (key == 'n') named = asked_is(&at, name);
      if (key == 'l') asked_among(&at, value, found);
      if (key == 'c') found->coordinate = *at == 'n' ? -1 : atoi(at);
    }
    if (named) return found->number >= 0;
  }
  return 0;
}
