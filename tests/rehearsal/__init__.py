"""What happens to this project in a cluster, done on one machine."""
