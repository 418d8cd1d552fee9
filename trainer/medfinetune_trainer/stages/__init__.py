"""The three stages, prepare, train and evaluate, and the program around them."""
