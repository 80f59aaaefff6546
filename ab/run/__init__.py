"""Send reviews through an endpoint, and feedback back along the route; record both."""
