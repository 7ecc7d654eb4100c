"""What `aae-zoo data` builds: data sets of drawings, out of packages of the npm registry."""
