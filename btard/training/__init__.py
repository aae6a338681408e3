"""What a peer trains: tasks, seeded sampling, numerics classes."""
