"""Reading data sets: files, pictures, checks, and the cache of decoded images."""
