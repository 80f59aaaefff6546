"""`fetch`: a model from the Model Zoo, a hub, a web server or a disk into a model directory."""
