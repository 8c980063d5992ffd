"""Random views of images: batched tensor code in which every image draws for itself, driven by a generator."""
