"""What data sets share: loading by name, picture files, torchvision's layouts, and known labels."""
