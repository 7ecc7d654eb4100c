"""What users give and get: arrays, pictures, tables, files of them, and streams."""
