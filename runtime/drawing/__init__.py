"""What users see: images side by side in one picture, with captions where they are compared."""
