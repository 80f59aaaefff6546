"""`verify`: whether a model directory is what the server needs, and answers as it should."""
