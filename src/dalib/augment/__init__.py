"""Random views of images: batched tensor code in which each image has its own draw, from a given generator."""
